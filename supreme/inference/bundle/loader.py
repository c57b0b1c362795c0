"""From verified bytes to a model: every size is judged before anything of that size is allocated."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor

from supreme.config import ConfigError
from supreme.inference.bundle.config import BundleConfig, read_config
from supreme.inference.bundle.documents import first_line, read_json
from supreme.inference.bundle.files import BundleFiles
from supreme.inference.bundle.layout import (
    CONFIG,
    MODEL,
    QUERIES,
    RECORDINGS,
    REMEDY,
    VOCABULARY,
    BundleError,
)
from supreme.inference.provenance import Provenance, ProvenanceError
from supreme.models import encoders
from supreme.models.supreme import SupremeModel, make_head
from supreme.reports.vocabulary import Vocabulary
from supreme.text import Whitening

MAX_ENTITIES = 100_000
MAX_TEXT = 10_000
#: Characters of an entity's id, which is also a column of a table and a part of a metric's name.
MAX_ID = 200
#: Attention needs memory for the square of them.
MAX_TOKENS = 20_000
_MAX_HEADER = 256 * 2**20


@dataclass(frozen=True)
class LoadedBundle:
    """What a bundle holds, in memory and consistent."""

    config: BundleConfig
    model: SupremeModel
    vocabulary: Vocabulary
    query_texts: list[list[str]]
    """Phrasings of each entity of the vocabulary."""
    query_embeddings: np.ndarray
    """Raw float32 ``(N, dim)``, the phrasings of all entities one after the other."""
    whitening: Whitening
    trained_on: Provenance | None
    """None: unknown."""


def load(files: BundleFiles) -> LoadedBundle:
    """The model of a bundle, on the CPU.

    Raises:
        BundleError: a file is damaged, or two files contradict each other; the message names them.
    """
    config = read_config(files.contents[CONFIG], files.where(CONFIG))
    vocabulary = _vocabulary(files)
    texts = _query_texts(files, len(vocabulary))
    embeddings, whitening = _query_tensors(files, sum(map(len, texts)), config.text_dim)
    model = _model(files, config, len(vocabulary))
    trained_on = _provenance(files, config)
    return LoadedBundle(config, model, vocabulary, texts, embeddings, whitening, trained_on)


def _provenance(files: BundleFiles, config: BundleConfig) -> Provenance | None:
    where, content = files.where(RECORDINGS), files.contents.get(RECORDINGS)
    if config.trained_on is None and content is None:
        return None
    if config.trained_on is None or content is None:
        missing = (
            "names no data set" if config.trained_on is None else f"names data sets without {RECORDINGS}"
        )
        raise BundleError(f"{files.where(CONFIG)} {missing}, so that the two contradict each other: {REMEDY}")
    _tensors(content, where)
    try:
        return Provenance.parse(config.trained_on, content)
    except ProvenanceError as error:
        raise BundleError(f"{where}: {first_line(error)}: {REMEDY}") from None


def _vocabulary(files: BundleFiles) -> Vocabulary:
    where = files.where(VOCABULARY)
    values = read_json(files.contents[VOCABULARY], where)
    if not isinstance(values, list) or not 0 < len(values) <= MAX_ENTITIES:
        raise BundleError(f"{where} is no list of 1 to {MAX_ENTITIES:,} entities: {REMEDY}")
    try:
        vocabulary = Vocabulary.from_json(values)
    except ValidationError as error:
        item = error.errors()[0]
        raise BundleError(f"{where}: {'.'.join(map(str, item['loc']))}: {item['msg']}: {REMEDY}") from None
    except (ValueError, TypeError) as error:
        raise BundleError(f"{where}: {first_line(error)}: {REMEDY}") from None
    for entity in vocabulary:
        if not entity.id.strip() or len(entity.id) > MAX_ID or not entity.id.isprintable():
            raise BundleError(f"{where}: entity id {entity.id[:50]!r} is no name: {REMEDY}")
        if not entity.name.strip() or len(entity.name) > MAX_TEXT:
            raise BundleError(f"{where}: entity {entity.id} has no usable name: {REMEDY}")
    return vocabulary


def _query_texts(files: BundleFiles, entities: int) -> list[list[str]]:
    """Phrasings by entity, from the metadata in the header of the file of query embeddings."""
    where, content = files.where(QUERIES), files.contents[QUERIES]
    size = int.from_bytes(content[:8], "little")
    if len(content) < 8 or size > min(len(content) - 8, _MAX_HEADER):
        raise BundleError(f"{where} is no safetensors file, or cut off: {REMEDY}")
    header = read_json(content[8 : 8 + size], where)
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    texts = metadata.get("texts") if isinstance(metadata, dict) else None
    groups = read_json(texts.encode(errors="surrogatepass"), where) if isinstance(texts, str) else None
    if not isinstance(groups, list) or len(groups) != entities:
        raise BundleError(
            f"{where} does not hold the phrasings of the {entities} entities of {VOCABULARY}: {REMEDY}"
        )
    for group in groups:
        if not (isinstance(group, list) and group and all(isinstance(text, str) for text in group)):
            raise BundleError(f"{where}: an entity has no phrasing, or one that is no text: {REMEDY}")
        if max(map(len, group)) > MAX_TEXT:
            raise BundleError(f"{where}: a phrasing is longer than {MAX_TEXT:,} characters: {REMEDY}")
    return groups


def _query_tensors(files: BundleFiles, phrasings: int, dim: int) -> tuple[np.ndarray, Whitening]:
    where = files.where(QUERIES)
    tensors = _tensors(files.contents[QUERIES], where)
    shapes = {"embeddings": (phrasings, dim), "whitening.mean": (dim,), "whitening.matrix": (dim, dim)}
    _compare(tensors, {name: (shape, torch.float32) for name, shape in shapes.items()}, where)
    _check_values(tensors, where)
    return tensors["embeddings"].numpy(), Whitening(
        tensors["whitening.mean"].numpy(), tensors["whitening.matrix"].numpy()
    )


def _model(files: BundleFiles, config: BundleConfig, entities: int) -> SupremeModel:
    """The network, whose tensors must be those of the file, by name, shape and type."""
    where = files.where(MODEL)
    tensors = _tensors(files.contents[MODEL], where)
    known = _known_phrasings(tensors, entities, where) if config.head == "entities" else None
    if ":" not in config.model.encoder:  # of an encoder outside this package nothing is known but its tensors
        _check_sizes(config, tensors, files.where(CONFIG))
        _compare(tensors, _expected(config, tensors, known, files.where(CONFIG)), where)
    with _built_from(files.where(CONFIG)):
        model = SupremeModel(config.model, config.text_dim, config.samples, config.head, known)
    _compare(tensors, {k: (tuple(v.shape), v.dtype) for k, v in model.state_dict().items()}, where)
    _check_values(tensors, where)
    model.load_state_dict(tensors)
    return model.eval()


def _expected(
    config: BundleConfig, tensors: dict[str, Tensor], known: tuple[Tensor, Tensor] | None, where: str
) -> dict[str, tuple[Any, torch.dtype]]:
    """Shape and type of every tensor that a configuration asks for, without memory for any."""
    position = tensors.get("fusion.position")
    tokens = position.shape[1] if position is not None and position.ndim == 3 else 1
    with _built_from(where), torch.device("meta"):
        encoder: Any = encoders.build(config.model, config.samples)
        width = int(encoder.width)
        head = make_head(config.head, config.model, width, config.text_dim, tokens, known)
    parts = {"encoder": encoder.state_dict(), "fusion": head.state_dict() if head else {}}
    return {
        f"{part}.{name}": (tuple(tensor.shape), tensor.dtype)
        for part, state in parts.items()
        for name, tensor in state.items()
    }


@contextmanager
def _built_from(where: str) -> Iterator[None]:
    try:
        yield
    except ConfigError as error:  # an encoder that the environment does not allow
        raise BundleError(f"{where}: {error}") from None
    except (ValueError, TypeError, RuntimeError, ArithmeticError) as error:
        raise BundleError(
            f"{where} describes no model that can be built ({first_line(error)}): {REMEDY}"
        ) from None


def _check_sizes(config: BundleConfig, tensors: dict[str, Tensor], where: str) -> None:
    """Refuse numbers of layers and widths that the file of weights cannot hold, and too many tokens."""
    model, largest = config.model, max((tensor.numel() for tensor in tensors.values()), default=0)
    limits = {
        "depth": (model.depth, len(tensors)),
        "fusion_depth": (model.fusion_depth, len(tensors)),
        "width": (model.width, largest),
        "heads": (model.heads, largest),
        "fusion_width": (model.fusion_width, largest),
        "fusion_heads": (model.fusion_heads, largest),
        "patch": (model.patch, config.samples),
    }
    if not model.encoder.startswith("vit1d"):
        del limits["heads"], limits["patch"]  # not used
    for name, (value, limit) in limits.items():
        if value is not None and value > limit:
            raise BundleError(f"{where}: model.{name}={value} is more than the weights are for: {REMEDY}")
    if model.encoder.startswith("vit1d"):
        tokens = config.samples // model.patch * (12 if model.tokens == "leadwise" else 1)
        if tokens > MAX_TOKENS:
            raise BundleError(
                f"{where}: {tokens:,} tokens an ECG; at most {MAX_TOKENS:,} are possible: {REMEDY}"
            )


def _known_phrasings(tensors: dict[str, Tensor], entities: int, where: str) -> tuple[Tensor, Tensor]:
    """Of the head of entities: embedded phrasings ``(P, D)``, and the entity ``(P,)`` of each."""
    phrasings, owner = tensors.get("fusion.phrasings"), tensors.get("fusion.owner")
    if (
        phrasings is None
        or owner is None
        or phrasings.ndim != 2
        or owner.dtype != torch.int64
        or owner.shape != phrasings.shape[:1]
        or not len(owner)
        or int(owner.min()) < 0
        or int(owner.max()) != entities - 1
    ):
        raise BundleError(
            f"{where}: fusion.owner does not name the {entities} entities of each phrasing: {REMEDY}"
        )
    return phrasings, owner


def _tensors(content: bytes, where: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file; the library compares the sizes in its header with the file's."""
    size = int.from_bytes(content[:8], "little")
    if len(content) < 8 or size > min(len(content) - 8, _MAX_HEADER):
        raise BundleError(f"{where} is no safetensors file, or its header is cut off: {REMEDY}")
    read_json(content[8 : 8 + size], where)  # the library takes the last of two tensors of one name
    try:
        tensors: dict[str, Tensor] = load_tensors(content)
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError, OverflowError) as error:
        raise BundleError(f"{where} is no safetensors file ({first_line(error)}): {REMEDY}") from None
    return tensors


def _compare(tensors: dict[str, Tensor], expected: dict[str, tuple[Any, torch.dtype]], where: str) -> None:
    """Refuse tensors of other names, shapes or types than expected."""
    if missing := sorted(expected.keys() - tensors.keys()):
        raise BundleError(f"{where} has no tensor {missing[0]} (config.json asks for it): {REMEDY}")
    if extra := sorted(tensors.keys() - expected.keys()):
        raise BundleError(
            f"{where} has a tensor {extra[0][:200]!r} that config.json knows nothing of: {REMEDY}"
        )
    for name, (shape, dtype) in expected.items():
        tensor = tensors[name]
        if tuple(tensor.shape) != tuple(shape) or tensor.dtype != dtype:
            raise BundleError(
                f"{where}: {name} is {tensor.dtype} {tuple(tensor.shape)}, config.json asks for {dtype} "
                f"{tuple(shape)}: {REMEDY}"
            )


def _check_values(tensors: dict[str, Tensor], where: str) -> None:
    for name, tensor in tensors.items():
        if tensor.dtype == torch.float32:
            finite = bool(
                np.isfinite(tensor.numpy()).all()
            )  # many small ones: threads would wait for each other
        else:
            finite = not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())
        if not finite:
            raise BundleError(f"{where}: {name} holds NaN or infinite values: {REMEDY}")
        if name.endswith("running_var") and (tensor < 0).any():
            raise BundleError(f"{where}: {name} holds a negative variance: {REMEDY}")
