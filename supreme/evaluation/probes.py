"""Linear probes on frozen embeddings: an L2 logistic regression a class, on fractions of the train patients.

A class without a training positive (or negative) in a draw is not fitted and counted; it gets no score.
"""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict
from scipy import stats
from scipy.special import expit
from threadpoolctl import threadpool_limits

from supreme.evaluation.benchmarks import NEGATIVE, POSITIVE, Benchmark
from supreme.evaluation.embeddings import Embeddings
from supreme.evaluation.training_draws import draw_records
from supreme.metrics import rankings
from supreme.settings.evaluation import Probes

#: Inverse strengths of regularisation (scikit-learn's C); the largest validation macro AUROC selects one.
GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
#: Where no validation record has labels.
DEFAULT_C = 1e-2
#: Standardised features beyond this are errors of measurement or constant in the draw.
_MAX_DEVIATION = 10.0


class CannotProbe(ValueError):
    """No training or test record has labels that a probe needs."""


class _ProbeResult(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DrawMean(_ProbeResult):
    """A mean over draws of training records, with its 95 % t interval; None where nothing was fitted.

    The interval is about the draws alone. The patients of the test set are the same in each.
    """

    auroc: float | None
    low: float | None
    high: float | None
    draws: int
    """Draws that define it."""


class ProbeFraction(_ProbeResult):
    """Probes that were trained on one fraction of the training patients."""

    fraction: float
    draws: int
    records: float
    """Training records, mean over the draws."""
    macro: DrawMean
    """Mean over the classes that a draw could fit: not the same classes in each fraction."""
    shared_macro: DrawMean
    """Mean over the classes that every draw of every fraction could fit."""
    classes: dict[str, DrawMean]
    left_out: dict[str, int]
    """Class -> draws without a training positive or negative."""
    strengths: tuple[float, ...]
    """The C of each draw."""


class ProbeResult(_ProbeResult):
    """Linear probes of one model on one benchmark."""

    draw: Literal["plain", "stratified"]
    selected_on: Literal["validation", "default"]
    """Whether C was selected on validation records, or none of them has labels."""
    fractions: tuple[ProbeFraction, ...]
    shared_classes: tuple[str, ...]
    undefined: tuple[str, ...]
    """Classes without a test positive or negative: no AUROC whatever the draw."""


@dataclass(frozen=True)
class ProbeSplits:
    """The labels of three sets of records, of which no patient is in two."""

    train: Benchmark
    validation: Benchmark
    test: Benchmark

    def __post_init__(self) -> None:
        for name, part in (("train", self.train), ("test", self.test)):
            if not len(part.record_ids):
                raise CannotProbe(f"{part.dataset}: no {name} record here, so no probe")
        if not (self.train.classes == self.validation.classes == self.test.classes):
            raise ValueError(f"{self.train.dataset}: train, validation and test have different classes")
        shared = set(self.train.patients) & (set(self.test.patients) | set(self.validation.patients))
        if shared:
            raise ValueError(
                f"{self.train.dataset}: {len(shared)} training patients are in validation or test, first "
                f"{min(shared)}: split by patient"
            )


@dataclass(frozen=True)
class ProbeRun:
    """The result, and the test scores of the probe that was trained on the most patients."""

    result: ProbeResult
    scores: pa.Table
    """`record_id` and a probability for each class that was fitted; no column for the others."""


@dataclass(frozen=True)
class _Fit:
    """One draw: AUROC and logits of the test records; NaN for classes that were not fitted."""

    c: float
    records: int
    aurocs: np.ndarray
    logits: np.ndarray


def probe(
    embeddings: Embeddings, splits: ProbeSplits, settings: Probes, seed: int, *, allow_missing: bool = False
) -> ProbeRun:
    """Fit and score linear probes.

    Features are standardised by the records of each draw. Draws depend on the seed and the data set alone, so
    that all models learn from the same records.

    Args:
        allow_missing: NaN features are replaced by their mean (hand-made features) instead of refused.

    Raises:
        CannotProbe: no class has a positive and a negative in train and in test.
        ValueError: a record has no embedding, or one that is not finite; the message names it.
    """
    train, validation, test = (
        features_of(embeddings, part, allow_missing)
        for part in (splits.train, splits.validation, splits.test)
    )
    usable = _both(splits.test.labels) & _both(splits.train.labels)
    if not usable.any():
        raise CannotProbe(
            f"{splits.test.dataset}: no class has a positive and a negative in train and in test"
        )
    fractions = sorted(set(settings.fractions))
    fits: list[list[_Fit]] = []
    for fraction in fractions:
        draws = settings.draws if fraction < 1 else 1
        group = []
        for number in range(draws):
            rng = np.random.default_rng([seed, number, zlib.crc32(splits.train.dataset.encode())])
            rows = draw_records(splits.train, fraction, settings.draw, rng)
            group.append(_fit(train[rows], splits.train.labels[rows], validation, test, splits))
        fits.append(group)
    result = _result(fractions, fits, splits, settings)
    return ProbeRun(result, scores_table(splits.test, expit(fits[-1][0].logits)))


def features_of(embeddings: Embeddings, benchmark: Benchmark, allow_missing: bool) -> np.ndarray:
    """``(N, D)`` float32 in the order of a benchmark.

    Raises:
        ValueError: a record has no embedding, or a feature that is not finite; the message names it.
    """
    row_of = {record: row for row, record in enumerate(embeddings.record_ids)}
    missing = [record for record in benchmark.record_ids if record not in row_of]
    if missing:
        raise ValueError(f"{benchmark.dataset}: {len(missing)} records have no embedding, first {missing[0]}")
    rows = np.array([row_of[record] for record in benchmark.record_ids], int)
    values = embeddings.values[rows].astype(np.float32)
    bad = np.isinf(values) if allow_missing else ~np.isfinite(values)
    if bad.any():
        record = benchmark.record_ids[int(bad.any(axis=1).argmax())]
        raise ValueError(f"{benchmark.dataset}: {record} has an embedding that is NaN or infinite")
    return values


def scores_table(benchmark: Benchmark, scores: np.ndarray) -> pa.Table:
    """``record_id`` and one column for each class that has scores ``(N, C)``; NaN: not fitted."""
    columns = {
        name: scores[:, c] for c, name in enumerate(benchmark.classes) if not np.isnan(scores[:, c]).any()
    }
    return pa.table({"record_id": pa.array(benchmark.record_ids, pa.string()), **columns})


def class_aurocs(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """AUROC of each class ``(C,)``; NaN where a class has no scores, no positive or no negative."""
    values = np.full(labels.shape[1], np.nan)
    for c in range(labels.shape[1]):
        if len(scores) and np.isfinite(scores[:, c]).all():
            values[c] = rankings.auroc(rankings.rank(scores[:, c], labels[:, c]))[0]
    return values


def _fit(
    train: np.ndarray, labels: np.ndarray, validation: np.ndarray, test: np.ndarray, splits: ProbeSplits
) -> _Fit:
    """Fit every class along the grid, the strongest regularisation first, and select one C for all."""
    # Its import takes a second and draws a random number.
    import sklearn
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    train, validation, test = _standardized(train, validation, test)
    fitted = np.flatnonzero(_both(labels))
    classes, records = labels.shape[1], len(train)
    valid_logits = np.full((len(GRID), len(validation), classes), np.nan)
    test_logits = np.full((len(GRID), len(test), classes), np.nan)
    fast = sklearn.config_context(assume_finite=True, skip_parameter_validation=True)
    # Small products on many threads are slower than on one.
    with threadpool_limits(1), fast, warnings.catch_warnings():
        # In float32 a line search may end before the tolerance is reached, where logits have settled.
        warnings.simplefilter("ignore", ConvergenceWarning)
        for c in fitted:
            annotated = labels[:, c] >= 0
            model = LogisticRegression(warm_start=True, max_iter=2000)
            for step, strength in enumerate(GRID):
                model.C = strength
                model.fit(train[annotated], labels[annotated, c])
                weights, bias = model.coef_[0], model.intercept_[0]
                valid_logits[step, :, c] = validation @ weights + bias
                test_logits[step, :, c] = test @ weights + bias
    macros = [_nanmean(class_aurocs(logits, splits.validation.labels)) for logits in valid_logits]
    best = int(np.nanargmax(macros)) if np.isfinite(macros).any() else GRID.index(DEFAULT_C)
    logits = test_logits[best]
    return _Fit(GRID[best], records, class_aurocs(logits, splits.test.labels), logits)


def _standardized(train: np.ndarray, *others: np.ndarray) -> tuple[np.ndarray, ...]:
    """By mean and standard deviation of the training records; NaN becomes the mean."""
    known = np.isfinite(train)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, train, 0).sum(axis=0, dtype=np.float64) / count
    spread = np.sqrt(np.where(known, (train - mean) ** 2, 0).sum(axis=0) / count)
    spread[spread <= 1e-6 * np.maximum(np.abs(mean), 1e-6)] = np.inf  # constant: says nothing
    parts = (np.nan_to_num((part - mean) / spread, nan=0.0) for part in (train, *others))
    return tuple(part.clip(-_MAX_DEVIATION, _MAX_DEVIATION).astype(np.float32) for part in parts)


def _result(
    fractions: Sequence[float], fits: Sequence[Sequence[_Fit]], splits: ProbeSplits, settings: Probes
) -> ProbeResult:
    everything = np.stack([fit.aurocs for group in fits for fit in group])
    shared = np.isfinite(everything).all(axis=0)
    names = splits.test.classes
    defined = _both(splits.test.labels)
    parts = []
    for fraction, group in zip(fractions, fits, strict=True):
        aurocs = np.stack([fit.aurocs for fit in group])
        unfitted = np.stack([np.isnan(fit.logits).any(axis=0) for fit in group]).sum(axis=0)
        parts.append(
            ProbeFraction(
                fraction=fraction,
                draws=len(group),
                records=float(np.mean([fit.records for fit in group])),
                macro=draw_mean(np.array([_nanmean(row) for row in aurocs])),
                shared_macro=draw_mean(np.array([_nanmean(row[shared]) for row in aurocs])),
                classes={name: draw_mean(aurocs[:, c]) for c, name in enumerate(names)},
                left_out={name: int(unfitted[c]) for c, name in enumerate(names) if unfitted[c]},
                strengths=tuple(fit.c for fit in group),
            )
        )
    return ProbeResult(
        draw=settings.draw,
        selected_on="validation" if _both(splits.validation.labels).any() else "default",
        fractions=tuple(parts),
        shared_classes=tuple(name for c, name in enumerate(names) if shared[c]),
        undefined=tuple(name for c, name in enumerate(names) if not defined[c]),
    )


def draw_mean(values: np.ndarray) -> DrawMean:
    """Mean and t interval of the finite values of draws."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return DrawMean(auroc=None, low=None, high=None, draws=0)
    mean = float(finite.mean())
    if len(finite) < 2:
        return DrawMean(auroc=mean, low=None, high=None, draws=len(finite))
    half = float(stats.t.ppf(0.975, len(finite) - 1) * finite.std(ddof=1) / np.sqrt(len(finite)))
    return DrawMean(auroc=mean, low=mean - half, high=mean + half, draws=len(finite))


def _both(labels: np.ndarray) -> np.ndarray:
    """Classes ``(C,)`` with a positive and a negative in ``(N, C)``."""
    return (labels == POSITIVE).any(axis=0) & (labels == NEGATIVE).any(axis=0)


def _nanmean(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else float("nan")
