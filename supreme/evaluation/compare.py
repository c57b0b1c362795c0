"""Paired comparison of two models: macro AUROC over the same records, classes and bootstrap draws."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from supreme.evaluation import summary
from supreme.evaluation.benchmarks import POOLED, Benchmark
from supreme.evaluation.folder import EvaluationFolder
from supreme.metrics import bootstrap, rankings


class NotComparable(ValueError):
    """Two models share no records or classes to be compared on."""


@dataclass(frozen=True)
class Comparison:
    """Model A against model B (macro AUROC of A minus that of B)."""

    dataset: str
    auroc_a: float
    auroc_b: float
    difference: float
    low: float
    """Of the 95 % interval by patient; NaN without replicates."""
    high: float
    share_above: float
    """Share of replicates in which A is better."""
    classes: int
    records: int


def paired(
    scores_a: pa.Table,
    scores_b: pa.Table,
    benchmark: Benchmark,
    replicates: int,
    rng: np.random.Generator,
    min_positives: int = 1,
) -> Comparison:
    """Compare two score tables (``record_id`` and one column a condition) on one benchmark.

    Only classes that both tables score and that have ``min_positives`` positives and negatives are used.

    Raises:
        NotComparable: no class is left.
        ValueError: a table lacks a record of the benchmark.
    """
    both = set(scores_a.column_names) & set(scores_b.column_names)
    columns = [
        c
        for c, name in enumerate(benchmark.classes)
        if name in both and benchmark.smaller_class(c) >= min_positives
    ]
    if not columns:
        raise NotComparable(
            f"{benchmark.dataset}: the two models share no class with {min_positives} positives and negatives"
        )
    labels = benchmark.labels[:, columns]
    shared = replace(benchmark, classes=tuple(benchmark.classes[c] for c in columns), labels=labels)
    a, b = summary.matrix([scores_a], shared), summary.matrix([scores_b], shared)
    weights = bootstrap.multiplicities(benchmark.patients, replicates, rng)
    difference = bootstrap.macro(
        bootstrap.auroc_replicates(a, labels, weights) - bootstrap.auroc_replicates(b, labels, weights)
    )
    auroc_a, auroc_b = _macro(a, labels), _macro(b, labels)
    interval = bootstrap.percentile(difference)
    return Comparison(
        benchmark.dataset,
        auroc_a,
        auroc_b,
        auroc_a - auroc_b,
        interval.low,
        interval.high,
        share_above=float((difference > 0).mean()) if replicates else float("nan"),
        classes=len(columns),
        records=len(benchmark.record_ids),
    )


def compare(a: EvaluationFolder, b: EvaluationFolder) -> list[Comparison]:
    """Compare two evaluations on every data set that both hold, the most telling one first.

    That is the pool of all real data sets, then each real one, then the simulated ones. Only records that
    neither model has seen take part: each evaluation has left out its own. Data sets without a class to
    compare are left out.
    """
    scores_a, scores_b = a.scores(), b.scores()
    comparisons = []
    for dataset in _common(a, b):
        rng = np.random.default_rng([a.result.seed, zlib.crc32(dataset.encode())])
        shared = _unseen_by_both(a.benchmark(dataset), b.benchmark(dataset))
        try:
            comparison = paired(scores_a, scores_b, shared, a.result.bootstrap, rng, a.result.min_positives)
        except NotComparable:
            continue
        comparisons.append(comparison)
    return comparisons


def _common(a: EvaluationFolder, b: EvaluationFolder) -> Sequence[str]:
    """Data sets of the same content in both results."""
    parts_a, parts_b = a.result.datasets, b.result.datasets
    names = [
        name
        for name in parts_a
        if name in parts_b and parts_a[name].shards_digest == parts_b[name].shards_digest
    ]
    if {name for name, part in parts_a.items() if _is_real(part.kind)} - set(names):
        names = [name for name in names if name != POOLED]
    return sorted(names, key=lambda name: (name != POOLED, parts_a[name].kind == "simulated", name))


def _is_real(kind: str) -> bool:
    return kind not in ("", "simulated")


def _unseen_by_both(a: Benchmark, b: Benchmark) -> Benchmark:
    """The records and conditions that both evaluations hold."""
    records = set(b.record_ids)
    shared = a.select(np.array([record in records for record in a.record_ids], bool))
    columns = [c for c, name in enumerate(a.classes) if name in b.classes]
    return replace(shared, classes=tuple(a.classes[c] for c in columns), labels=shared.labels[:, columns])


def _macro(scores: np.ndarray, labels: np.ndarray) -> float:
    values = [rankings.auroc(rankings.rank(scores[:, c], labels[:, c]))[0] for c in range(labels.shape[1])]
    return float(np.nanmean(values))
