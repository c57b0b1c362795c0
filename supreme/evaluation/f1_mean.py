"""The mean F1 of a benchmark at thresholds of its own or of validation records."""

from __future__ import annotations

import math

import numpy as np

from supreme.evaluation.benchmark_results import F1
from supreme.evaluation.benchmarks import Benchmark
from supreme.evaluation.protocols import Protocol
from supreme.metrics import decisions, rankings


def mean_f1(
    protocol: Protocol, test: Benchmark, scores: np.ndarray, other: Benchmark, other_scores: np.ndarray
) -> F1:
    """Mean over the classes with a positive and a negative.

    Args:
        scores: ``(N, C)`` of ``test``.
        other: what the thresholds are taken from; `test` itself where the protocol says so.
    """
    values = []
    for c in range(len(test.classes)):
        fitted, mine = other.labels[:, c] >= 0, test.labels[:, c] >= 0
        if not test.negatives(c) or not (
            np.isfinite(scores[mine, c]).all() and np.isfinite(other_scores[fitted, c]).all()
        ):
            continue
        threshold = decisions.best_f1_threshold(rankings.rank(other_scores[:, c], other.labels[:, c]))
        values.append(decisions.f1(rankings.rank(scores[:, c], test.labels[:, c]), threshold))
    defined = [value for value in values if not math.isnan(value)]
    value = math.fsum(defined) / len(defined) if defined else None
    return F1(name=protocol.f1_name, value=value, classes=len(defined))
