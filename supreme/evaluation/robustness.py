"""Robustness: how macro AUROC falls as recordings get worse, paired with the same records unchanged."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from supreme.evaluation.benchmarks import NEGATIVE, POSITIVE, Benchmark
from supreme.evaluation.perturbations import Perturbation
from supreme.metrics import bootstrap, rankings

#: ECGs ``(B, 12, T)`` in mV and their rate -> scores ``(B, C)``.
Scorer = Callable[[np.ndarray, float], np.ndarray]


class _RobustnessResult(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RobustnessStep(_RobustnessResult):
    """One strength of a perturbation."""

    strength: float
    auroc: float
    """Macro AUROC."""
    difference: float
    """To strength 0, which has 0."""
    low: float | None
    """Of its 95 % interval, paired by patient; None without replicates."""
    high: float | None
    changed: int
    """Records whose signal it changes: a rate is no loss for a record of that rate."""


class RobustnessCurve(_RobustnessResult):
    """One perturbation of one model on one benchmark."""

    perturbation: str
    unit: str
    records: int
    classes: tuple[str, ...]
    """Those with enough positive and negative patients."""
    steps: tuple[RobustnessStep, ...]


def score_steps(
    scorer: Scorer, perturbation: Perturbation, signal_mv: np.ndarray, rate_hz: float, seed: int
) -> list[np.ndarray]:
    """Scores ``(B, C)`` of ECGs ``(B, 12, T)`` at every strength."""
    return [
        scorer(np.stack([perturbation(ecg, rate_hz, strength, seed) for ecg in signal_mv]), rate_hz)
        for strength in perturbation.strengths
    ]


def curve(
    perturbation: Perturbation,
    scores: Sequence[np.ndarray],
    changed: Sequence[int],
    benchmark: Benchmark,
    min_positives: int,
    replicates: int,
    rng: np.random.Generator,
) -> RobustnessCurve:
    """Macro AUROC at every strength, with paired intervals of the difference to strength 0.

    Args:
        scores: ``(N, C)`` in the order of the benchmark, for each of the perturbation's strengths; a class
            with NaN is left out.
        changed: how many records each strength changes.

    Raises:
        ValueError: no class has scores and ``min_positives`` positive and negative patients.
    """
    columns = [
        c
        for c in range(len(benchmark.classes))
        if all(benchmark.patients_with(label, c) >= max(1, min_positives) for label in (POSITIVE, NEGATIVE))
        and all(np.isfinite(values[:, c]).all() for values in scores)
    ]
    if not columns:
        raise ValueError(
            f"{benchmark.dataset}: no class has scores and {min_positives} positive and negative patients"
        )
    labels = benchmark.labels[:, columns]
    weights = bootstrap.multiplicities(benchmark.patients, replicates, rng)
    macros, draws = [], []
    for values in scores:
        part = values[:, columns]
        aurocs = [rankings.auroc(rankings.rank(part[:, c], labels[:, c]))[0] for c in range(len(columns))]
        macros.append(float(np.mean(aurocs)))
        draws.append(bootstrap.auroc_replicates(part, labels, weights))
    steps = []
    for strength, macro, draw, count in zip(perturbation.strengths, macros, draws, changed, strict=True):
        interval = bootstrap.percentile(bootstrap.macro(draw - draws[0]))
        has_interval = bool(np.isfinite(interval.low))
        steps.append(
            RobustnessStep(
                strength=strength,
                auroc=macro,
                difference=macro - macros[0],
                low=interval.low if has_interval else None,
                high=interval.high if has_interval else None,
                changed=count,
            )
        )
    return RobustnessCurve(
        perturbation=perturbation.name,
        unit=perturbation.unit,
        records=len(benchmark.record_ids),
        classes=tuple(benchmark.classes[c] for c in columns),
        steps=tuple(steps),
    )
