"""Paired comparison of two models: macro AUROC over the same records, classes and bootstrap draws."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from supreme.evaluation import summary
from supreme.evaluation.benchmarks import POOLED, Benchmark
from supreme.evaluation.folder import EvaluationFolder
from supreme.metrics import bootstrap, clustered
from supreme.metrics.clustered import Estimate, PatientAurocs
from supreme.metrics.multiplicity import holm
from supreme.metrics.power import Power

#: Differences of the macro mean for which the patients that it takes are told.
SMALL_DIFFERENCES = (0.01, 0.02)


class NotComparable(ValueError):
    """Two models share no records or classes to be compared on."""


class ClassComparison(BaseModel):
    """One class, model A minus model B."""

    model_config = ConfigDict(frozen=True)

    condition: str
    name: str
    auroc_a: float
    auroc_b: float
    difference: float
    low: float
    """Of the 95 % interval, closed form by patient."""
    high: float
    p_value: float
    """After Holm, over the classes of the data set."""
    positive_patients: int


class Comparison(BaseModel):
    """Model A against model B (macro AUROC of A minus that of B)."""

    model_config = ConfigDict(frozen=True)

    dataset: str
    auroc_a: float
    auroc_b: float
    difference: float
    low: float
    """Of the 95 % interval by patient: bootstrap percentiles, or the closed form without replicates."""
    high: float
    standard_error: float
    """Of the difference, closed form by patient."""
    p_value: float
    """Two-sided, from the closed form: equal models fall below 0.05 in 5 % of test sets."""
    share_above: float | None
    """Share of replicates in which A is better; None without replicates."""
    replicates: int
    classes: int
    records: int
    patients: int
    smallest_difference: float
    """That this data shows with a power of 80 %."""
    patients_needed: dict[str, int]
    """Difference -> patients like these that show it with a power of 80 %."""
    left_out: tuple[str, ...] = ()
    """Classes in which one of the two has a constant score."""
    by_class: tuple[ClassComparison, ...] = ()


@dataclass(frozen=True)
class PairedScores:
    """Scores of two models for the same records and classes."""

    benchmark: Benchmark
    a: np.ndarray
    """`(N, C)`."""
    b: np.ndarray
    left_out: tuple[str, ...]

    def aurocs(self) -> tuple[PatientAurocs, PatientAurocs]:
        """Of A and B, with a row for each patient of the benchmark."""
        labels, patients = self.benchmark.labels, self.benchmark.patients
        return (
            clustered.patient_aurocs(self.a, labels, patients),
            clustered.patient_aurocs(self.b, labels, patients),
        )


def pair_scores(
    scores_a: pa.Table, scores_b: pa.Table, benchmark: Benchmark, min_positives: int = 1
) -> PairedScores:
    """What two score tables (``record_id`` and one column a condition) have in common on a benchmark.

    Only classes that both tables rank, with ``min_positives`` positive and negative patients, are used.

    Raises:
        NotComparable: no class is left.
        ConfigError: a table lacks a record of the benchmark.
    """
    both = set(scores_a.column_names) & set(scores_b.column_names)
    shared = _columns(benchmark, [c for c, name in enumerate(benchmark.classes) if name in both])
    a, b = summary.matrix([scores_a], shared), summary.matrix([scores_b], shared)
    of_a, of_b = PairedScores(shared, a, b, ()).aurocs()
    fewest = np.minimum(of_a.positive_patients, of_a.negative_patients)
    counted = fewest >= max(1, min_positives)
    constant = of_a.constant | of_b.constant
    columns = np.flatnonzero(counted & ~constant)
    left_out = tuple(shared.classes[c] for c in np.flatnonzero(counted & constant))
    if not len(columns):
        raise NotComparable(
            f"{benchmark.dataset}: the two models share no class with {min_positives} positive and negative "
            f"patients{_constant(left_out)}"
        )
    return PairedScores(_columns(shared, columns), a[:, columns], b[:, columns], left_out)


def paired(
    scores_a: pa.Table,
    scores_b: pa.Table,
    benchmark: Benchmark,
    replicates: int,
    rng: np.random.Generator,
    min_positives: int = 1,
) -> Comparison:
    """Compare two score tables on one benchmark, as :func:`pair_scores` and :func:`compare_means` do."""
    part = pair_scores(scores_a, scores_b, benchmark, min_positives)
    return compare_means([part], benchmark.dataset, replicates, rng)


def compare_means(
    parts: Sequence[PairedScores], name: str, replicates: int, rng: np.random.Generator
) -> Comparison:
    """Compare the mean over benchmarks of the macro AUROC; a patient may be in several of them.

    Args:
        parts: one benchmark or more; classes are told apart for a single one.
    """
    aurocs = [part.aurocs() for part in parts]
    values = [float(np.mean([one.values.mean() for one in models])) for models in zip(*aurocs, strict=True)]
    estimate = _difference(parts, aurocs)
    draws = _replicates(parts, replicates, rng)
    low, high = estimate.interval()
    if replicates:
        interval = bootstrap.percentile(draws)
        low, high = interval.low, interval.high
    patients = len({patient for part in parts for patient in part.benchmark.patients})
    power = Power(estimate.standard_error, patients)
    return Comparison(
        dataset=name,
        auroc_a=values[0],
        auroc_b=values[1],
        difference=estimate.value,
        low=low,
        high=high,
        standard_error=estimate.standard_error,
        p_value=estimate.p_value,
        share_above=float((draws > 0).mean()) if replicates else None,
        replicates=replicates,
        classes=sum(len(part.benchmark.classes) for part in parts),
        records=len({record for part in parts for record in part.benchmark.record_ids}),
        patients=patients,
        smallest_difference=power.smallest_difference,
        patients_needed={f"{d:g}": power.patients_for(d) for d in SMALL_DIFFERENCES},
        left_out=tuple(condition for part in parts for condition in part.left_out),
        by_class=_by_class(parts[0].benchmark, *aurocs[0]) if len(parts) == 1 else (),
    )


def compare(a: EvaluationFolder, b: EvaluationFolder) -> list[Comparison]:
    """Compare two evaluations on every data set that both hold, the most telling one first.

    That is the pool of all real data sets, then each real one, then the simulated ones. Only records that
    neither model has seen take part: each evaluation has left out its own. Data sets without a class to
    compare are left out.
    """
    names = common_datasets([a, b])
    if not names:
        return []
    scores_a, scores_b = a.scores(), b.scores()
    comparisons = []
    for dataset in names:
        rng = np.random.default_rng([a.result.seed, zlib.crc32(dataset.encode())])
        shared = unseen_by_all([a.benchmark(dataset), b.benchmark(dataset)])
        try:
            comparison = paired(scores_a, scores_b, shared, a.result.bootstrap, rng, a.result.min_positives)
        except NotComparable:
            continue
        comparisons.append(comparison)
    return comparisons


def common_datasets(folders: Sequence[EvaluationFolder]) -> list[str]:
    """Data sets of the same content in all results, the most telling one first."""
    first, *others = (folder.result.datasets for folder in folders)
    names = [
        name
        for name, part in first.items()
        if all(name in other and other[name].shards_digest == part.shards_digest for other in others)
    ]
    if {name for name, part in first.items() if _is_real(part.kind)} - set(names):
        names = [name for name in names if name != POOLED]
    return sorted(names, key=lambda name: (name != POOLED, first[name].kind == "simulated", name))


def unseen_by_all(benchmarks: Sequence[Benchmark]) -> Benchmark:
    """The records and conditions that all evaluations hold."""
    first, *others = benchmarks
    records = set(first.record_ids).intersection(*(other.record_ids for other in others))
    shared = first.select(np.array([record in records for record in first.record_ids], bool))
    names = set(first.classes).intersection(*(other.classes for other in others))
    return _columns(shared, [c for c, name in enumerate(first.classes) if name in names])


def _difference(
    parts: Sequence[PairedScores], aurocs: Sequence[tuple[PatientAurocs, PatientAurocs]]
) -> Estimate:
    """Of the mean over benchmarks; what a patient adds to several of them is summed before it is squared."""
    estimates = [clustered.macro_difference(a, b) for a, b in aurocs]
    if len(parts) == 1:
        return estimates[0]
    names = [np.unique(np.asarray(part.benchmark.patients, str)) for part in parts]
    everyone = np.unique(np.concatenate(names))
    influence = np.zeros(len(everyone))
    for own, (a, b) in zip(names, aurocs, strict=True):
        influence[np.searchsorted(everyone, own)] += (a.influence - b.influence).mean(axis=1) / len(parts)
    squares = [estimate.standard_error**2 for estimate in estimates]
    spread = sum(square**2 / e.degrees for square, e in zip(squares, estimates, strict=True))
    degrees = sum(squares) ** 2 / spread if spread else float("inf")
    value = float(np.mean([estimate.value for estimate in estimates]))
    return Estimate(value, float(np.sqrt((influence**2).sum())), degrees)


def _replicates(parts: Sequence[PairedScores], replicates: int, rng: np.random.Generator) -> np.ndarray:
    """Differences of the mean over benchmarks ``(R,)``; every benchmark sees the same draws of patients."""
    patients = [patient for part in parts for patient in part.benchmark.patients]
    weights = bootstrap.multiplicities(patients, replicates, rng)
    ends = np.cumsum([len(part.benchmark.record_ids) for part in parts])[:-1]
    differences = []
    for part, own in zip(parts, np.split(weights, ends, axis=1), strict=True):
        of_a, of_b = (
            bootstrap.auroc_replicates(scores, part.benchmark.labels, own) for scores in (part.a, part.b)
        )
        differences.append(bootstrap.macro(of_a - of_b))
    return np.mean(differences, axis=0)


def _by_class(benchmark: Benchmark, a: PatientAurocs, b: PatientAurocs) -> tuple[ClassComparison, ...]:
    estimates = clustered.class_differences(a, b)
    adjusted = holm([estimate.p_value for estimate in estimates])
    rows = []
    for c, (condition, estimate) in enumerate(zip(benchmark.classes, estimates, strict=True)):
        low, high = estimate.interval()
        rows.append(
            ClassComparison(
                condition=condition,
                name=summary.display_name(condition),
                auroc_a=float(a.values[c]),
                auroc_b=float(b.values[c]),
                difference=estimate.value,
                low=low,
                high=high,
                p_value=float(adjusted[c]),
                positive_patients=int(a.positive_patients[c]),
            )
        )
    return tuple(rows)


def _columns(benchmark: Benchmark, columns: Sequence[int] | np.ndarray) -> Benchmark:
    classes = tuple(benchmark.classes[c] for c in columns)
    return replace(benchmark, classes=classes, labels=benchmark.labels[:, columns])


def _constant(left_out: tuple[str, ...]) -> str:
    return f"; constant scores: {', '.join(left_out)}" if left_out else ""


def _is_real(kind: str) -> bool:
    return kind not in ("", "simulated")
