"""Robustness: how macro AUROC falls as recordings get worse, paired with the same records unchanged."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from supreme.evaluation.benchmarks import Benchmark
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
    """Those with enough positives and negatives, at every strength."""
    steps: tuple[RobustnessStep, ...]


def perturbed(
    perturbation: Perturbation,
    strength: float,
    signal_mv: np.ndarray,
    rate_hz: float,
    record_ids: Sequence[str],
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """The perturbed ECGs ``(B, 12, T)``, and which of them ``(B,)`` differ from ``signal_mv``.

    What happens to a record depends on its id and the seed, not on its batch.
    """
    if strength == 0 or not len(record_ids):
        return signal_mv, np.zeros(len(record_ids), bool)
    ecgs = [
        perturbation(ecg, rate_hz, strength, seed, record)
        for ecg, record in zip(signal_mv, record_ids, strict=True)
    ]
    changed = [not np.array_equal(new, old) for new, old in zip(ecgs, signal_mv, strict=True)]
    return np.stack(ecgs), np.array(changed, bool)


def score_steps(
    scorer: Scorer,
    perturbation: Perturbation,
    signal_mv: np.ndarray,
    rate_hz: float,
    record_ids: Sequence[str],
    seed: int,
) -> tuple[list[np.ndarray], list[int]]:
    """Scores ``(B, C)`` at every strength, and how many records each changes."""
    scores, changes = [], []
    for strength in perturbation.strengths:
        ecgs, changed = perturbed(perturbation, strength, signal_mv, rate_hz, record_ids, seed)
        scores.append(scorer(ecgs, rate_hz))
        changes.append(int(changed.sum()))
    return scores, changes


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
        scores: ``(N, C)`` in the order of the benchmark, for each of the perturbation's strengths.
        changed: how many records each strength changes.

    Raises:
        ValueError: no class has ``min_positives`` positives and negatives, or a score is not finite.
    """
    columns = [
        c for c in range(len(benchmark.classes)) if benchmark.smaller_class(c) >= max(1, min_positives)
    ]
    if not columns:
        raise ValueError(f"{benchmark.dataset}: no class has {min_positives} positives and negatives")
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
