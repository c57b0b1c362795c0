"""An exported program as a model: `X.pt2`, and `X.toml` that says what it wants and gives."""

from __future__ import annotations

import posixpath
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field, model_validator

from supreme import storage
from supreme.config import ConfigError
from supreme.inference.foreign_convention import ForeignConvention, open_convention
from supreme.inference.program import ExportedProgram
from supreme.inference.program_file import ProgramArchive, read_program, refusing
from supreme.settings.section import Names, Section
from supreme.storage.toml_file import read_toml

BATCH_SIZE = 64


class ProgramDescription(Section):
    """The TOML file beside a program."""

    output: Literal["embedding", "scores"]
    classes: Names = ()
    """Of scores, one a column; none for an embedding."""
    convention: Annotated[str | ForeignConvention, Field(union_mode="left_to_right")]
    """A name of this package, a .toml file (relative to this one), or the table itself."""

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> ProgramDescription:
        if self.output == "scores" and not self.classes:
            raise ValueError('output="scores" needs classes=[...], one name a column of the output')
        if self.output == "embedding" and self.classes:
            raise ValueError('output="embedding" has no classes: leave them out, or say output="scores"')
        twice = [name for name in dict.fromkeys(self.classes) if self.classes.count(name) > 1]
        if twice:
            raise ValueError(f"class {twice[0]!r} is named twice: name each column once")
        return self


class ExportedModel:
    """Runs an exported program on inputs that are prepared by its convention.

    Raises:
        ConfigError: the program is refused, or its shapes do not fit its description.
    """

    def __init__(self, uri: str, device: str = "cpu") -> None:
        self.uri = uri
        stem, mark, query = uri.partition("?") if uri.startswith("s3://") else (uri, "", "")
        description_uri = f"{stem.removesuffix('.pt2')}.toml{mark}{query}"
        description = read_toml(description_uri, ProgramDescription)
        self.convention = _convention(description, description_uri)
        self.classes = description.classes
        archive = read_program(uri)
        self.width = _check_shapes(uri, archive, self.convention, description)
        with refusing(uri):
            self.program = ExportedProgram(archive, uri, device)
        self._static_batch = archive.input.shape[0]

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """float32 ``(B, leads, samples)`` to float32 ``(B, width)``."""
        size = self._static_batch or BATCH_SIZE
        parts = [self._batch(inputs[first : first + size]) for first in range(0, len(inputs), size)]
        return np.concatenate(parts) if parts else np.empty((0, self.width), np.float32)

    def _batch(self, inputs: np.ndarray) -> np.ndarray:
        count = len(inputs)
        missing = (self._static_batch or count) - count
        if missing:
            # Copies of a record keep statistics finite, should the program have any.
            inputs = np.concatenate([inputs, np.repeat(inputs[:1], missing, axis=0)])
        # A copy: the program may work in place, and what comes from a worker cannot be written to.
        batch = torch.from_numpy(np.array(inputs, np.float32, order="C"))
        try:
            outputs = self.program(batch)
        except (RuntimeError, TypeError, ValueError, LookupError, AttributeError, AssertionError) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            raise ValueError(
                f"{self.uri} fails on an input of shape {tuple(batch.shape)}: {reason}; export it with an "
                "example of this shape"
            ) from error
        return outputs.numpy()[:count]


def _convention(description: ProgramDescription, uri: str) -> ForeignConvention:
    named = description.convention
    if isinstance(named, ForeignConvention):
        return named
    if named.endswith(".toml") and not named.startswith(("/", "s3://", "file://")):
        base, mark, query = uri.partition("?") if uri.startswith("s3://") else (uri, "", "")
        return open_convention(posixpath.join(posixpath.dirname(base), named) + mark + query)
    return open_convention(named)


def _check_shapes(
    uri: str, archive: ProgramArchive, convention: ForeignConvention, description: ProgramDescription
) -> int:
    """The width of the output.

    Raises:
        ConfigError: naming both shapes and the remedy.
    """
    shape, (leads, samples) = archive.input.shape, convention.shape
    if len(shape) != 3 or shape[1] not in (None, leads) or shape[2] not in (None, samples):
        raise ConfigError(
            f"{uri} takes {_shown(shape)}, but its convention {convention.name!r} gives (B, {leads}, "
            f"{samples}): {leads} leads, {convention.seconds:g} s at {convention.rate_hz} Hz; correct leads, "
            "rate_hz and seconds in the .toml file, or export it with an example of that shape"
        )
    result = archive.output.shape
    if len(result) != 2 or result[1] is None:
        raise ConfigError(
            f"{uri} gives {_shown(result)}, not (B, D) or (B, C): pool or flatten the output before the "
            "export"
        )
    if description.classes and result[1] != len(description.classes):
        raise ConfigError(
            f"{uri} gives {_shown(result)}, but its .toml file names {len(description.classes)} classes: "
            "name one a column, in the order of the output"
        )
    return result[1]


def _shown(shape: tuple[int | None, ...]) -> str:
    return "(" + ", ".join("any" if size is None else str(size) for size in shape) + ")"


def is_program(spec: str) -> bool:
    """Whether a model is named by the file of an exported program."""
    path = spec.partition("?")[0] if spec.startswith("s3://") else spec
    return path.endswith(".pt2")


def digest(uri: str) -> str:
    """A sha256 over a program and what stands beside it."""
    stem, mark, query = uri.partition("?") if uri.startswith("s3://") else (uri, "", "")
    files = [uri, f"{stem.removesuffix('.pt2')}.toml{mark}{query}"]
    return storage.sha256("".join(storage.sha256(storage.read_bytes(file)) for file in files).encode())
