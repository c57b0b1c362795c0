"""Power, Holm's correction, and groups of models that cannot be told apart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from supreme.metrics.multiplicity import holm, indistinguishable
from supreme.metrics.power import Power

pytestmark = pytest.mark.unit


def test_the_smallest_difference_is_detected_with_the_target_power() -> None:
    power = Power(0.007, 500)
    assert power.smallest_difference == pytest.approx(2.8016 * 0.007, rel=1e-4)
    assert power.detects(power.smallest_difference) == pytest.approx(0.8, abs=1e-4)
    assert power.detects(0) == pytest.approx(0.05)
    assert power.detects(-0.02) == power.detects(0.02)
    needed = power.patients_for(0.01)
    larger = Power(0.007 * np.sqrt(500 / needed), needed)
    assert larger.smallest_difference == pytest.approx(0.01, rel=1e-2)
    assert power.patients_for(0.02) == pytest.approx(needed / 4, abs=1)
    with pytest.raises(ValueError, match="no number of patients"):
        power.patients_for(0)


def test_power_equals_that_of_repeated_tests() -> None:
    draws = np.random.default_rng(0).normal(0.02, 0.008, 200_000)
    rate = (np.abs(draws) > stats.norm.isf(0.025) * 0.008).mean()
    assert Power(0.008, 100).detects(0.02) == pytest.approx(rate, abs=0.005)
    assert Power(0, 100).detects(0.01) == 1


def test_holm_on_a_worked_example() -> None:
    assert holm([0.01, 0.04, np.nan, 0.03, 0.005]) == pytest.approx(
        [0.03, 0.06, np.nan, 0.06, 0.02], nan_ok=True
    )
    assert holm([]).shape == (0,)
    assert holm([0.6, 0.9]).tolist() == [1, 1]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_lies_between_the_raw_p_and_bonferroni(values: list[float]) -> None:
    raw, adjusted = np.array(values), holm(values)
    assert (adjusted >= raw - 1e-12).all()
    assert (adjusted <= np.minimum(1, raw * len(raw)) + 1e-12).all()
    order = np.argsort(raw, kind="stable")
    assert (np.diff(adjusted[order]) >= 0).all()


@given(st.integers(0, 7), st.sets(st.tuples(st.integers(0, 6), st.integers(0, 6))))
def test_groups_are_the_largest_sets_without_a_difference(count: int, pairs: set[tuple[int, int]]) -> None:
    apart = {tuple(sorted(pair)) for pair in pairs if pair[0] != pair[1] and max(pair) < count}
    groups = indistinguishable(count, lambda one, other: (one, other) in apart)
    subsets = [
        frozenset(i for i in range(count) if bits >> i & 1)
        for bits in range(1, 2**count)
        if not any((bits >> one & 1) and (bits >> other & 1) for one, other in apart)
    ]
    largest = [group for group in subsets if not any(group < other for other in subsets)]
    assert sorted(groups, key=sorted) == sorted(largest, key=sorted)
