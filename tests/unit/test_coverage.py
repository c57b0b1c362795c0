"""Simulations of known truth: how often intervals cover, equal models are told apart, and power is right.

SUPREME_SIMULATIONS=1000 python -m pytest tests/unit/test_coverage.py -s    prints the rates of a full run
"""

from __future__ import annotations

import os

import numpy as np
import pytest
from scipy import stats

from supreme.metrics import clustered, intervals
from supreme.metrics.power import Power

pytestmark = pytest.mark.unit

RUNS = int(os.environ.get("SUPREME_SIMULATIONS", "120"))
FEW, MANY = (5, 6, 8, 10, 12, 20, 40, 80), (40,) * 8


def within(rate: float, low: float, high: float) -> bool:
    """Whether a simulated rate lies between two limits, but for three standard errors of so many runs."""
    print(f"{rate:.3f}", end=" ")
    slack = 3 * np.sqrt(0.05 * 0.95 / RUNS) if RUNS < 1000 else 0.005
    return low - slack <= rate <= high + slack


def owners(rng: np.random.Generator, patients: int, records: int) -> np.ndarray:
    """Patient of each record: everybody has one to ``records`` of them."""
    return np.repeat(np.arange(patients), rng.integers(1, records, patients, endpoint=True))


def noise(rng: np.random.Generator, owner: np.ndarray, columns: int) -> np.ndarray:
    """Standard normal, half of the variance from the patient where patients have several records."""
    return np.sqrt(0.5) * (
        rng.normal(size=(owner[-1] + 1, columns))[owner] + rng.normal(size=(len(owner), columns))
    )


@pytest.mark.parametrize("records", [1, 3])
@pytest.mark.parametrize("auroc", [0.80, 0.96])
@pytest.mark.parametrize("positives", [5, 10, 40])
def test_intervals_of_a_class_cover(auroc: float, records: int, positives: int) -> None:
    """A column is a simulation."""
    rng = np.random.default_rng([positives, records])
    owner = owners(rng, positives + 200, records)
    labels = np.repeat((owner < positives).astype(np.int8)[:, None], RUNS, axis=1)
    scores = noise(rng, owner, RUNS) + np.sqrt(2) * stats.norm.ppf(auroc) * labels
    low, high = intervals.class_intervals(
        clustered.patient_aurocs(scores, labels, owner.astype(str).tolist())
    )
    coverage = float(((low <= auroc) & (auroc <= high)).mean())
    assert within(coverage, 0.93, 0.985 if positives >= 10 else 1.0)


def data_set(
    rng: np.random.Generator,
    positives: tuple[int, ...],
    records: int,
    aurocs: tuple[float, float],
    patients: int = 250,
) -> tuple[clustered.PatientAurocs, clustered.PatientAurocs]:
    """Two models on the same records: conditions go together, and half of the noise is common to both."""
    owner = owners(rng, patients, records)
    latent = rng.normal(size=(patients, 1)) + rng.normal(size=(patients, len(positives)))
    ranks = np.argsort(np.argsort(-latent, axis=0), axis=0)
    labels = (ranks < np.array(positives))[owner].astype(np.int8)
    common, names = noise(rng, owner, len(positives)), owner.astype(str).tolist()
    models = (
        np.sqrt(0.5) * (common + noise(rng, owner, len(positives)))
        + np.sqrt(2) * stats.norm.ppf(auroc) * labels
        for auroc in aurocs
    )
    a, b = (clustered.patient_aurocs(scores, labels, names) for scores in models)
    return a, b


@pytest.mark.parametrize(
    ("positives", "records"), [(FEW, 1), (FEW, 3), (MANY, 1)], ids=["few", "several", "many"]
)
@pytest.mark.parametrize("auroc", [0.80, 0.96])
def test_intervals_of_the_mean_cover_and_equal_models_are_seldom_told_apart(
    auroc: float, positives: tuple[int, ...], records: int
) -> None:
    rng = np.random.default_rng([len(set(positives)), records])
    covered, different, covered_difference = [], [], []
    for _ in range(RUNS):
        a, b = data_set(rng, positives, records, (auroc, auroc))
        low, high = intervals.macro_interval(a)
        covered.append(low <= auroc <= high)
        estimate = clustered.macro_difference(a, b)
        different.append(estimate.p_value < 0.05)
        low, high = estimate.interval()
        covered_difference.append(low <= 0 <= high)
    assert within(float(np.mean(covered)), 0.92, 0.98)
    assert within(float(np.mean(different)), 0.03, 0.07)
    assert np.mean(covered_difference) == 1 - np.mean(different), "test and interval are one"


def test_power_predicts_how_often_a_planted_difference_is_detected() -> None:
    rng = np.random.default_rng(11)
    predicted, detected = [], []
    for _ in range(RUNS):
        a, b = data_set(rng, MANY, 1, (0.85, 0.83))
        estimate = clustered.macro_difference(a, b)
        predicted.append(Power(estimate.standard_error, 250).detects(0.02))
        detected.append(estimate.p_value < 0.05)
    print(f"predicted {np.mean(predicted):.3f}, detected {np.mean(detected):.3f}")
    slack = 3 * np.sqrt(0.25 / RUNS) if RUNS < 1000 else 0.0
    assert 0.2 < np.mean(predicted) < 0.9
    assert abs(np.mean(predicted) - np.mean(detected)) < 0.05 + slack
