"""Linear probes on frozen embeddings: an L2 logistic regression a class, on fractions of the train patients.

A class without a training positive (or negative) in a draw is not fitted and counted; it gets no score.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict
from scipy import stats
from scipy.special import expit

from supreme.evaluation.benchmarks import Benchmark
from supreme.evaluation.embeddings import Embeddings
from supreme.evaluation.logistic import DEFAULT_C, GRID, fit_logits, has_both
from supreme.evaluation.training_draws import draw_records
from supreme.metrics import rankings
from supreme.settings.evaluation import Probes

#: Draws of a fraction whose mean validation macro AUROC selects one C for all of its draws.
_SELECTING_DRAWS = 3


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
    c: float
    """Inverse strength of regularisation, selected by the macro AUROC of validation."""


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
    usable = has_both(splits.test.labels) & has_both(splits.train.labels)
    if not usable.any():
        raise CannotProbe(
            f"{splits.test.dataset}: no class has a positive and a negative in train and in test"
        )
    fractions = sorted(set(settings.fractions))
    fits = []
    for fraction in fractions:
        draws = []
        for number in range(settings.draws if fraction < 1 else 1):
            rng = np.random.default_rng([seed, number, zlib.crc32(splits.train.dataset.encode())])
            draws.append(draw_records(splits.train, fraction, settings.draw, rng))
        fits.append(_fit_draws(draws, train, validation, test, splits))
    result = _result(fractions, fits, splits, settings)
    return ProbeRun(result, scores_table(splits.test, expit(fits[-1][1][0].logits)))


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


def _fit_draws(
    draws: Sequence[np.ndarray],
    train: np.ndarray,
    validation: np.ndarray,
    test: np.ndarray,
    splits: ProbeSplits,
) -> tuple[float, list[_Fit]]:
    """Probes of the training rows of each draw; the first draws select the C of all."""
    labels = splits.train.labels
    first = [fit_logits(train[rows], labels[rows], (validation, test)) for rows in draws[:_SELECTING_DRAWS]]
    macros = [
        _nanmean(np.array([_nanmean(class_aurocs(v[step], splits.validation.labels)) for v, _ in first]))
        for step in range(len(GRID))
    ]
    best = int(np.nanargmax(macros)) if np.isfinite(macros).any() else GRID.index(DEFAULT_C)
    logits = [scores[best] for _, scores in first]
    for rows in draws[_SELECTING_DRAWS:]:
        logits += [fit_logits(train[rows], labels[rows], (test,), GRID[best : best + 1])[0][0]]
    fits = [
        _Fit(len(rows), class_aurocs(part, splits.test.labels), part)
        for rows, part in zip(draws, logits, strict=True)
    ]
    return GRID[best], fits


def _result(
    fractions: Sequence[float],
    fits: Sequence[tuple[float, list[_Fit]]],
    splits: ProbeSplits,
    settings: Probes,
) -> ProbeResult:
    everything = np.stack([fit.aurocs for _, group in fits for fit in group])
    shared = np.isfinite(everything).all(axis=0)
    names = splits.test.classes
    defined = has_both(splits.test.labels)
    parts = []
    for fraction, (c, group) in zip(fractions, fits, strict=True):
        aurocs = np.stack([fit.aurocs for fit in group])
        unfitted = np.stack([np.isnan(fit.logits).any(axis=0) for fit in group]).sum(axis=0)
        parts.append(
            ProbeFraction(
                fraction=fraction,
                draws=len(group),
                records=float(np.mean([fit.records for fit in group])),
                macro=draw_mean(np.array([_nanmean(row) for row in aurocs])),
                shared_macro=draw_mean(np.array([_nanmean(row[shared]) for row in aurocs])),
                classes={name: draw_mean(aurocs[:, n]) for n, name in enumerate(names)},
                left_out={name: int(unfitted[n]) for n, name in enumerate(names) if unfitted[n]},
                c=c,
            )
        )
    return ProbeResult(
        draw=settings.draw,
        selected_on="validation" if has_both(splits.validation.labels).any() else "default",
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


def _nanmean(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else float("nan")
