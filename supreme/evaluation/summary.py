"""Scores and labels to numbers: classes, macro means, intervals, calibration, subgroups."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import numpy as np

from supreme.evaluation import subgroups
from supreme.evaluation.benchmarks import POSITIVE, UNKNOWN, Benchmark
from supreme.evaluation.class_results import (
    CalibrationBin,
    CalibrationCurve,
    ClassResult,
    Group,
    LiteralMacro,
    MacroAuroc,
    OperatingPoint,
    ProtocolResult,
)
from supreme.evaluation.score_matrix import matrix as matrix
from supreme.evaluation.subgroups import Attributes
from supreme.metrics import clustered, decisions, intervals, rankings
from supreme.metrics.clustered import PatientAurocs
from supreme.reports.vocabulary import load_base

_TEN = 10


def summarize(
    benchmark: Benchmark,
    literal: Benchmark,
    scores: np.ndarray,
    seen: Collection[str],
    min_positives: int,
    attributes: Attributes | None = None,
    operating_points: Mapping[str, OperatingPoint] | None = None,
) -> ProtocolResult:
    """The result of one data set.

    Args:
        literal: the same records where every one without a code counts as negative.
        scores: ``(N, C)`` in the order of the benchmark; a class without scores is NaN throughout.
        seen: conditions that were queries of pre-training.
        min_positives: classes with fewer positive or negative patients stay out of the headline mean.
        attributes: what the records are divided by.
        operating_points: of classes, from validation records.
    """
    scored = _scored(scores, benchmark.labels)
    labels = np.where(scored, benchmark.labels, np.int8(UNKNOWN))
    aurocs = clustered.patient_aurocs(scores, labels, benchmark.patients)
    low, high = intervals.class_intervals(aurocs)
    conditions = {
        name: _class_result(
            benchmark,
            c,
            scores[:, c],
            aurocs,
            (low[c], high[c]),
            name in seen,
            min_positives,
            bool(scored[c]),
        )
        for c, name in enumerate(benchmark.classes)
    }
    for name, point in (operating_points or {}).items():
        conditions[name] = conditions[name].model_copy(update={"operating_point": point})
    known = np.array([row.seen for row in conditions.values()], bool)
    calibration, note = _calibration(scores[:, known & scored], labels[:, known & scored])
    return ProtocolResult(
        records=len(benchmark.record_ids),
        patients=len(set(benchmark.patients)),
        macro={name: _macro(benchmark, aurocs, mask) for name, mask in _groups(conditions).items()},
        classes=conditions,
        calibration=calibration,
        calibration_note=note,
        literal=_literal_macro(literal, scores, scored, min_positives),
        subgroups=subgroups.evaluate(benchmark.patients, scores, labels, attributes) if attributes else (),
    )


def display_name(condition: str) -> str:
    """The entity's name in the base vocabulary."""
    base = load_base()
    return base[condition].name if condition in base else condition.replace("_", " ")


def number(value: float) -> float | None:
    """A float for JSON, which has no NaN."""
    return float(value) if math.isfinite(value) else None


def _scored(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Classes ``(C,)`` that have scores at all."""
    return np.array(
        [bool(np.isfinite(s[y >= 0]).all()) for s, y in zip(scores.T, labels.T, strict=True)], bool
    )


def _class_result(
    benchmark: Benchmark,
    column: int,
    scores: np.ndarray,
    aurocs: PatientAurocs,
    interval: tuple[float, float],
    seen: bool,
    min_positives: int,
    scored: bool,
) -> ClassResult:
    labels = benchmark.labels[:, column]
    annotated, patients = labels >= 0, _patients(benchmark, column)
    ranking = rankings.rank(scores, labels if scored else np.full_like(labels, UNKNOWN))
    constant = bool(aurocs.constant[column])
    errors = (
        decisions.probability_errors(scores[annotated], labels[annotated] == POSITIVE) if scored else None
    )
    return ClassResult(
        name=display_name(benchmark.classes[column]),
        auroc=None if constant else number(aurocs.values[column]),
        low=number(interval[0]),
        high=number(interval[1]),
        constant=constant,
        note=_note(patients, constant, scored),
        auprc=None if constant else number(rankings.average_precision(ranking)[0]),
        prevalence=float((labels[annotated] == POSITIVE).mean()) if annotated.any() else None,
        sensitivity_at_90=None if constant else number(decisions.sensitivity_at(ranking, 0.90)),
        sensitivity_at_95=None if constant else number(decisions.sensitivity_at(ranking, 0.95)),
        top_5_percent=None if constant else number(decisions.top_share(ranking)),
        brier=errors.brier if errors else None,
        ece=errors.ece if errors else None,
        in_the_large=errors.in_the_large if errors else None,
        records=int(annotated.sum()),
        positives=benchmark.positives(column),
        positive_patients=patients[0],
        negative_patients=patients[1],
        left_open=int((labels == UNKNOWN).sum()),
        seen=seen,
        headline=min(patients) >= max(1, min_positives),
    )


def _patients(benchmark: Benchmark, column: int) -> tuple[int, int]:
    """Patients with a positive and with a negative record."""
    names, labels = np.asarray(benchmark.patients, str), benchmark.labels[:, column]
    return len(np.unique(names[labels == POSITIVE])), len(np.unique(names[labels == 0]))


def _note(patients: tuple[int, int], constant: bool, scored: bool) -> str:
    if not scored:
        return "no score of this class"
    for count, kind in zip(patients, ("positive", "negative"), strict=True):
        if not count:
            return f"no {kind} record"
    if constant:
        return "constant score"
    for count, kind in zip(patients, ("positive", "negative"), strict=True):
        if count < intervals.MIN_PATIENTS:
            plural = "s" if count > 1 else ""
            return f"{count} {kind} patient{plural}: no interval below {intervals.MIN_PATIENTS}"
    return ""


def _groups(conditions: Mapping[str, ClassResult]) -> dict[Group, np.ndarray]:
    rows = conditions.values()
    fewest = np.array([min(row.positive_patients, row.negative_patients) for row in rows], int)
    enough = np.array([row.headline for row in rows], bool)
    known = np.array([row.seen for row in rows], bool)
    return {
        "headline": enough,
        "all": fewest > 0,
        "at_least_10": fewest >= _TEN,
        "seen": enough & known,
        "unseen": enough & ~known,
    }


def _macro(benchmark: Benchmark, aurocs: PatientAurocs, mask: np.ndarray) -> MacroAuroc:
    ranked = mask & np.isfinite(aurocs.values) & ~aurocs.constant
    low, high = intervals.macro_interval(aurocs.select(ranked))
    return MacroAuroc(
        auroc=float(aurocs.values[ranked].mean()) if ranked.any() else None,
        low=number(low),
        high=number(high),
        classes=int(ranked.sum()),
        left_out=tuple(benchmark.classes[c] for c in np.flatnonzero(mask & ~ranked)),
    )


def _calibration(scores: np.ndarray, labels: np.ndarray) -> tuple[CalibrationCurve | None, str]:
    """Reliability of all annotated answers, or why there is none."""
    annotated = labels >= 0
    answers = scores[annotated].astype(np.float64)
    if not len(answers):
        return None, "no answer about a seen condition"
    if not decisions.is_probability(answers):
        return None, f"scores from {answers.min():.3g} to {answers.max():.3g} are no probabilities"
    parts = decisions.reliability(answers, labels[annotated] == POSITIVE)
    bins = tuple(CalibrationBin(predicted=p.predicted, observed=p.observed, count=p.count) for p in parts)
    return CalibrationCurve(ece=decisions.calibration_error(parts), pairs=len(answers), bins=bins), ""


def _literal_macro(
    benchmark: Benchmark, scores: np.ndarray, scored: np.ndarray, min_positives: int
) -> LiteralMacro:
    least = max(1, min_positives)
    columns = [c for c, here in enumerate(scored) if here and min(_patients(benchmark, c)) >= least]
    aurocs = clustered.patient_aurocs(scores[:, columns], benchmark.labels[:, columns], benchmark.patients)
    values = aurocs.values[~aurocs.constant]
    return LiteralMacro(auroc=float(values.mean()) if len(values) else None, classes=len(values))
