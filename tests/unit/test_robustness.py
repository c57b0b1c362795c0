"""Perturbations do what their names say, nothing at strength 0, and curves are paired."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supreme import quality
from supreme.ecg import LEADS
from supreme.evaluation.benchmarks import Benchmark
from supreme.evaluation.perturbations import PERTURBATIONS, Perturbation
from supreme.evaluation.robustness import curve, perturbed, score_steps
from supreme.records.simulated import SimulatedSource

pytestmark = pytest.mark.unit

BY_NAME = {item.name: item for item in PERTURBATIONS}
V1 = LEADS.index("V1")


def _ecg(rate_hz: int = 500, number: int = 3) -> np.ndarray:
    source = SimulatedSource("simulated", 10, 0, rate_hz=rate_hz)
    return source.read(source.index()[number]).signal_mv


@settings(max_examples=60, deadline=None)
@given(
    item=st.sampled_from(PERTURBATIONS),
    samples=st.integers(200, 1500),
    rate_hz=st.sampled_from([100.0, 250.0, 400.0, 500.0]),
    seed=st.integers(0, 100),
)
def test_shape_is_the_same_and_strength_0_changes_no_bit(
    item: Perturbation, samples: int, rate_hz: float, seed: int
) -> None:
    signal_mv = np.random.default_rng(seed).normal(0, 0.3, (12, samples)).astype(np.float32)
    original = signal_mv.copy()
    for strength in item.strengths:
        changed = item(signal_mv, rate_hz, strength, seed, "a")
        assert changed.shape == signal_mv.shape
        assert changed.dtype == np.float32
        assert np.isfinite(changed).all()
        np.testing.assert_array_equal(signal_mv, original)
        np.testing.assert_array_equal(changed, item(signal_mv, rate_hz, strength, seed, "a"))
        assert (strength == 0) <= (changed is signal_mv)


def test_strengths_mean_what_they_say() -> None:
    ecg = _ecg()
    for strength in (0.05, 0.2):
        noise = BY_NAME["noise"](ecg, 500, strength, 0, "a") - ecg
        assert noise.std() == pytest.approx(strength, rel=0.02)
        hum = BY_NAME["mains"](ecg, 500, strength, 0, "a") - ecg
        spectrum = np.abs(np.fft.rfft(hum, axis=1))
        assert (spectrum.argmax(axis=1) == 500).all()  # 50 Hz in ten seconds
        assert strength * 0.3 <= np.abs(hum).max(axis=1).min() <= np.abs(hum).max() <= strength * 1.001
    wander = BY_NAME["baseline_wander"](ecg, 500, 1.0, 0, "a") - ecg
    assert np.abs(np.fft.rfft(wander, axis=1))[:, 10:].max() < 0.3 * np.abs(np.fft.rfft(wander, axis=1)).max()
    slow = BY_NAME["sampling_rate"](
        ecg + 0.2 * np.sin(2 * np.pi * 80 * np.arange(5000) / 500), 500, 100, 0, "a"
    )
    assert np.abs(np.fft.rfft(slow, axis=1))[:, 790:810].max() < 20  # of 500 before
    assert np.corrcoef(slow[1], ecg[1])[0, 1] > 0.99
    assert set(np.flatnonzero(np.abs(BY_NAME["lead_subset"](ecg, 500, 9, 0, "a")).any(1))) == {0, 1, 7}
    np.testing.assert_array_equal(BY_NAME["shift"](ecg, 500, 2.0, 0, "a")[:, :4000], ecg[:, 1000:])
    half = BY_NAME["crop"](ecg, 500, 0.5, 0, "a")
    assert not half[:, 2500:].any()
    assert any(np.array_equal(half[:, :2500], ecg[:, start : start + 2500]) for start in range(2501))


def test_gain_goes_up_and_down() -> None:
    ecg = _ecg()
    factors = [BY_NAME["gain"](ecg, 500, 1.0, 0, str(n)).std() / ecg.std() for n in range(20)]
    assert {round(float(factor), 3) for factor in factors} == {0.5, 2.0}


def test_swapped_arms_are_what_the_quality_check_flags() -> None:
    ecg = _ecg()
    assert "arm_leads_swapped" not in quality.check(ecg, 500)
    swapped = BY_NAME["arm_swap"](ecg, 500, 1, 0, "a")
    assert "arm_leads_swapped" in quality.check(swapped, 500)
    assert not [flag for flag in quality.check(swapped, 500) if flag.startswith(("einthoven", "goldberger"))]
    np.testing.assert_array_equal(BY_NAME["arm_swap"](swapped, 500, 1, 0, "a"), ecg)


def test_rates_that_hold_no_change_count_none() -> None:
    ecgs = _ecg(100)[None].repeat(2, 0)
    for name, strength in (("sampling_rate", 250), ("mains", 0.5)):
        same, changed = perturbed(BY_NAME[name], strength, ecgs, 100, ("a", "b"), 0)
        assert not changed.any()
        np.testing.assert_array_equal(same, ecgs)
    other, changed = perturbed(BY_NAME["noise"], 0.1, ecgs, 100, ("a", "b"), 0)
    assert changed.all()
    assert not np.array_equal(other[0], other[1])
    np.testing.assert_array_equal(perturbed(BY_NAME["noise"], 0.1, ecgs[1:], 100, ("b",), 0)[0], other[1:])


def test_curve_of_a_planted_model() -> None:
    """Class a stands in V1, which lead sets lose; class b in lead I, which they have."""
    rng = np.random.default_rng(0)
    labels = (rng.random((300, 2)) < 0.3).astype(np.int8)
    ids = tuple(f"r{n}" for n in range(300))
    benchmark = Benchmark("made", ids, tuple(f"p{n // 2}" for n in range(300)), ids, ("a", "b"), labels)
    signal_mv = rng.normal(0, 0.1, (300, 12, 200)).astype(np.float32)
    signal_mv[:, V1] += labels[:, :1] * 0.5 + rng.normal(0, 0.3, (300, 1))
    signal_mv[:, 0] += labels[:, 1:] * 0.5 + rng.normal(0, 0.3, (300, 1))

    def scorer(ecg_mv: np.ndarray, rate_hz: float) -> np.ndarray:
        return ecg_mv[:, [V1, 0]].mean(axis=2)

    item = BY_NAME["lead_subset"]
    scores, changed = score_steps(scorer, item, signal_mv, 100, ids, 0)
    result = curve(item, scores, changed, benchmark, 5, 200, np.random.default_rng(1))
    first, second, *_ = result.steps
    assert (first.difference, first.low, first.high, first.changed) == (0, 0, 0, 0)
    full = [first.auroc, curve(item, scores, changed, benchmark, 5, 0, rng).steps[0].auroc]
    assert full[0] == full[1]
    assert second.changed == 300
    lost_a = (0.5 - (2 * first.auroc - _auroc(scores[0][:, 1], labels[:, 1]))) / 2
    assert second.difference == pytest.approx(lost_a)
    assert second.low < second.difference < second.high < 0
    with pytest.raises(ValueError, match="no class"):
        curve(item, scores, changed, benchmark.select(labels.sum(1) == 0), 5, 0, rng)


def _auroc(scores: np.ndarray, labels: np.ndarray) -> float:
    return float((scores[labels == 1][:, None] > scores[labels == 0]).mean())
