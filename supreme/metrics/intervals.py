"""Intervals of AUROCs that cover where positives are few: Newcombe by class, MOVER for the mean over classes.

Newcombe, Statistics in Medicine 2006, 25:559-573, method 5; Zou and Donner, Statistics in Medicine 2008,
27:1693-1702. Patients are the units.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from supreme.metrics import clustered
from supreme.metrics.clustered import PatientAurocs

#: With fewer positive or fewer negative patients no interval covers, so none is given.
MIN_PATIENTS = 5
_HALVINGS = 50


def newcombe(
    auroc: np.ndarray, positives: np.ndarray, negatives: np.ndarray, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Score-type interval of AUROCs ``(C,)``: the values that the observed one does not refute.

    Args:
        positives: ``(C,)`` independent positive units; need not be whole.
        negatives: ``(C,)``.

    Returns:
        Lower and upper bounds ``(C,)``, within [0, 1]; NaN where the AUROC is NaN.
    """
    z = float(stats.norm.ppf((1 + level) / 2))
    auroc = np.asarray(auroc, np.float64)
    bounds = []
    for edge in (0.0, 1.0):
        outer, inner = np.full_like(auroc, edge), auroc.copy()
        for _ in range(_HALVINGS):
            middle = (outer + inner) / 2
            refuted = np.abs(auroc - middle) > z * np.sqrt(_variance(middle, positives, negatives))
            outer, inner = np.where(refuted, middle, outer), np.where(refuted, inner, middle)
        bounds.append(np.where(np.isfinite(auroc), inner, np.nan))
    return bounds[0], bounds[1]


def class_intervals(aurocs: PatientAurocs, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Newcombe's interval of every class ``(C,)``; NaN below five positive or negative patients, and where
    the score is constant."""
    low, high = _bounds(aurocs, level)
    fewer = np.minimum(aurocs.positive_patients, aurocs.negative_patients)
    missing = (fewer < MIN_PATIENTS) | aurocs.constant
    return np.where(missing, np.nan, low), np.where(missing, np.nan, high)


def macro_interval(aurocs: PatientAurocs, level: float = 0.95) -> tuple[float, float]:
    """Interval of the mean AUROC over classes, all of them defined.

    NaN where more than half of the classes have fewer than five positive or negative patients.

    MOVER adds the distances from each AUROC to its bounds as standard errors are added, here with the
    correlations that classes have through their patients. That alone keeps the skewness of a single class,
    which a mean of many has not, and covers too little. So the skewness is divided by the root of the
    effective number of classes, and the width moves from Newcombe's for one class to the measured standard
    error for many.
    """
    few = np.minimum(aurocs.positive_patients, aurocs.negative_patients) < MIN_PATIENTS
    if 2 * few.sum() > len(few) or not len(few):
        return np.nan, np.nan
    low, high = _bounds(aurocs, level)
    below, above = aurocs.values - low, high - aurocs.values
    length = np.sqrt(aurocs.variances)
    unit = np.divide(aurocs.influence, length, out=np.zeros_like(aurocs.influence), where=length > 0)

    def combine(distances: np.ndarray) -> float:
        alone = distances[length == 0]  # perfect rankings do not vary: taken as independent
        return float(np.sqrt(((unit @ distances) ** 2).sum() + (alone**2).sum()))

    half = (below + above) / 2
    whole = combine(half)
    classes = max(1.0, (half.sum() / whole) ** 2) if whole else 1.0
    quantile = float(stats.t.ppf((1 + level) / 2, clustered.macro(aurocs).degrees))
    measured = combine(np.where(few, half, quantile * length))
    width = np.sqrt((1 - 1 / classes) * measured**2 + whole**2 / classes)
    shift = (combine(below) - combine(above)) / (2 * np.sqrt(classes))
    mean, count = float(aurocs.values.mean()), len(aurocs.values)
    return max(0.0, mean - (width + shift) / count), min(1.0, mean + max(0.0, width - shift) / count)


def _bounds(aurocs: PatientAurocs, level: float) -> tuple[np.ndarray, np.ndarray]:
    return newcombe(aurocs.values, aurocs.positive_size, aurocs.negative_size, level)


def _variance(auroc: np.ndarray, positives: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    """Hanley and McNeil's variance with both numbers replaced by their mean, which is Newcombe's method 5."""
    others = (positives + negatives) / 2 - 1
    inner = 1 + others * (1 - auroc) / (2 - auroc) + others * auroc / (1 + auroc)
    return auroc * (1 - auroc) * inner / (positives * negatives)
