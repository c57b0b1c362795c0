"""Models from elsewhere behind one door: an exported program, or a class that the environment allows."""

from __future__ import annotations

import importlib
import os
import re
from collections import Counter
from typing import NamedTuple, Protocol

import numpy as np

from supreme.config import ConfigError
from supreme.inference.convention_apply import apply_windows
from supreme.inference.exported import ExportedModel, is_program
from supreme.inference.foreign_convention import ForeignConvention, open_convention

#: Environment variable that lists the classes outside this package that may be imported as models.
ALLOWED_MODELS = "SUPREME_MODELS"
_CLASS = re.compile(r"\w+(\.\w+)*:\w+")


class Scorer(Protocol):
    """A model as an evaluation sees it."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Of scores, one a column; empty for embeddings."""
        ...

    @property
    def width(self) -> int:
        """Columns of what a call returns."""
        ...

    def __call__(self, signal_mv: np.ndarray, rate_hz: float) -> np.ndarray:
        """``(B, 12, T)`` at the source's rate, leads as `ecg.LEADS`, to float32 ``(B, width)``."""
        ...


class Network(Protocol):
    """A model behind its input convention."""

    classes: tuple[str, ...]
    width: int
    convention: ForeignConvention

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """float32 ``(B, leads, samples)`` to ``(B, width)``."""
        ...


class PreparedBatch(NamedTuple):
    """Inputs of a model for records of one length."""

    values: np.ndarray
    """float32 ``(B, windows, leads, samples)``."""
    notes: Counter[str]
    """What had to be done for how many of the records."""


def prepare_batch(convention: ForeignConvention, signal_mv: np.ndarray, rate_hz: float) -> PreparedBatch:
    """Inputs for ``(B, 12, T)``: a pure function without torch, for tasks beside the model.

    Raises:
        ValueError: as of `convention_apply.apply`, with the record's index.
    """
    notes: Counter[str] = Counter()
    parts = []
    for index, record in enumerate(signal_mv):
        try:
            prepared = apply_windows(convention, record, rate_hz)
        except ValueError as error:
            raise ValueError(f"record {index}: {error}") from None
        notes.update(prepared.notes)
        parts.append(prepared.values)
    values = np.stack(parts) if parts else np.empty((0, 1, *convention.shape), np.float32)
    return PreparedBatch(values, notes)


class ForeignModel:
    """A network with its input convention; a `Scorer`.

    Outputs of several windows of a record are averaged. ``notes`` counts what had to be done for the inputs.
    """

    def __init__(self, network: Network, name: str) -> None:
        self.network, self.name = network, name
        self.notes: Counter[str] = Counter()

    @property
    def classes(self) -> tuple[str, ...]:
        return self.network.classes

    @property
    def width(self) -> int:
        return self.network.width

    @property
    def convention(self) -> ForeignConvention:
        return self.network.convention

    def __call__(self, signal_mv: np.ndarray, rate_hz: float) -> np.ndarray:
        """``(B, 12, T)`` to float32 ``(B, width)``.

        Raises:
            ValueError: a record's signal is none, or the model gives another shape or no finite number.
        """
        batch = prepare_batch(self.convention, signal_mv, rate_hz)
        self.notes.update(batch.notes)
        return self.score(batch.values)

    def score(self, inputs: np.ndarray) -> np.ndarray:
        """Outputs float32 ``(B, width)`` for ``(B, windows, leads, samples)`` of :func:`prepare_batch`.

        Raises:
            ValueError: the model gives another shape or no finite number.
        """
        count, windows = inputs.shape[:2]
        flat = inputs.reshape(count * windows, *self.convention.shape)
        outputs = np.asarray(self.network(flat), np.float64)
        if outputs.shape != (len(flat), self.width):
            raise ValueError(
                f"{self.name} gives an array of shape {outputs.shape} for {len(flat)} inputs, not "
                f"({len(flat)}, {self.width}): return one row an input"
            )
        result = outputs.reshape(count, windows, self.width).mean(axis=1).astype(np.float32)
        if not np.isfinite(result).all():
            bad = int(np.flatnonzero(~np.isfinite(result).all(axis=1))[0])
            raise ValueError(f"record {bad}: {self.name} gives no finite number; its weights are damaged")
        return result


def is_class(spec: str) -> bool:
    """Whether a model is named as ``package.module:Class``."""
    return _CLASS.fullmatch(spec) is not None


def open_model(spec: str, device: str = "cpu") -> ForeignModel:
    """A model from elsewhere: the file ``X.pt2`` with ``X.toml`` beside, or ``package.module:Class``.

    A class is imported only where the environment variable SUPREME_MODELS lists it. It takes no arguments,
    and has ``convention`` (a name, a .toml file or a `ForeignConvention`), ``classes`` (or ``width``, for
    embeddings) and ``__call__`` as of `Network`; a method ``to(device)`` is called where it has one.

    Raises:
        ConfigError: there is none, it is refused, or it does not fit its description.
    """
    if is_program(spec):
        return ForeignModel(ExportedModel(spec, device), spec)
    if is_class(spec):
        return ForeignModel(_Coded(spec, device), spec)
    raise ConfigError(f"{spec[:200]!r} is no model: give X.pt2 with X.toml beside, or package.module:Class")


class _Coded:
    """A class of somebody's own."""

    def __init__(self, spec: str, device: str) -> None:
        self.model = _import(spec)()
        named = getattr(self.model, "convention", None)
        if not isinstance(named, str | ForeignConvention):
            raise ConfigError(
                f"{spec} has no `convention`: give it the name of one, a .toml file or a ForeignConvention"
            )
        self.convention = open_convention(named) if isinstance(named, str) else named
        self.classes = tuple(getattr(self.model, "classes", ()))
        self.width = len(self.classes) or int(getattr(self.model, "width", 0))
        if not self.width:
            raise ConfigError(
                f"{spec} has neither `classes` (of scores) nor `width` (of embeddings): add one"
            )
        if not callable(self.model):
            raise ConfigError(f"{spec} has no `__call__`: it takes (B, leads, samples) and gives (B, width)")
        if hasattr(self.model, "to"):
            self.model.to(device)

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        outputs = self.model(inputs)
        if hasattr(outputs, "detach"):
            outputs = outputs.detach().float().cpu().numpy()
        return np.asarray(outputs)


def _import(spec: str) -> type:
    allowed = [path.strip() for path in os.environ.get(ALLOWED_MODELS, "").split(",")]
    if spec not in allowed:
        raise ConfigError(
            f"{spec} is code outside this package, which is not imported: if you trust it, name it in the "
            f"environment variable {ALLOWED_MODELS}, on every node"
        )
    module, _, name = spec.partition(":")
    try:
        imported: type = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{spec}: cannot be imported ({error}): install it, or set PYTHONPATH") from None
    return imported
