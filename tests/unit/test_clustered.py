"""Variances by patient: DeLong's with one record a patient, Obuchowski's with several, and paired tests."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from supreme.metrics import clustered
from supreme.metrics.clustered import Estimate, PatientAurocs

pytestmark = pytest.mark.unit


def data(
    seed: int, records: int = 60, classes: int = 3, patients: int = 25
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Scores with ties, labels of which some are missing, patients with several records of both kinds."""
    rng = np.random.default_rng(seed)
    labels = rng.choice([-1, 0, 1], (records, classes), p=[0.1, 0.5, 0.4]).astype(np.int8)
    scores = np.round(rng.normal(size=(records, classes)) + labels, 1)
    return scores, labels, [f"p{i}" for i in rng.integers(0, patients, records)]


def kernel(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The plain definition: every positive against every negative."""
    positive, negative = scores[labels == 1], scores[labels == 0]
    wins = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
    return wins.mean(), wins.mean(axis=1), wins.mean(axis=0)


@given(st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_values_equal_scikit_learn_and_variances_equal_delong(seed: int) -> None:
    scores, labels, _ = data(seed)
    aurocs = clustered.patient_aurocs(scores, labels, [str(i) for i in range(len(scores))])
    for c in range(3):
        rows = labels[:, c] >= 0
        assert aurocs.values[c] == pytest.approx(roc_auc_score(labels[rows, c], scores[rows, c]), abs=1e-12)
        _, of_positives, of_negatives = kernel(scores[:, c], labels[:, c])
        delong = of_positives.var(ddof=1) / len(of_positives) + of_negatives.var(ddof=1) / len(of_negatives)
        assert aurocs.variances[c] == pytest.approx(delong, rel=1e-9)


@given(st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_variances_equal_obuchowski(seed: int) -> None:
    """Her formula, but for the factor of the covariance within patients, which here keeps it a variance."""
    scores, labels, patients = data(seed)
    aurocs = clustered.patient_aurocs(scores, labels, patients)
    for c in range(3):
        area, of_positives, of_negatives = kernel(scores[:, c], labels[:, c])
        owners = np.array(patients)
        parts = []
        for placements, kind in ((of_positives, 1), (of_negatives, 0)):
            mine = owners[labels[:, c] == kind]
            names = np.unique(mine)
            sums = {name: (placements[mine == name] - area).sum() for name in names}
            parts.append((sums, len(names), len(placements)))
        (cases, m, n_cases), (controls, n, n_controls) = parts
        variance = m / (m - 1) * sum(v**2 for v in cases.values()) / n_cases**2
        variance += n / (n - 1) * sum(v**2 for v in controls.values()) / n_controls**2
        shared = sum(cases[name] * controls[name] for name in cases.keys() & controls.keys())
        factor = np.sqrt(m / (m - 1) * n / (n - 1))
        variance += 2 * factor * shared / (n_cases * n_controls)
        assert aurocs.variances[c] == pytest.approx(variance, rel=1e-9)
        assert (aurocs.positive_patients[c], aurocs.negative_patients[c]) == (m, n)


def test_copies_of_every_record_change_nothing() -> None:
    scores, labels, patients = data(1)
    once = clustered.patient_aurocs(scores, labels, patients)
    thrice = clustered.patient_aurocs(np.tile(scores, (3, 1)), np.tile(labels, (3, 1)), patients * 3)
    assert thrice.values == pytest.approx(once.values)
    assert thrice.variances == pytest.approx(once.variances)
    assert thrice.positive_size == pytest.approx(once.positive_size, rel=1e-9)


def test_one_patient_with_many_records_is_no_crowd() -> None:
    """Fifty records that agree, and four other patients: two independent ones, not five."""
    rng = np.random.default_rng(0)
    patients = ["a"] * 50 + list("bcde") + [f"n{i}" for i in range(100)]
    labels = np.array([1] * 54 + [0] * 100, np.int8)[:, None]
    scores = np.concatenate([np.full(50, 0.4), rng.normal(1, 1, 4), rng.normal(0, 1, 100)])[:, None]
    aurocs = clustered.patient_aurocs(scores, labels, patients)
    assert aurocs.positive_patients[0] == 5
    assert 1 < aurocs.positive_size[0] < 2.5
    assert aurocs.negative_size[0] == pytest.approx(100)


def test_undefined_and_constant_classes_are_marked() -> None:
    labels = np.array([[1, 0, 1, -1], [0, 0, 0, -1], [0, 0, 1, 1]], np.int8)
    scores = np.array([[0.5, 0.1, 0.3, 0.1], [0.5, 0.2, 0.2, 0.1], [0.5, 0.3, 0.9, 0.1]])
    aurocs = clustered.patient_aurocs(scores, labels, ["a", "b", "b"])
    assert aurocs.constant.tolist() == [True, False, False, False]
    assert np.isnan(aurocs.values).tolist() == [False, True, False, True]
    assert aurocs.negative_patients.tolist() == [1, 2, 1, 0]
    assert np.isnan(aurocs.variances).tolist() == [False, True, False, True]


def test_a_difference_of_a_model_from_itself_is_nothing() -> None:
    aurocs = clustered.patient_aurocs(*data(2))
    estimate = clustered.macro_difference(aurocs, aurocs)
    assert (estimate.value, estimate.standard_error, estimate.p_value) == (0, 0, 1)
    assert estimate.interval() == (0, 0)
    assert Estimate(0.1, 0, 5).p_value == 0


def test_the_variance_of_a_difference_is_that_of_repeated_draws() -> None:
    """Three classes, correlated models, patients with several records: closed form against simulation."""
    rng = np.random.default_rng(3)
    patients = [f"p{i}" for i in np.repeat(np.arange(80), 3)]
    differences, errors = [], []
    for _ in range(300):
        labels = np.repeat(rng.random((80, 3)) < 0.3, 3, axis=0).astype(np.int8)
        common = np.repeat(rng.normal(size=(80, 3)), 3, axis=0)
        a, b = (
            clustered.patient_aurocs(labels + common + rng.normal(size=(240, 3)), labels, patients)
            for _ in range(2)
        )
        estimate = clustered.macro_difference(a, b)
        differences.append(estimate.value)
        errors.append(estimate.standard_error)
    assert np.mean(errors) == pytest.approx(np.std(differences), rel=0.12)


def test_twenty_thousand_records_of_forty_classes_take_under_a_second() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random((20_000, 40)) < 0.1).astype(np.int8)
    patients = [str(i) for i in rng.integers(0, 12_000, 20_000)]
    a, b = rng.random((2, 20_000, 40))
    start = time.process_time()
    aurocs: list[PatientAurocs] = [clustered.patient_aurocs(scores, labels, patients) for scores in (a, b)]
    clustered.macro_difference(*aurocs)
    clustered.class_differences(*aurocs)
    assert time.process_time() - start < 2, "two models"
