"""Scores and labels to the numbers of `results.json`: classes, macro means, intervals, calibration."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import numpy as np
import pyarrow as pa

from supreme.evaluation.benchmarks import UNKNOWN, Benchmark
from supreme.metrics import bootstrap, rankings
from supreme.reports.vocabulary import load_base


def summarise(
    benchmark: Benchmark,
    scores: np.ndarray,
    seen: Collection[str],
    min_positives: int,
    replicates: int,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Everything that is said about one data set.

    Args:
        scores: probabilities ``(N, C)`` in the order of the benchmark.
        seen: conditions that were queries of pre-training.
        min_positives: classes with fewer positives or fewer negatives stay out of the headline mean.
        replicates: of the patient bootstrap; 0 for no intervals.
    """
    labels = benchmark.labels
    weights = bootstrap.multiplicities(benchmark.patients, replicates, rng)
    drawn = bootstrap.auroc_replicates(scores, labels, weights)
    values = np.full(len(benchmark.conditions), np.nan)
    conditions: dict[str, Any] = {}
    for c, name in enumerate(benchmark.conditions):
        ranking = rankings.rank(scores[:, c], labels[:, c])
        values[c] = rankings.auroc(ranking)[0]
        conditions[name] = {
            "name": display_name(name),
            "auroc": number(values[c]),
            **_bounds(drawn[:, c]),
            "auprc": number(rankings.average_precision(ranking)[0]),
            "records": len(ranking.order),
            "positives": benchmark.positives(c),
            "left_open": int((labels[:, c] == UNKNOWN).sum()),
            "seen": name in seen,
            "headline": benchmark.fewest(c) >= min_positives,
        }
    enough = np.array([row["headline"] for row in conditions.values()], bool)
    known = np.array([row["seen"] for row in conditions.values()], bool)
    groups = {
        "headline": enough,
        "all": np.isfinite(values),
        "seen": enough & known,
        "unseen": enough & ~known,
    }
    return {
        "records": len(benchmark.record_ids),
        "patients": len(set(benchmark.patients)),
        "macro": {name: _macro(values, drawn, chosen) for name, chosen in groups.items()},
        "conditions": conditions,
        "calibration": rankings.calibration(scores[:, known], labels[:, known]),
    }


def literal_macro(benchmark: Benchmark, scores: np.ndarray, min_positives: int) -> dict[str, Any]:
    """The headline mean when every record without a code counts as negative."""
    chosen = [c for c in range(len(benchmark.conditions)) if benchmark.fewest(c) >= min_positives]
    ranked = [rankings.rank(scores[:, c], benchmark.labels[:, c]) for c in chosen]
    values = [rankings.auroc(ranking)[0] for ranking in ranked]
    return {"auroc": number(np.mean(values)) if values else None, "classes": len(values)}


def matrix(tables: list[pa.Table], benchmark: Benchmark) -> np.ndarray:
    """Scores ``(N, C)`` in the order of a benchmark; NaN for a condition that a record's table does not hold.

    Raises:
        ValueError: a record has no score, naming it.
    """
    row_of = {record: row for row, record in enumerate(benchmark.record_ids)}
    values = np.full((len(row_of), len(benchmark.conditions)), np.nan, np.float32)
    found = np.zeros(len(row_of), bool)
    for table in tables:
        rows = np.array([row_of.get(record, -1) for record in table.column("record_id").to_pylist()], int)
        wanted = rows >= 0
        found[rows[wanted]] = True
        for c, name in enumerate(benchmark.conditions):
            if name in table.column_names:
                values[rows[wanted], c] = table.column(name).to_numpy()[wanted]
    if not found.all():
        missing = benchmark.record_ids[int(np.argmin(found))]
        raise ValueError(f"{benchmark.dataset}: {int((~found).sum())} records have no score, first {missing}")
    return values


def display_name(condition: str) -> str:
    """The entity's name in the base vocabulary."""
    base = load_base()
    return base[condition].name if condition in base else condition.replace("_", " ")


def number(value: float) -> float | None:
    """A float for JSON, which has no NaN."""
    return float(value) if math.isfinite(value) else None


def _macro(values: np.ndarray, drawn: np.ndarray, chosen: np.ndarray) -> dict[str, Any]:
    mean = float(values[chosen].mean()) if chosen.any() else math.nan
    return {
        "auroc": number(mean),
        **_bounds(bootstrap.macro(drawn[:, chosen])),
        "classes": int(chosen.sum()),
    }


def _bounds(replicates: np.ndarray) -> dict[str, Any]:
    interval = bootstrap.percentile(replicates)
    return {
        "low": number(interval.low),
        "high": number(interval.high),
        "undefined_replicates": interval.undefined,
    }
