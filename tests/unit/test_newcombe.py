"""Score-type intervals: what they solve, how they behave at the edges, and where none is given."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supreme.metrics import clustered, intervals

pytestmark = pytest.mark.unit

areas = st.floats(0.02, 0.98)
numbers = st.integers(2, 500)


def interval(area: float, positives: float, negatives: float) -> tuple[float, float]:
    low, high = intervals.newcombe(np.array([area]), np.array([positives]), np.array([negatives]))
    return float(low[0]), float(high[0])


@given(areas, numbers, numbers)
def test_bounds_are_where_the_observed_auroc_is_just_refuted(area: float, m: int, n: int) -> None:
    """Newcombe 2006, method 5: |observed - bound| is z standard errors at the bound."""
    for bound in interval(area, m, n):
        others = (m + n) / 2 - 1
        shape = 1 + others * (1 - bound) / (2 - bound) + others * bound / (1 + bound)
        variance = bound * (1 - bound) * shape / (m * n)
        assert abs(area - bound) == pytest.approx(1.959964 * np.sqrt(variance), abs=1e-6)


@given(areas, numbers, numbers)
def test_intervals_are_mirrored_contain_the_auroc_and_shrink(area: float, m: int, n: int) -> None:
    low, high = interval(area, m, n)
    assert 0 <= low < area < high <= 1
    assert interval(1 - area, n, m) == pytest.approx((1 - high, 1 - low), abs=1e-9)
    assert interval(area, 2 * m, 2 * n)[0] > low


def test_a_perfect_ranking_of_few_is_far_from_certain() -> None:
    low, high = interval(1.0, 5, 200)
    assert high == 1
    assert 0.7 < low < 0.85
    assert interval(1.0, 100, 200)[0] > 0.97
    assert np.isnan(interval(np.nan, 5, 5)).all()


def aurocs(positive_patients: list[int], constant: bool = False) -> clustered.PatientAurocs:
    """One class a number of positive patients, among sixty."""
    rng = np.random.default_rng(0)
    labels = np.stack([np.arange(60) < count for count in positive_patients], axis=1).astype(np.int8)
    scores = labels + rng.normal(size=labels.shape)
    return clustered.patient_aurocs(0 * scores if constant else scores, labels, [str(i) for i in range(60)])


def test_no_interval_below_five_patients_or_for_a_constant_score() -> None:
    low, high = intervals.class_intervals(aurocs([1, 4, 5, 30, 55, 56]))
    assert np.isnan(low).tolist() == np.isnan(high).tolist() == [True, True, False, False, False, True]
    assert np.isnan(intervals.class_intervals(aurocs([30], constant=True))[0]).all()


def test_the_interval_of_one_class_is_that_of_its_mean() -> None:
    one = aurocs([12])
    low, high = intervals.class_intervals(one)
    assert intervals.macro_interval(one) == pytest.approx((low[0], high[0]), abs=1e-9)


def test_a_mean_over_mostly_tiny_classes_has_no_interval() -> None:
    assert np.isnan(intervals.macro_interval(aurocs([3, 4, 20]))).all()
    assert np.isfinite(intervals.macro_interval(aurocs([4, 10, 20]))).all()
    assert np.isnan(intervals.macro_interval(aurocs([9]).select([]))).all()


def test_independent_classes_average_out_and_copies_of_one_do_not() -> None:
    one = aurocs([20])
    width = np.subtract(*intervals.macro_interval(one)[::-1])
    copies = intervals.macro_interval(one.select([0] * 9))
    assert np.subtract(*copies[::-1]) == pytest.approx(width, rel=0.01)
    many = aurocs([20] * 9)
    spread = np.subtract(*intervals.macro_interval(many)[::-1])
    mean_width = np.mean(np.subtract(*intervals.class_intervals(many)[::-1]))
    assert 0.2 * mean_width < spread < 0.6 * mean_width
