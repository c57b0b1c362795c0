"""Scores and labels to numbers: classes, macro means, intervals, calibration."""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np
import pyarrow as pa

from supreme.evaluation.benchmarks import UNKNOWN, Benchmark
from supreme.evaluation.class_results import (
    CalibrationCurve,
    ClassResult,
    Group,
    LiteralMacro,
    MacroAuroc,
    ProtocolResult,
)
from supreme.metrics import bootstrap, rankings
from supreme.reports.vocabulary import load_base


def summarize(
    benchmark: Benchmark,
    literal: Benchmark,
    scores: np.ndarray,
    seen: Collection[str],
    min_positives: int,
    replicates: int,
    rng: np.random.Generator,
) -> ProtocolResult:
    """The result of one data set.

    Args:
        literal: the same records where every one without a code counts as negative.
        scores: probabilities ``(N, C)`` in the order of the benchmark.
        seen: conditions that were queries of pre-training.
        min_positives: classes with fewer positives or fewer negatives stay out of the headline mean.
        replicates: of the patient bootstrap; 0 for no intervals.
    """
    labels = benchmark.labels
    weights = bootstrap.multiplicities(benchmark.patients, replicates, rng)
    replicate_aurocs = bootstrap.auroc_replicates(scores, labels, weights)
    values = np.full(len(benchmark.classes), np.nan)
    conditions: dict[str, ClassResult] = {}
    for c, name in enumerate(benchmark.classes):
        ranking = rankings.rank(scores[:, c], labels[:, c])
        values[c] = rankings.auroc(ranking)[0]
        interval = bootstrap.percentile(replicate_aurocs[:, c])
        conditions[name] = ClassResult(
            name=display_name(name),
            auroc=number(values[c]),
            low=number(interval.low),
            high=number(interval.high),
            undefined_replicates=interval.undefined,
            auprc=number(rankings.average_precision(ranking)[0]),
            records=len(ranking.order),
            positives=benchmark.positives(c),
            left_open=int((labels[:, c] == UNKNOWN).sum()),
            seen=name in seen,
            headline=benchmark.smaller_class(c) >= min_positives,
        )
    enough = np.array([row.headline for row in conditions.values()], bool)
    known = np.array([row.seen for row in conditions.values()], bool)
    groups: dict[Group, np.ndarray] = {
        "headline": enough,
        "all": np.isfinite(values),
        "seen": enough & known,
        "unseen": enough & ~known,
    }
    return ProtocolResult(
        records=len(benchmark.record_ids),
        patients=len(set(benchmark.patients)),
        macro={name: _macro(values, replicate_aurocs, mask) for name, mask in groups.items()},
        classes=conditions,
        calibration=CalibrationCurve.model_validate(rankings.calibration(scores[:, known], labels[:, known])),
        literal=_literal_macro(literal, scores, min_positives),
    )


def matrix(tables: list[pa.Table], benchmark: Benchmark) -> np.ndarray:
    """Scores ``(N, C)`` in the order of a benchmark; NaN for a condition that a record's table does not hold.

    Raises:
        ValueError: a record has no score, naming it.
    """
    row_of = {record: row for row, record in enumerate(benchmark.record_ids)}
    values = np.full((len(row_of), len(benchmark.classes)), np.nan, np.float32)
    has_score = np.zeros(len(row_of), bool)
    for table in tables:
        rows = np.array([row_of.get(record, -1) for record in table.column("record_id").to_pylist()], int)
        in_benchmark = rows >= 0
        has_score[rows[in_benchmark]] = True
        for c, name in enumerate(benchmark.classes):
            if name in table.column_names:
                values[rows[in_benchmark], c] = table.column(name).to_numpy()[in_benchmark]
    if not has_score.all():
        missing = benchmark.record_ids[int(np.argmin(has_score))]
        raise ValueError(
            f"{benchmark.dataset}: {int((~has_score).sum())} records have no score, first {missing}"
        )
    return values


def display_name(condition: str) -> str:
    """The entity's name in the base vocabulary."""
    base = load_base()
    return base[condition].name if condition in base else condition.replace("_", " ")


def number(value: float) -> float | None:
    """A float for JSON, which has no NaN."""
    return float(value) if math.isfinite(value) else None


def _literal_macro(benchmark: Benchmark, scores: np.ndarray, min_positives: int) -> LiteralMacro:
    columns = [c for c in range(len(benchmark.classes)) if benchmark.smaller_class(c) >= min_positives]
    ranked = [rankings.rank(scores[:, c], benchmark.labels[:, c]) for c in columns]
    values = [rankings.auroc(ranking)[0] for ranking in ranked]
    return LiteralMacro(auroc=number(np.mean(values)) if values else None, classes=len(values))


def _macro(values: np.ndarray, replicate_aurocs: np.ndarray, mask: np.ndarray) -> MacroAuroc:
    mean = float(values[mask].mean()) if mask.any() else math.nan
    interval = bootstrap.percentile(bootstrap.macro(replicate_aurocs[:, mask]))
    return MacroAuroc(
        auroc=number(mean),
        low=number(interval.low),
        high=number(interval.high),
        undefined_replicates=interval.undefined,
        classes=int(mask.sum()),
    )
