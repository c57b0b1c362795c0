"""What a ranking is worth in use: sensitivity at a specificity, shares of a fixed capacity, calibration.

Thresholds and recalibrations are fitted on validation records and applied to others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from supreme.metrics.rankings import Ranking

_NEWTON_STEPS, _TOLERANCE = 100, 1e-12


@dataclass(frozen=True)
class ProbabilityErrors:
    """How far probabilities are from what happened."""

    brier: float
    """Mean squared error."""
    ece: float
    """Expected calibration error over bins of equally many records."""
    in_the_large: float
    """Mean probability minus the share of positives: above 0 where the model says too much."""


@dataclass(frozen=True)
class ReliabilityBin:
    """Answers of similar probability."""

    predicted: float
    """Mean probability."""
    observed: float
    """Share of positives."""
    count: int


@dataclass(frozen=True)
class PlattScaling:
    """A logistic curve from scores to probabilities (Platt, 1999)."""

    slope: float
    intercept: float

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-np.clip(self.slope * np.asarray(scores) + self.intercept, -700, 700)))


def sensitivity_at(ranking: Ranking, specificity: float) -> float:
    """The highest sensitivity of a threshold with at least this specificity; NaN where undefined."""
    if not ranking.defined:
        return float("nan")
    true, false = _above(ranking)
    allowed = (1 - specificity) * false[-1] + 1e-9
    return float(true[false <= allowed].max() / true[-1])


def threshold_at(ranking: Ranking, specificity: float) -> float:
    """The lowest score from which on records are called, with at least this specificity.

    Infinity where even the highest score is not specific enough. For validation records.
    """
    _, false = _above(ranking)
    allowed = (1 - specificity) * false[-1] + 1e-9
    groups = int((false <= allowed).sum()) - 1
    return float(ranking.scores[ranking.starts[-groups]]) if groups else float("inf")


def operating_point(ranking: Ranking, threshold: float) -> tuple[float, float]:
    """Sensitivity and specificity of calling scores of at least ``threshold``; NaN where undefined."""
    if not ranking.defined:
        return float("nan"), float("nan")
    called = ranking.scores >= threshold
    return float(called[ranking.positive].mean()), float((~called[~ranking.positive]).mean())


def top_share(ranking: Ranking, fraction: float = 0.05) -> float:
    """Share of the positives among the highest-scored ``fraction`` of the records; NaN without a positive.

    The score of the PhysioNet Challenge 2025. Ties are broken at random; this is the mean over all orders.
    """
    true, _ = _above(ranking)
    capacity = int(fraction * len(ranking.order))
    called = np.append(0, np.cumsum(_groups(ranking)[::-1]))
    return float(np.interp(capacity, called, true) / true[-1]) if true[-1] else float("nan")


def best_f1(ranking: Ranking) -> float:
    """F1 at the threshold that is best on these very records, which flatters a model; NaN if undefined."""
    return f1(ranking, best_f1_threshold(ranking)) if ranking.defined else float("nan")


def best_f1_threshold(ranking: Ranking) -> float:
    """The score at or above which F1 is largest; NaN without a positive."""
    true, false = _above(ranking)
    if not true[-1]:
        return float("nan")
    groups = int(np.argmax(2 * true / (true + false + true[-1])))
    return float(ranking.scores[ranking.starts[-groups]])


def f1(ranking: Ranking, threshold: float) -> float:
    """F1 of calling scores of at least ``threshold``; NaN without a positive or a threshold."""
    if not ranking.positive.any() or np.isnan(threshold):
        return float("nan")
    called = ranking.scores >= threshold
    return float(2 * (called & ranking.positive).sum() / (called.sum() + ranking.positive.sum()))


def probability_errors(probabilities: np.ndarray, positive: np.ndarray) -> ProbabilityErrors | None:
    """Brier score, calibration error and calibration in the large; None for scores outside [0, 1], or none.

    Args:
        probabilities: ``(n,)``.
        positive: ``(n,)`` bool.
    """
    p, y = np.asarray(probabilities, np.float64), np.asarray(positive, np.float64)
    if not is_probability(p) or not len(p):
        return None
    parts = reliability(p, y)
    return ProbabilityErrors(
        float(((p - y) ** 2).mean()), calibration_error(parts), float(p.mean() - y.mean())
    )


def reliability(probabilities: np.ndarray, positive: np.ndarray, bins: int = 10) -> list[ReliabilityBin]:
    """Bins of equally many answers, lowest first; equal probabilities share a bin.

    Args:
        probabilities: ``(n,)`` in [0, 1].
        positive: ``(n,)`` of 0 and 1, or bool.
    """
    if not len(probabilities):
        return []
    p, y = np.asarray(probabilities, np.float64), np.asarray(positive, np.float64)
    ascending = np.sort(p)
    starts = np.cumsum([0, *(len(part) for part in np.array_split(ascending, bins))])[1:-1]
    edges = np.unique(ascending[starts[starts < len(p)]])
    which = np.searchsorted(edges, p, side="right")
    counts = np.bincount(which, minlength=len(edges) + 1)
    predicted, observed = np.bincount(which, p), np.bincount(which, y)
    return [
        ReliabilityBin(float(predicted[b] / counts[b]), float(observed[b] / counts[b]), int(counts[b]))
        for b in np.flatnonzero(counts)
    ]


def calibration_error(parts: list[ReliabilityBin]) -> float:
    """Mean distance between probability and share of positives, weighted by count; NaN without a bin."""
    total = sum(part.count for part in parts)
    if not total:
        return float("nan")
    return sum(part.count * abs(part.predicted - part.observed) for part in parts) / total


def is_probability(scores: np.ndarray) -> bool:
    """Whether all scores are in [0, 1]."""
    return bool(((scores >= 0) & (scores <= 1)).all())


def fit_platt(scores: np.ndarray, positive: np.ndarray) -> PlattScaling:
    """Fit a logistic curve by Newton's method, with Platt's targets, which keep it finite.

    Args:
        scores: ``(n,)`` of validation records, finite; log-odds suit best.
        positive: ``(n,)`` bool.

    Raises:
        ValueError: the validation records are all positive or all negative.
    """
    s, y = np.asarray(scores, np.float64), np.asarray(positive, bool)
    count = int(y.sum())
    if not 0 < count < len(y):
        raise ValueError("recalibration needs validation records of both kinds")
    target = np.where(y, (count + 1) / (count + 2), 1 / (len(y) - count + 2))
    center, scale = float(s.mean()), float(s.std()) or 1.0
    design = np.stack([(s - center) / scale, np.ones_like(s)], axis=1)
    weights = np.array([0.0, np.log(target.mean() / (1 - target.mean()))])
    for _ in range(_NEWTON_STEPS):
        p = 1 / (1 + np.exp(-np.clip(design @ weights, -700, 700)))
        curvature = (design * (p * (1 - p))[:, None]).T @ design + 1e-9 * np.eye(2)
        step = np.linalg.solve(curvature, design.T @ (target - p))
        weights = weights + step
        if np.abs(step).max() < _TOLERANCE:
            break
    slope = float(weights[0] / scale)
    return PlattScaling(slope, float(weights[1] - slope * center))


def _groups(ranking: Ranking) -> np.ndarray:
    return np.diff(np.append(ranking.starts, len(ranking.order))).astype(float)


def _above(ranking: Ranking) -> tuple[np.ndarray, np.ndarray]:
    """Positives and negatives at or above each threshold, from none to all."""
    groups = _groups(ranking)
    positives = np.add.reduceat(ranking.positive.astype(float), ranking.starts) if len(groups) else groups
    return (
        np.append(0.0, np.cumsum(positives[::-1])),
        np.append(0.0, np.cumsum((groups - positives)[::-1])),
    )
