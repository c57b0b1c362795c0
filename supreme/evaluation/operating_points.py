"""Thresholds and recalibration from validation records, applied to the records that are evaluated."""

from __future__ import annotations

import math

import numpy as np

from supreme.evaluation.benchmarks import Benchmark
from supreme.evaluation.class_results import OperatingPoint
from supreme.metrics import decisions, rankings
from supreme.metrics.rankings import Ranking

#: Of the threshold on the validation records.
SPECIFICITY = 0.90


def operating_points(
    validation: Benchmark,
    validation_scores: np.ndarray,
    test: Benchmark,
    test_scores: np.ndarray,
    specificity: float = SPECIFICITY,
) -> dict[str, OperatingPoint]:
    """The operating point of each class that both sets have positive and negative records of.

    Args:
        validation: other patients than those of ``test``.
        validation_scores: ``(V, C)`` in the order of ``validation``.
        test_scores: ``(N, C)`` in the order of ``test``; none of their labels is used to fit.

    Raises:
        ValueError: a record of a test patient is in the validation set, naming the patient.
    """
    shared = set(validation.patients) & set(test.patients)
    if shared:
        raise ValueError(
            f"{test.dataset}: {len(shared):,} patients are in validation and test, first {min(shared)}: "
            "split by patient, or a threshold is fitted on the patients that it is judged on"
        )
    columns = {name: c for c, name in enumerate(validation.classes)}
    points = {}
    for c, name in enumerate(test.classes):
        if name in columns:
            v = columns[name]
            if not (_is_scored(validation, validation_scores, v) and _is_scored(test, test_scores, c)):
                continue
            fitted = rankings.rank(validation_scores[:, v], validation.labels[:, v])
            judged = rankings.rank(test_scores[:, c], test.labels[:, c])
            if fitted.defined and judged.defined:
                points[name] = _point(fitted, judged, specificity)
    return points


def _is_scored(benchmark: Benchmark, scores: np.ndarray, column: int) -> bool:
    """Whether a class has scores at all."""
    return bool(np.isfinite(scores[benchmark.labels[:, column] >= 0, column]).all())


def _point(fitted: Ranking, judged: Ranking, specificity: float) -> OperatingPoint:
    threshold = decisions.threshold_at(fitted, specificity)
    sensitivity, achieved = decisions.operating_point(judged, threshold)
    is_probability = decisions.is_probability(fitted.scores) and decisions.is_probability(judged.scores)
    curve = decisions.fit_platt(_log_odds(fitted.scores, is_probability), fitted.positive)
    recalibrated = curve(_log_odds(judged.scores, is_probability))
    errors = decisions.probability_errors(recalibrated, judged.positive)
    return OperatingPoint(
        specificity_target=specificity,
        threshold=threshold if math.isfinite(threshold) else None,
        sensitivity=sensitivity,
        specificity=achieved,
        slope=curve.slope,
        intercept=curve.intercept,
        brier=errors.brier if errors else None,
        ece=errors.ece if errors else None,
    )


def _log_odds(scores: np.ndarray, is_probability: bool) -> np.ndarray:
    """Log-odds of probabilities; other scores as they are."""
    if not is_probability:
        return scores
    inside = np.clip(scores, 1e-7, 1 - 1e-7)
    return np.log(inside / (1 - inside))
