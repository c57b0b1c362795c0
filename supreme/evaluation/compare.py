"""Paired comparison of two models: macro AUROC over the same records, classes and bootstrap draws."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from supreme.evaluation import results
from supreme.evaluation.benchmarks import Benchmark
from supreme.metrics import bootstrap, rankings


@dataclass(frozen=True)
class Comparison:
    """Model A against model B (macro AUROC of A minus that of B)."""

    auroc_a: float
    auroc_b: float
    difference: float
    low: float
    high: float
    share_above: float
    """Share of replicates in which A is better."""
    classes: int


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
        ValueError: a table lacks a record of the benchmark, or no class is left.
    """
    both = set(scores_a.column_names) & set(scores_b.column_names)
    chosen = [
        c
        for c, name in enumerate(benchmark.conditions)
        if name in both and benchmark.fewest(c) >= min_positives
    ]
    if not chosen:
        raise ValueError(f"{benchmark.dataset}: the two models share no class with {min_positives} positives")
    names = [benchmark.conditions[c] for c in chosen]
    labels = benchmark.labels[:, chosen]
    shared = replace(benchmark, conditions=tuple(names), labels=labels)
    a, b = results.matrix([scores_a], shared), results.matrix([scores_b], shared)
    weights = bootstrap.multiplicities(benchmark.patients, replicates, rng)
    difference = bootstrap.macro(
        bootstrap.auroc_replicates(a, labels, weights) - bootstrap.auroc_replicates(b, labels, weights)
    )
    auroc_a, auroc_b = _macro(a, labels), _macro(b, labels)
    interval = bootstrap.percentile(difference)
    share = float((difference > 0).mean()) if replicates else float("nan")
    return Comparison(
        auroc_a, auroc_b, auroc_a - auroc_b, interval.low, interval.high, share, classes=len(chosen)
    )


def _macro(scores: np.ndarray, labels: np.ndarray) -> float:
    values = [rankings.auroc(rankings.rank(scores[:, c], labels[:, c]))[0] for c in range(labels.shape[1])]
    return float(np.nanmean(values))
