"""Perturbations do what their names say, nothing at strength 0, and curves are paired."""

from __future__ import annotations

from pathlib import Path

import evaluation_data
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supreme import quality
from supreme.ecg import LEADS
from supreme.evaluation import datasets
from supreme.evaluation.benchmarks import Benchmark
from supreme.evaluation.perturbations import PERTURBATIONS, Perturbation
from supreme.evaluation.robustness import curve, score_steps
from supreme.evaluation.robustness_stage import RobustnessStage
from supreme.records.simulated import SimulatedSource
from supreme.shards.read import ShardDataset

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
        changed = item(signal_mv, rate_hz, strength, seed)
        assert changed.shape == signal_mv.shape
        assert changed.dtype == np.float32
        assert np.isfinite(changed).all()
        np.testing.assert_array_equal(signal_mv, original)
        np.testing.assert_array_equal(changed, item(signal_mv, rate_hz, strength, seed))
        assert (strength == 0) <= (changed is signal_mv)


def test_strengths_mean_what_they_say() -> None:
    ecg = _ecg()
    for strength in (0.05, 0.2):
        noise = BY_NAME["noise"](ecg, 500, strength, 0) - ecg
        assert noise.std() == pytest.approx(strength, rel=0.02)
        hum = BY_NAME["mains"](ecg, 500, strength, 0) - ecg
        spectrum = np.abs(np.fft.rfft(hum, axis=1))
        assert (spectrum.argmax(axis=1) == 500).all()  # 50 Hz in ten seconds
        assert strength * 0.28 <= np.abs(hum).max(axis=1).min() <= np.abs(hum).max() <= strength * 1.001
    wander = BY_NAME["baseline_wander"](ecg, 500, 1.0, 0) - ecg
    assert np.abs(np.fft.rfft(wander, axis=1))[:, 10:].max() < 0.3 * np.abs(np.fft.rfft(wander, axis=1)).max()
    slow = BY_NAME["sampling_rate"](ecg + 0.2 * np.sin(2 * np.pi * 80 * np.arange(5000) / 500), 500, 100, 0)
    assert np.abs(np.fft.rfft(slow, axis=1))[:, 790:810].max() < 20  # of 500 before
    assert np.corrcoef(slow[1], ecg[1])[0, 1] > 0.99
    assert set(np.flatnonzero(np.abs(BY_NAME["lead_subset"](ecg, 500, 9, 0)).any(1))) == {0, 1, 7}
    np.testing.assert_array_equal(BY_NAME["shift"](ecg, 500, 2.0, 0)[:, :4000], ecg[:, 1000:])
    half = BY_NAME["crop"](ecg, 500, 0.5, 0)
    assert not half[:, 2500:].any()
    assert any(np.array_equal(half[:, :2500], ecg[:, start : start + 2500]) for start in range(2501))


def test_gain_goes_up_and_down() -> None:
    ecgs = [_ecg() * (1 + n / 100) for n in range(20)]
    factors = [BY_NAME["gain"](ecg, 500, 1.0, 0).std() / ecg.std() for ecg in ecgs]
    assert {round(float(factor), 3) for factor in factors} == {0.5, 2.0}


def test_swapped_arms_are_what_the_quality_check_flags() -> None:
    ecg = _ecg()
    assert "arm_leads_swapped" not in quality.check(ecg, 500)
    swapped = BY_NAME["arm_swap"](ecg, 500, 1, 0)
    assert "arm_leads_swapped" in quality.check(swapped, 500)
    assert not [flag for flag in quality.check(swapped, 500) if flag.startswith(("einthoven", "goldberger"))]
    np.testing.assert_array_equal(BY_NAME["arm_swap"](swapped, 500, 1, 0), ecg)


def test_what_a_rate_does_not_hold_changes_nothing() -> None:
    ecg, other = _ecg(100), _ecg(100, 4)
    for name, strength in (("sampling_rate", 250), ("mains", 0.5)):
        assert not BY_NAME[name].changes(100, strength)
        assert BY_NAME[name](ecg, 100, strength, 0) is ecg
        assert BY_NAME[name].changes(500, strength)
    noise = BY_NAME["noise"]
    assert noise.changes(100, 0.1)
    assert not np.allclose(noise(ecg, 100, 0.1, 0) - ecg, noise(other, 100, 0.1, 0) - other, atol=1e-3)
    assert not np.allclose(noise(ecg, 100, 0.1, 0), noise(ecg, 100, 0.1, 1), atol=1e-3)
    ratio = (noise(ecg, 100, 0.2, 0) - ecg) / (noise(ecg, 100, 0.1, 0) - ecg)
    np.testing.assert_allclose(ratio, 2, rtol=0.05)  # one draw at every strength
    in_uv = np.rint(ecg * 1000).astype(np.int16)
    assert noise(in_uv, 100, 0.1, 0).dtype == np.int16
    assert (noise(in_uv, 100, 0.1, 0) - in_uv).std() == pytest.approx(100, rel=0.03)


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
    scores, changed = score_steps(scorer, item, signal_mv, 100, 0), [0, *[300] * 5]
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


def test_stage_scores_every_strength_once(tmp_path: Path) -> None:
    """On shards, by the engine: condition i stands in lead i, of which lead sets lose the last."""
    folder, ids = str(tmp_path / "shards"), [f"u{n:02d}" for n in range(60)]
    evaluation_data.write_shards(folder, "simulated", evaluation_data.CONDITIONS, {"test": ids})
    data = datasets.DataSet("simulated", "simulated", ShardDataset.open(folder))
    part = datasets.unseen_part(data, None)
    model = evaluation_data.PlantedModel(evaluation_data.CONDITIONS)
    items = (BY_NAME["lead_subset"], BY_NAME["sampling_rate"])
    stage = RobustnessStage(model, str(tmp_path / "r"), 50, 3, 50, 0, items)
    order = [evaluation_data.CONDITIONS.index(name) for name in part.benchmark.classes]
    leads, rate = stage.curves(part, lambda outputs: outputs[:, order])
    assert leads.records == 50
    assert [step.changed for step in leads.steps] == [0, *[50] * 5]
    assert leads.steps[0].auroc > 0.99
    assert leads.steps[0].difference == 0
    # Of four leads the last set keeps I alone, and the other classes are at chance.
    assert leads.steps[-1].auroc == pytest.approx((1 + 3 * 0.5) / 4, abs=0.01)
    assert leads.steps[-1].high < -0.3
    assert [step.difference for step in rate.steps] == [0, 0, 0]  # these records have 50 Hz
    batches = len(model.batches)
    assert stage.curves(part, lambda outputs: outputs[:, order]) == (leads, rate)
    assert len(model.batches) == batches


def _auroc(scores: np.ndarray, labels: np.ndarray) -> float:
    return float((scores[labels == 1][:, None] > scores[labels == 0]).mean())
