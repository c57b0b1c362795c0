"""The `.pt2` archive of `torch.export.save`, read without torch's own loader.

`torch.export.load` runs the author's code: it unpickles weights, constants and sample inputs, evaluates
expressions, and looks up any name below ``torch``. Here a graph is JSON, a weight is raw bytes with a shape,
and what is pickled is refused or, as the sample inputs are, not read.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, cast

import torch
from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from supreme import storage
from supreme.config import ConfigError

SCHEMA_MAJOR = 8
_MAX_JSON_BYTES = 1 << 28
_MAX_WEIGHT_BYTES = 1 << 36
_SAVE_AGAIN = "export it again with this version of torch: torch.export.save(program, FILE)"

#: The numbers that torch's schema has for types.
DTYPES = {
    **{1: torch.uint8, 2: torch.int8, 3: torch.int16, 4: torch.int32, 5: torch.int64, 6: torch.float16},
    **{7: torch.float32, 8: torch.float64, 10: torch.complex64, 11: torch.complex128, 12: torch.bool},
    13: torch.bfloat16,
}

Argument = dict[str, JsonValue]
"""One key, which says what the value is: ``{"as_int": 3}``."""


class _ProgramPart(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class TensorDescription(_ProgramPart):
    """Type and shape of a tensor; a size is ``{"as_int": 3}`` or ``{"as_expr": ...}``."""

    dtype: int
    sizes: tuple[Argument, ...]
    strides: tuple[Argument, ...]
    storage_offset: Argument

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Sizes; None where one may differ from call to call."""
        return tuple(_integer(size) for size in self.sizes)


class NodeInput(_ProgramPart):
    """One argument of a call."""

    name: str
    arg: Argument
    kind: int | None = None
    """2: by keyword."""


class ProgramNode(_ProgramPart):
    """One call."""

    target: str
    inputs: tuple[NodeInput, ...]
    outputs: tuple[Argument, ...]


class ProgramGraph(_ProgramPart):
    """Calls in their order."""

    inputs: tuple[Argument, ...]
    outputs: tuple[Argument, ...]
    nodes: tuple[ProgramNode, ...]
    tensor_values: dict[str, TensorDescription] = {}


class _Signature(_ProgramPart):
    input_specs: tuple[dict[str, dict[str, JsonValue]], ...]
    output_specs: tuple[dict[str, dict[str, JsonValue]], ...]


class _GraphModule(_ProgramPart):
    graph: ProgramGraph
    signature: _Signature


class _SchemaVersion(_ProgramPart):
    major: int


class _ProgramDocument(_ProgramPart):
    graph_module: _GraphModule
    schema_version: _SchemaVersion


class _Payload(_ProgramPart):
    path_name: str
    use_pickle: bool = True
    tensor_meta: TensorDescription | None = None


class _PayloadConfig(_ProgramPart):
    config: dict[str, _Payload]


@dataclass(frozen=True)
class ProgramArchive:
    """An exported program of one tensor to one tensor."""

    graph: ProgramGraph
    tensors: dict[str, torch.Tensor]
    """Weights and constants by the names that the graph has for them."""
    input_name: str
    output_name: str

    @property
    def input(self) -> TensorDescription:
        return self.graph.tensor_values[self.input_name]

    @property
    def output(self) -> TensorDescription:
        return self.graph.tensor_values[self.output_name]


def read_program(uri: str) -> ProgramArchive:
    """Read a `.pt2` file, local or on S3.

    Raises:
        ConfigError: no such file, it is damaged, holds pickled weights or constants, is of another version of
            torch, or does not turn one tensor into one; the message names it and the remedy.
    """
    with (
        refusing(uri),
        storage.open_file(uri) as stream,
        zipfile.ZipFile(cast(IO[bytes], stream)) as archive,
    ):
        names = archive.namelist()
        root = names[0].partition("/")[0] if names else ""
        models = [n for n in names if n.startswith(f"{root}/models/") and n.endswith(".json")]
        if len(models) != 1:
            raise ConfigError(f"{uri}: no archive with one exported program: {_SAVE_AGAIN}")
        if f"{root}/byteorder" in names and archive.read(f"{root}/byteorder") != b"little":
            raise ConfigError(f"{uri}: written on a big-endian machine: {_SAVE_AGAIN}")
        document = _ProgramDocument.model_validate_json(_read(archive, uri, models[0], _MAX_JSON_BYTES))
        if document.schema_version.major != SCHEMA_MAJOR:
            raise ConfigError(f"{uri}: schema {document.schema_version.major}: {_SAVE_AGAIN}")
        stem = models[0].rpartition("/")[2].removesuffix(".json")
        weights = _tensors(archive, uri, f"{root}/data/weights", f"{stem}_weights_config.json")
        constants = _tensors(archive, uri, f"{root}/data/constants", f"{stem}_constants_config.json")
        return _bound(uri, document.graph_module, weights, constants)


def _tensors(archive: zipfile.ZipFile, uri: str, folder: str, config: str) -> dict[str, torch.Tensor]:
    """Tensors by the names of the module that was exported."""
    if f"{folder}/{config}" not in archive.namelist():
        raise ConfigError(
            f"{uri}: {folder}/{config} is missing, as in files of older versions: {_SAVE_AGAIN}"
        )
    payloads = _PayloadConfig.model_validate_json(_read(archive, uri, f"{folder}/{config}", _MAX_JSON_BYTES))
    storages: dict[str, bytearray] = {}
    tensors: dict[str, torch.Tensor] = {}
    for name, payload in payloads.config.items():
        meta = payload.tensor_meta
        if payload.use_pickle or meta is None:
            raise ConfigError(
                f"{uri}: {name!r} is pickled, and unpickling runs code of the file's author: export a model "
                "whose weights and constants are plain tensors"
            )
        if meta.dtype not in DTYPES:
            raise ConfigError(f"{uri}: {name!r} is of a type that is not read ({meta.dtype}): export float32")
        if payload.path_name not in storages:
            storages[payload.path_name] = bytearray(
                _read(archive, uri, f"{folder}/{payload.path_name}", _MAX_WEIGHT_BYTES)
            )
        tensors[name] = _tensor(uri, name, storages[payload.path_name], meta)
    return tensors


def _tensor(uri: str, name: str, content: bytearray, meta: TensorDescription) -> torch.Tensor:
    dtype, shape = DTYPES[meta.dtype], _integers(meta.sizes)
    if 0 in shape:
        return torch.empty(shape, dtype=dtype)
    strides, offset = _integers(meta.strides), _integer(meta.storage_offset) or 0
    last = offset + sum(stride * (size - 1) for stride, size in zip(strides, shape, strict=True))
    if min(shape + strides + (offset,), default=0) < 0 or (last + 1) * dtype.itemsize > len(content):
        raise ConfigError(f"{uri}: {name!r} has {len(content):,} bytes, too few for {shape}: {_SAVE_AGAIN}")
    flat = torch.frombuffer(content, dtype=dtype, count=len(content) // dtype.itemsize)
    return flat.as_strided(shape, strides, offset)


def _bound(
    uri: str, module: _GraphModule, weights: dict[str, torch.Tensor], constants: dict[str, torch.Tensor]
) -> ProgramArchive:
    """Weights under the names that the graph has for them."""
    everything = constants | weights
    tensors: dict[str, torch.Tensor] = {}
    free: list[str] = []
    for spec in module.signature.input_specs:
        ((kind, content),) = spec.items()
        name = _tensor_name(content.get("arg"))
        if kind == "user_input":
            free.append(name)
        elif kind in ("parameter", "buffer", "tensor_constant"):
            own = content[{"tensor_constant": "tensor_constant_name"}.get(kind, f"{kind}_name")]
            tensors[name] = everything[str(own)]
        else:
            raise ConfigError(f"{uri}: an input of kind {kind!r} is not supported: export plain tensors")
    outputs = [
        _tensor_name(s["user_output"].get("arg")) for s in module.signature.output_specs if "user_output" in s
    ]
    if any("buffer_mutation" in s or "parameter_mutation" in s for s in module.signature.output_specs):
        raise ConfigError(f"{uri}: changes its buffers, as in training: call model.eval() before the export")
    if len(free) != 1 or len(outputs) != 1:
        raise ConfigError(
            f"{uri}: takes {len(free)} inputs and gives {len(outputs)} outputs: wrap the model so that it "
            "turns (B, leads, samples) into one tensor (B, D) or (B, C)"
        )
    return ProgramArchive(module.graph, tensors, free[0], outputs[0])


def _tensor_name(argument: JsonValue) -> str:
    """The name in ``{"name": "x"}`` or ``{"as_tensor": {"name": "x"}}``; "" for anything else."""
    while isinstance(argument, dict):
        argument = argument["as_tensor"] if "as_tensor" in argument else argument.get("name", "")
    return argument if isinstance(argument, str) else ""


def _read(archive: zipfile.ZipFile, uri: str, name: str, limit: int) -> bytes:
    if archive.getinfo(name).file_size > limit:
        raise ConfigError(f"{uri}: {name} is larger than {limit:,} bytes: this is no ECG model")
    return archive.read(name)


def _integer(size: Argument) -> int | None:
    value = size.get("as_int")
    return value if isinstance(value, int) else None


def _integers(sizes: tuple[Argument, ...]) -> tuple[int, ...]:
    return tuple(math.prod([value]) if (value := _integer(size)) is not None else -1 for size in sizes)


@contextmanager
def refusing(uri: str) -> Iterator[None]:
    """Whatever is wrong with an archive as a `ConfigError` that names it."""
    try:
        yield
    except (storage.Unavailable, ConfigError):
        raise
    except storage.StorageError as error:
        raise ConfigError(str(error)) from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ConfigError(f"{uri}: damaged ({where}: {first['msg']}): {_SAVE_AGAIN}") from None
    except (
        zipfile.BadZipFile,
        zlib.error,
        LookupError,
        EOFError,
        RuntimeError,
        ValueError,
        TypeError,
    ) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"{uri}: no exported program, or damaged ({reason}): {_SAVE_AGAIN}") from None
