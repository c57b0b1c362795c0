"""AUROCs with patients as units: placement values, summed by patient, give variances and paired tests.

DeLong et al., Biometrics 1988; Obuchowski, Biometrics 1997 (clustered data). With one record a patient the
variance is DeLong's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from supreme.metrics import rankings
from supreme.metrics.rankings import Ranking

#: Patients at which half of what the records of a patient add is believed; coverage was simulated with it.
_PRIOR_PATIENTS = 10


@dataclass(frozen=True)
class PatientAurocs:
    """The AUROC of each class and how much each patient moves it.

    The variance of a class is the sum over patients of ``(cases + controls) ** 2``, a covariance the sum of
    products, so that sums and differences of classes and models are sums and differences of columns.
    """

    values: np.ndarray
    """`(C,)`; NaN where there is no positive or no negative."""
    cases: np.ndarray
    """`(P, C)`: deviations of a patient's positive records; 0 where undefined."""
    controls: np.ndarray
    """`(P, C)`: the same of negative records."""
    positive_patients: np.ndarray
    """`(C,)` patients with a positive record; one with both kinds counts here and below."""
    negative_patients: np.ndarray
    positive_size: np.ndarray
    """`(C,)` independent records with the same variance: fewer than the patients where some have many more
    records than others, more where the records of a patient differ."""
    negative_size: np.ndarray
    constant: np.ndarray
    """`(C,)` bool: every record has the same score."""

    @property
    def influence(self) -> np.ndarray:
        """`(P, C)`."""
        return self.cases + self.controls

    @property
    def variances(self) -> np.ndarray:
        """`(C,)`; 0 where the ranking is perfect, NaN where undefined."""
        return np.where(np.isfinite(self.values), (self.influence**2).sum(axis=0), np.nan)

    def select(self, columns: Sequence[int] | np.ndarray) -> PatientAurocs:
        """Some classes, by number or mask."""
        return PatientAurocs(
            self.values[columns],
            self.cases[:, columns],
            self.controls[:, columns],
            self.positive_patients[columns],
            self.negative_patients[columns],
            self.positive_size[columns],
            self.negative_size[columns],
            self.constant[columns],
        )


@dataclass(frozen=True)
class Estimate:
    """A number with its standard error."""

    value: float
    standard_error: float
    degrees: float
    """Degrees of freedom of the standard error: few where positive patients are few."""

    @property
    def p_value(self) -> float:
        """Two-sided, of the hypothesis that the truth is 0; 1 where the number is exactly 0."""
        if self.value == 0:
            return 1.0
        if self.standard_error == 0:
            return 0.0
        return float(2 * stats.t.sf(abs(self.value) / self.standard_error, self.degrees))

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """The symmetric interval."""
        reach = float(stats.t.ppf((1 + level) / 2, self.degrees)) * self.standard_error
        return self.value - reach, self.value + reach


def patient_aurocs(scores: np.ndarray, labels: np.ndarray, patients: Sequence[str]) -> PatientAurocs:
    """AUROC of every class and each patient's part in it.

    Args:
        scores: ``(N, C)``, finite where annotated.
        labels: ``(N, C)`` of 1, 0, -1 (not annotated).
        patients: of each record. Two calls with the same patients give rows that match.

    Raises:
        ValueError: a score is not finite.
    """
    names, patient_of = np.unique(np.asarray(patients, str), return_inverse=True)
    shape = (len(names), labels.shape[1])
    cases, controls = np.zeros(shape), np.zeros(shape)
    values = np.full(shape[1], np.nan)
    counts, sizes = np.zeros((2, shape[1]), int), np.zeros((2, shape[1]))
    constant = np.zeros(shape[1], bool)
    for c in range(shape[1]):
        ranking = rankings.rank(scores[:, c], labels[:, c])
        constant[c] = len(ranking.starts) == 1 and len(ranking.order) > 1
        if not ranking.defined:
            owners = patient_of[ranking.order]
            counts[:, c] = [len(np.unique(owners[ranking.positive == kind])) for kind in (True, False)]
            continue
        placements = _placements(ranking)
        values[c] = placements[ranking.positive].mean()
        for kind, part in enumerate((cases, controls)):
            rows = ranking.positive == (kind == 0)
            deviations = placements[rows] - values[c]
            part[:, c], counts[kind, c], sizes[kind, c] = _by_patient(
                deviations, patient_of[ranking.order[rows]], len(names)
            )
    return PatientAurocs(values, cases, controls, counts[0], counts[1], sizes[0], sizes[1], constant)


def class_differences(a: PatientAurocs, b: PatientAurocs) -> list[Estimate]:
    """AUROC of A minus that of B, class by class, over the same records."""
    cases, controls = a.cases - b.cases, a.controls - b.controls
    return [
        _estimate(a.values[[c]] - b.values[[c]], cases[:, [c]], controls[:, [c]], a.select([c]))
        for c in range(len(a.values))
    ]


def macro_difference(a: PatientAurocs, b: PatientAurocs) -> Estimate:
    """Mean AUROC over classes of A minus that of B, over the same records; all classes must be defined."""
    return _estimate(a.values - b.values, a.cases - b.cases, a.controls - b.controls, a)


def macro(aurocs: PatientAurocs) -> Estimate:
    """Mean AUROC over classes, all of them defined."""
    return _estimate(aurocs.values, aurocs.cases, aurocs.controls, aurocs)


def group_difference(a: PatientAurocs, b: PatientAurocs) -> Estimate:
    """Mean AUROC over classes of one group of records minus that of another, which may share patients."""
    first, second = macro(a), macro(b)
    variance = float((((a.influence - b.influence).mean(axis=1)) ** 2).sum())
    parts = [(one.standard_error**2, one.degrees) for one in (first, second)]
    spread = sum(part**2 / degrees for part, degrees in parts)
    degrees = sum(part for part, _ in parts) ** 2 / spread if spread else float("inf")
    return Estimate(first.value - second.value, float(np.sqrt(variance)), degrees)


def _estimate(values: np.ndarray, cases: np.ndarray, controls: np.ndarray, counts: PatientAurocs) -> Estimate:
    """The mean over columns; degrees of freedom after Welch and Satterthwaite, as Brunner and Munzel do."""
    classes = len(values)
    variance = float((((cases + controls).mean(axis=1)) ** 2).sum())
    parts = (
        ((cases**2).sum(axis=0), counts.positive_patients),
        ((controls**2).sum(axis=0), counts.negative_patients),
    )
    spread = (
        sum(float((part**2 / np.maximum(patients - 1, 1)).sum()) for part, patients in parts) / classes**4
    )
    degrees = variance**2 / spread if spread else np.inf
    return Estimate(float(values.mean()), float(np.sqrt(variance)), float(max(degrees, 1.0)))


def _placements(ranking: Ranking) -> np.ndarray:
    """Share of the other kind that a record beats (a positive) or loses to (a negative); ties count half."""
    groups = np.diff(np.append(ranking.starts, len(ranking.order)))
    positives = np.add.reduceat(ranking.positive, ranking.starts, dtype=np.int64)
    negatives = groups - positives
    below = (np.cumsum(negatives) - negatives / 2) / negatives.sum()
    above = 1 - (np.cumsum(positives) - positives / 2) / positives.sum()
    return np.where(ranking.positive, np.repeat(below, groups), np.repeat(above, groups))


def _by_patient(deviations: np.ndarray, owners: np.ndarray, patients: int) -> tuple[np.ndarray, int, float]:
    """Deviations summed by patient ``(P,)`` and scaled, the number of patients, and the effective one.

    The effective number is the number of independent records with the same variance. It is at least Kish's,
    which holds where the records of a patient agree completely. How much more it is, is estimated from the
    patients, and so believed only in part while they are few.
    """
    records = np.bincount(owners, minlength=patients)
    sums = np.bincount(owners, deviations, minlength=patients)
    count = int((records > 0).sum())
    scaled = sums / len(deviations) * np.sqrt(count / max(count - 1, 1))
    kish = len(deviations) ** 2 / float((records.astype(float) ** 2).sum())
    together, apart = float((sums**2).sum()) * count / max(count - 1, 1), float((deviations**2).sum())
    size = len(deviations) * apart / together if together else kish
    size = kish + (size - kish) * kish / (kish + _PRIOR_PATIENTS)
    return scaled, count, float(np.clip(size, kish, len(deviations)))
