"""AUROC, average precision and ROC curves, weighted so that replicates cost one sort a class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

#: Weights held at a time; replicates are worked on in blocks, so that memory does not grow with them.
_BLOCK = 4_000_000
_Metric = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Ranking:
    """The annotated records of one class, sorted by score once."""

    order: np.ndarray
    """Positions of the records in the data set, ascending by score."""
    positive: np.ndarray
    """`(n,)` bool in that order."""
    starts: np.ndarray
    """Where each group of equal scores begins."""
    scores: np.ndarray
    """`(n,)` ascending."""

    @property
    def defined(self) -> bool:
        """Whether there is a positive and a negative."""
        return bool(self.positive.any() and not self.positive.all())


def rank(scores: np.ndarray, labels: np.ndarray) -> Ranking:
    """Sort one class: ``scores`` ``(N,)``, ``labels`` ``(N,)`` of 1, 0 and -1 (left out).

    Raises:
        ValueError: a score is not finite.
    """
    annotated = np.flatnonzero(labels >= 0)
    values = np.asarray(scores, np.float64)[annotated]
    if not np.isfinite(values).all():
        raise ValueError("a score is not finite: the model gave NaN or infinity")
    order = np.argsort(values, kind="stable")
    values = values[order]
    starts = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]])) if len(values) else order
    return Ranking(annotated[order], labels[annotated[order]] == 1, starts, values)


def auroc(ranking: Ranking, weights: np.ndarray | None = None) -> np.ndarray:
    """AUROC, ties counted half: ``(R,)`` for record weights ``(R, N)``, else ``(1,)``; NaN if undefined."""
    return _in_blocks(ranking, weights, _auroc)


def average_precision(ranking: Ranking, weights: np.ndarray | None = None) -> np.ndarray:
    """AUPRC as the mean of precision over recall steps (no interpolation); shapes as :func:`auroc`."""
    return _in_blocks(ranking, weights, _average_precision)


def roc_curve(ranking: Ranking) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rates from (0, 0) to (1, 1), one point a distinct score."""
    positives, negatives = _grouped(ranking, np.ones((1, len(ranking.order))))
    true = np.concatenate([[0.0], np.cumsum(positives[0, ::-1])])
    false = np.concatenate([[0.0], np.cumsum(negatives[0, ::-1])])
    return false / max(false[-1], 1.0), true / max(true[-1], 1.0)


def _in_blocks(ranking: Ranking, weights: np.ndarray | None, of: _Metric) -> np.ndarray:
    if weights is None:
        weights = np.ones((1, int(ranking.order.max(initial=-1)) + 1))
    if not ranking.defined or not len(weights):
        return np.full(len(weights), np.nan)
    step = max(1, _BLOCK // len(ranking.order))
    blocks = [weights[at : at + step, ranking.order] for at in range(0, len(weights), step)]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.concatenate([of(*_grouped(ranking, block.astype(np.float64))) for block in blocks])


def _grouped(ranking: Ranking, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weight of positives and of negatives in each group of equal scores, ``(R, groups)`` each."""
    if not len(ranking.order):
        return np.zeros((len(weights), 0)), np.zeros((len(weights), 0))
    positives = np.add.reduceat(weights * ranking.positive, ranking.starts, axis=1)
    return positives, np.add.reduceat(weights, ranking.starts, axis=1) - positives


def _auroc(positives: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    below = np.cumsum(negatives, axis=1) - negatives / 2
    area = np.einsum("rg,rg->r", positives, below)
    return area / (positives.sum(axis=1) * negatives.sum(axis=1))


def _average_precision(positives: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    true_positives = np.cumsum(positives[:, ::-1], axis=1)
    called = true_positives + np.cumsum(negatives[:, ::-1], axis=1)
    precision = np.divide(true_positives, called, out=np.zeros_like(true_positives), where=called > 0)
    total = positives.sum(axis=1)
    value = np.einsum("rg,rg->r", positives[:, ::-1], precision) / total
    return np.where(negatives.sum(axis=1) > 0, value, np.nan)
