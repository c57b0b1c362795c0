"""Draws of training records for probes on little data: whole patients, plain or stratified."""

from __future__ import annotations

from typing import Literal

import numpy as np

from supreme.evaluation.benchmarks import POSITIVE, Benchmark


def draw_records(
    benchmark: Benchmark, fraction: float, draw: Literal["plain", "stratified"], rng: np.random.Generator
) -> np.ndarray:
    """Rows of all records of a fraction of the patients, ascending.

    Patients are drawn in a random order, so that with one state of ``rng`` a plain draw holds every smaller
    one. Stratified: as long as there is room, each class gets its share of positive patients, at least one,
    the rarest class first.
    """
    patients, patient_of = np.unique(np.asarray(benchmark.patients), return_inverse=True)
    size = min(len(patients), max(1, round(fraction * len(patients))))
    order = rng.permutation(len(patients))
    if draw == "stratified" and size < len(patients):
        order = _stratified(order, _positive_patients(benchmark, patient_of), size)
    selected = np.zeros(len(patients), bool)
    selected[order[:size]] = True
    return np.flatnonzero(selected[patient_of])


def _positive_patients(benchmark: Benchmark, patient_of: np.ndarray) -> np.ndarray:
    """``(patients, C)`` bool: has a positive record."""
    positive = np.zeros((int(patient_of.max()) + 1, len(benchmark.classes)), bool)
    np.logical_or.at(positive, patient_of, benchmark.labels == POSITIVE)
    return positive


def _stratified(order: np.ndarray, positive: np.ndarray, size: int) -> np.ndarray:
    """``order`` with the patients of the strata in front."""
    counts = positive.sum(axis=0)
    share = np.maximum(1, np.floor(counts * size / len(positive))).astype(int)
    first: list[int] = []
    for c in sorted(np.flatnonzero(counts), key=lambda c: (counts[c], c)):
        missing = int(share[c] - positive[first, c].sum())
        candidates = order[positive[order, c] & ~np.isin(order, first)]
        first += candidates[: max(0, min(missing, size - len(first)))].tolist()
    return np.concatenate([np.array(first, int), order[~np.isin(order, first)]])
