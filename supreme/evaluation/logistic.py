"""L2 logistic regressions of many classes on the same features, along one grid of strengths."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from threadpoolctl import threadpool_limits

from supreme.evaluation.benchmarks import NEGATIVE, POSITIVE

#: Inverse strengths of regularisation (scikit-learn's C).
GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
#: Where nothing selects one.
DEFAULT_C = 1e-2
#: Standardised features beyond this are errors of measurement, or constant in the training records.
_MAX_DEVIATION = 10.0


def fit_logits(
    train: np.ndarray, labels: np.ndarray, others: Sequence[np.ndarray], grid: Sequence[float] = GRID
) -> list[np.ndarray]:
    """Fit every class at every strength, the strongest regularisation first, and score other records.

    Features are standardised by the training records; a NaN counts as their mean.

    Args:
        train: ``(N, D)`` features.
        labels: ``(N, C)`` of 1, 0 and -1; a class is fitted on its annotated records.
        others: ``(M, D)`` each.

    Returns:
        Logits ``(grid, M, C)`` of each of the others; NaN for a class without a positive or a negative.
    """
    # Its import takes a second and draws a random number.
    import sklearn
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    train, *others = _standardized(train, *others)
    logits = [np.full((len(grid), len(part), labels.shape[1]), np.nan) for part in others]
    fast = sklearn.config_context(assume_finite=True, skip_parameter_validation=True)
    # Small products on many threads are slower than on one.
    with threadpool_limits(1), fast, warnings.catch_warnings():
        # In float32 a line search may end before the tolerance is reached, where logits have settled.
        warnings.simplefilter("ignore", ConvergenceWarning)
        for c in np.flatnonzero(has_both(labels)):
            annotated = labels[:, c] >= 0
            model = LogisticRegression(warm_start=True, max_iter=2000)
            for step, strength in enumerate(grid):
                model.C = strength
                model.fit(train[annotated], labels[annotated, c])
                for part, values in zip(others, logits, strict=True):
                    values[step, :, c] = part @ model.coef_[0] + model.intercept_[0]
    return logits


def has_both(labels: np.ndarray) -> np.ndarray:
    """Which classes ``(C,)`` have a positive and a negative in ``(N, C)``."""
    return (labels == POSITIVE).any(axis=0) & (labels == NEGATIVE).any(axis=0)


def _standardized(train: np.ndarray, *others: np.ndarray) -> tuple[np.ndarray, ...]:
    known = np.isfinite(train)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, train, 0).sum(axis=0, dtype=np.float64) / count
    spread = np.sqrt(np.where(known, (train - mean) ** 2, 0).sum(axis=0) / count)
    spread[spread <= 1e-6 * np.maximum(np.abs(mean), 1e-6)] = np.inf  # constant: says nothing
    parts = (np.nan_to_num((part - mean) / spread, nan=0.0) for part in (train, *others))
    return tuple(part.clip(-_MAX_DEVIATION, _MAX_DEVIATION).astype(np.float32) for part in parts)
