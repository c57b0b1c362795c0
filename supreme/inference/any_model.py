"""Models from elsewhere behind one door: an exported program, or a class that the environment allows."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from supreme.config import ConfigError
from supreme.inference.convention_apply import apply_windows, notes_of
from supreme.inference.engine import Signal
from supreme.inference.exported import ExportedModel, is_program
from supreme.inference.foreign_convention import ForeignConvention, open_convention

#: Environment variable that lists the classes outside this package that may be imported as models.
ALLOWED_MODELS = "SUPREME_MODELS"
_CLASS = re.compile(r"\w+(\.\w+)*:\w+")


class Network(Protocol):
    """A model behind its input convention."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Of scores, one a column; empty for an embedding."""
        ...

    @property
    def width(self) -> int:
        """Columns of the output."""
        ...

    @property
    def convention(self) -> ForeignConvention:
        """What is done to a signal before."""
        ...

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """float32 ``(N, leads, samples)`` to ``(N, width)``."""
        ...


@dataclass(frozen=True)
class ForeignModel:
    """A model from elsewhere as an `engine.ScoringModel`: it holds no weights and travels to the workers."""

    spec: str
    convention: ForeignConvention
    classes: tuple[str, ...]
    """Of scores, one a column; empty for an embedding."""
    width: int
    has_gaps: bool = False

    def prepare(self, signal: Signal) -> np.ndarray:
        """float32 ``(windows, leads, samples)``."""
        return apply_windows(self.convention, signal.values, signal.rate_hz).values

    def notes(self, samples: int, rate_hz: float) -> tuple[str, ...]:
        """What :meth:`prepare` has to do to a record of this length and rate, to be counted and told."""
        return notes_of(self.convention, samples, rate_hz)

    def load(self) -> Callable[[np.ndarray], np.ndarray]:
        """The model, on the GPU where there is one: ``(N, leads, samples)`` to ``(N, width)``."""
        network = _open(self.spec, "cuda" if torch.cuda.is_available() else "cpu")

        def run(inputs: np.ndarray) -> np.ndarray:
            outputs = np.asarray(network(inputs))
            if outputs.shape != (len(inputs), self.width):
                raise ValueError(
                    f"{self.spec} gives an array of shape {outputs.shape} for {len(inputs)} inputs, not "
                    f"({len(inputs)}, {self.width}): return one row an input"
                )
            return outputs

        return run

    def scorer(self) -> Callable[[np.ndarray, float], np.ndarray]:
        """``(B, 12, T)`` and a rate in Hz to float32 ``(B, width)``, for records that are in memory.

        Raises:
            ValueError: a signal is none, or the model gives another shape or no finite number.
        """
        run = self.load()

        def score(signal_mv: np.ndarray, rate_hz: float) -> np.ndarray:
            inputs = np.stack([self.prepare(Signal(record, rate_hz)) for record in signal_mv])
            outputs = run(inputs.reshape(-1, *self.convention.shape)).astype(np.float64)
            result: np.ndarray = outputs.reshape(*inputs.shape[:2], self.width).mean(axis=1)
            if not np.isfinite(result).all():
                bad = int(np.flatnonzero(~np.isfinite(result).all(axis=1))[0])
                raise ValueError(f"record {bad}: {self.spec} gives no finite number; its weights are damaged")
            return result.astype(np.float32)

        return score


def is_class(spec: str) -> bool:
    """Whether a model is named as ``package.module:Class``."""
    return _CLASS.fullmatch(spec) is not None


def open_model(spec: str) -> ForeignModel:
    """A model from elsewhere: the file ``X.pt2`` with ``X.toml`` beside, or ``package.module:Class``.

    A class is imported only where the environment variable SUPREME_MODELS lists it. It takes no arguments,
    and has ``convention`` (a name, a .toml file or a `ForeignConvention`), ``classes`` (or ``width``, for
    embeddings) and ``__call__`` as of `Network`; a method ``to(device)`` is called where it has one.

    Raises:
        ConfigError: there is none, it is refused, or it does not fit its description.
    """
    network = _open(spec, "cpu")
    return ForeignModel(spec, network.convention, network.classes, network.width)


def _open(spec: str, device: str) -> Network:
    if is_program(spec):
        return ExportedModel(spec, device)
    if is_class(spec):
        return _Coded(spec, device)
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
