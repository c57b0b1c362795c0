"""F1 at the threshold that maximises it, on these scores or on others."""

from __future__ import annotations

import math

import numpy as np


def best_threshold(scores: np.ndarray, positive: np.ndarray) -> float:
    """The score at or above which F1 is largest; NaN without a positive.

    Args:
        scores: ``(N,)``.
        positive: bool ``(N,)``.
    """
    if not positive.any():
        return math.nan
    order = np.argsort(-scores, kind="stable")
    ordered, hits = scores[order], np.cumsum(positive[order])
    last = np.append(ordered[1:] != ordered[:-1], True)  # of equal scores: all are called or none
    values = 2 * hits / (np.arange(1, len(scores) + 1) + positive.sum())
    return float(ordered[np.argmax(np.where(last, values, -1.0))])


def f1(scores: np.ndarray, positive: np.ndarray, threshold: float) -> float:
    """F1 of calling what is at or above a threshold; NaN without a positive or a threshold."""
    if not positive.any() or math.isnan(threshold):
        return math.nan
    called = scores >= threshold
    return float(2 * (called & positive).sum() / (called.sum() + positive.sum()))
