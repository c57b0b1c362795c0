"""Bootstrap by patient: a patient's records stay together, every model and class sees the same draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from supreme.metrics import rankings


@dataclass(frozen=True)
class Interval:
    """A percentile interval."""

    low: float
    high: float
    undefined: int
    """Replicates left out because no positive or no negative was drawn."""


def multiplicities(patients: Sequence[str], replicates: int, rng: np.random.Generator) -> np.ndarray:
    """How often each record is drawn in each replicate: ``(replicates, N)`` uint16.

    As many patients are drawn with replacement as there are; all records of a patient share the count.
    """
    names, patient_of = np.unique(np.asarray(patients), return_inverse=True)
    if not len(names):
        return np.zeros((replicates, 0), np.uint16)
    draws = rng.integers(len(names), size=(replicates, len(names)))
    counts = np.stack([np.bincount(row, minlength=len(names)) for row in draws]) if replicates else draws
    return counts.astype(np.uint16)[:, patient_of]


def auroc_replicates(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """AUROC of every class in every replicate, ``(R, C)``; NaN where undefined.

    Args:
        scores: ``(N, C)``.
        labels: ``(N, C)`` of 1, 0, -1 (not annotated).
        weights: ``(R, N)`` from :func:`multiplicities`.
    """
    columns = [
        rankings.auroc(rankings.rank(scores[:, c], labels[:, c]), weights) for c in range(labels.shape[1])
    ]
    return np.stack(columns, axis=1) if columns else np.empty((len(weights), 0))


def macro(replicates: np.ndarray) -> np.ndarray:
    """Mean over the classes that are defined in a replicate: ``(R, C)`` to ``(R,)``."""
    defined = np.isfinite(replicates)
    total = np.where(defined, replicates, 0.0).sum(axis=1)
    return np.divide(total, defined.sum(axis=1), out=np.full(len(total), np.nan), where=defined.any(axis=1))


def percentile(replicates: np.ndarray, level: float = 0.95) -> Interval:
    """The central interval of the defined replicates ``(R,)``; NaN bounds when there are none."""
    defined = replicates[np.isfinite(replicates)]
    if not len(defined):
        return Interval(float("nan"), float("nan"), len(replicates))
    tail = (1 - level) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return Interval(float(low), float(high), len(replicates) - len(defined))
