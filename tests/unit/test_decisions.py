"""Operating points, calibration, recalibration against scikit-learn; scores that are no probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize
from sklearn.metrics import brier_score_loss, f1_score, roc_curve

from supreme.metrics import decisions, rankings
from supreme.metrics.decisions import PlattScaling
from supreme.metrics.rankings import Ranking

pytestmark = pytest.mark.unit


def case(seed: int, n: int = 80) -> tuple[np.ndarray, np.ndarray, Ranking]:
    """Scores in [0, 1] with ties, and labels of both kinds."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < 0.3).astype(np.int8)
    labels[:2] = 0, 1
    scores = np.round(np.clip(rng.normal(0.4 + 0.2 * labels, 0.2), 0, 1), 1)
    return scores, labels, rankings.rank(scores, labels)


seeds = st.integers(0, 10_000)


@given(seeds, st.sampled_from([0.5, 0.9, 0.95, 1.0]))
@settings(max_examples=80, deadline=None)
def test_sensitivity_at_a_specificity_is_that_of_the_curve(seed: int, specificity: float) -> None:
    scores, labels, ranking = case(seed)
    false, true, _ = roc_curve(labels, scores, drop_intermediate=False)
    sensitivity = decisions.sensitivity_at(ranking, specificity)
    assert sensitivity == pytest.approx(true[false <= 1 - specificity + 1e-12].max(), abs=1e-12)
    threshold = decisions.threshold_at(ranking, specificity)
    assert decisions.operating_point(ranking, threshold)[0] == pytest.approx(sensitivity, abs=1e-12)
    assert decisions.operating_point(ranking, threshold)[1] >= specificity - 1e-12


@given(seeds)
@settings(max_examples=60, deadline=None)
def test_errors_of_probabilities_equal_scikit_learn_and_the_definition(seed: int) -> None:
    scores, labels, ranking = case(seed)
    errors = decisions.probability_errors(scores, labels == 1)
    assert errors is not None
    assert errors.brier == pytest.approx(brier_score_loss(labels, scores), abs=1e-12)
    assert errors.in_the_large == pytest.approx(scores.mean() - labels.mean(), abs=1e-12)
    best = max(f1_score(labels, scores >= cut) for cut in np.unique(scores))
    assert decisions.best_f1(ranking) == pytest.approx(best, abs=1e-12)
    cut = decisions.best_f1_threshold(ranking)
    assert f1_score(labels, scores >= cut) == pytest.approx(best, abs=1e-12)
    for other in (scores.min(), np.median(scores), scores.max()):
        assert decisions.f1(ranking, other) == pytest.approx(f1_score(labels, scores >= other), abs=1e-12)


def test_calibration_error_has_bins_of_equally_many_records() -> None:
    rng = np.random.default_rng(0)
    scores, positive = rng.random(80) ** 3, rng.random(80) < 0.3
    order = np.argsort(scores).reshape(10, 8)
    gaps = np.abs(scores[order].mean(axis=1) - positive[order].mean(axis=1))
    assert [part.count for part in decisions.reliability(scores, positive)] == [8] * 10
    errors = decisions.probability_errors(scores, positive)
    assert errors is not None
    assert errors.ece == pytest.approx(gaps.mean(), abs=1e-12)


@given(seeds)
@settings(max_examples=40, deadline=None)
def test_equal_probabilities_share_a_bin_whatever_their_order(seed: int) -> None:
    scores, labels, _ = case(seed)
    parts = decisions.reliability(scores, labels)
    assert sum(part.count for part in parts) == len(scores)
    order = np.random.default_rng(seed).permutation(len(scores))
    assert decisions.reliability(scores[order], labels[order]) == [
        decisions.ReliabilityBin(pytest.approx(part.predicted), pytest.approx(part.observed), part.count)
        for part in parts
    ]
    [flat] = decisions.reliability(np.full(80, 0.2), labels)
    assert decisions.calibration_error([flat]) == pytest.approx(abs(0.2 - labels.mean()))
    assert len(decisions.reliability(scores[:3], labels[:3])) <= 3
    assert np.isnan(decisions.calibration_error(decisions.reliability(scores[:0], labels[:0])))


def test_calibration_of_honest_and_of_overconfident_probabilities() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random(40_000)
    labels = rng.random(40_000) < truth
    assert decisions.calibration_error(decisions.reliability(truth, labels)) < 0.02
    overconfident = np.clip((truth - 0.5) * 3 + 0.5, 0, 1)
    assert decisions.calibration_error(decisions.reliability(overconfident, labels)) > 0.1


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_the_share_in_the_top_is_the_mean_over_orders_of_ties(seed: int) -> None:
    scores, labels, ranking = case(seed)
    rng = np.random.default_rng(seed)
    shares = []
    for _ in range(3000):
        shuffled = rng.permutation(len(labels))
        top = shuffled[np.argsort(-scores[shuffled], kind="stable")][:4]
        shares.append(labels[top].sum() / labels.sum())
    assert decisions.top_share(ranking) == pytest.approx(np.mean(shares), abs=0.02)


def test_scores_outside_zero_and_one_have_no_calibration() -> None:
    assert decisions.probability_errors(np.array([-3.0, 2.0]), np.array([False, True])) is None
    assert decisions.probability_errors(np.array([]), np.array([], bool)) is None
    assert decisions.probability_errors(np.array([0.0, 1.0]), np.array([False, True])) is not None


def test_without_both_kinds_nothing_is_made_up() -> None:
    ranking = rankings.rank(np.array([0.1, 0.2, 0.2]), np.array([0, 0, -1]))
    assert np.isnan(decisions.sensitivity_at(ranking, 0.9))
    assert np.isnan(decisions.top_share(ranking))
    assert np.isnan(decisions.best_f1(ranking))
    assert np.isnan(decisions.best_f1_threshold(ranking))
    assert np.isnan(decisions.f1(ranking, 0.5))
    assert np.isnan(decisions.operating_point(ranking, 0.5)).all()
    with pytest.raises(ValueError, match="both kinds"):
        decisions.fit_platt(np.array([0.1, 0.2]), np.array([True, True]))


def test_recalibration_finds_a_planted_curve_and_stays_finite() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=40_000)
    positive = rng.random(40_000) < PlattScaling(1.7, -2.0)(scores)
    fitted = decisions.fit_platt(scores, positive)
    assert (fitted.slope, fitted.intercept) == pytest.approx((1.7, -2.0), abs=0.06)
    separable = decisions.fit_platt(np.array([0.0, 0.1, 5.0, 5.1]), np.array([False, False, True, True]))
    assert np.isfinite([separable.slope, separable.intercept]).all()
    flat = decisions.fit_platt(np.zeros(10), np.arange(10) < 3)
    assert flat(np.zeros(1)) == pytest.approx(0.3, abs=0.1)


def test_recalibration_is_the_maximum_of_the_likelihood() -> None:
    rng = np.random.default_rng(1)
    scores, positive = rng.normal(5, 30, 300), rng.random(300) < 0.2
    fitted = decisions.fit_platt(scores, positive)
    count = positive.sum()
    target = np.where(positive, (count + 1) / (count + 2), 1 / (300 - count + 2))

    def loss(weights: np.ndarray) -> float:
        logits = weights[0] * scores + weights[1]
        return float((np.logaddexp(0, logits) - target * logits).sum())

    best = optimize.minimize(loss, np.zeros(2), tol=1e-12)
    assert loss(np.array([fitted.slope, fitted.intercept])) <= best.fun + 1e-6
