"""Hand-made features: planted rates, intervals and axes are read, and no signal makes them fail."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supreme import config
from supreme.ecg import LEADS
from supreme.evaluation import handmade_features
from supreme.evaluation.benchmarks import Benchmark
from supreme.evaluation.embeddings import Embeddings
from supreme.evaluation.handmade_features import FEATURES, features
from supreme.evaluation.probes import ProbeSplits, probe
from supreme.preparation import check_record
from supreme.records import open_source
from supreme.records.label_sets import label_sets
from supreme.settings.evaluation import Probes

pytestmark = pytest.mark.unit


def _ecg(
    rate_hz: float, rr_s: float, pr_s: float = 0.16, qrs_s: float = 0.09, t_end_s: float = 0.38
) -> np.ndarray:
    """Ten seconds of P, QRS and T waves in known places; V1 points down, all others up."""
    time_s = np.arange(round(10 * rate_hz)) / rate_hz
    wave = np.zeros_like(time_s)
    for onset_s in np.arange(0.5, 9.5, rr_s):
        for start_s, length_s, size_mv in ((-pr_s, 0.1, 0.15), (0, qrs_s, 1.2), (t_end_s - 0.18, 0.18, 0.3)):
            at = (time_s - onset_s - start_s) / length_s
            wave += np.where((at > 0) & (at < 1), size_mv * np.sin(np.pi * at.clip(0, 1)) ** 2, 0)
    gains = np.ones(12)
    gains[LEADS.index("V1")] = -0.5
    noise = np.random.default_rng(0).normal(0, 0.004, (12, len(time_s)))
    return (gains[:, None] * wave + noise).astype(np.float32)


def _read(signal_mv: np.ndarray, rate_hz: float) -> dict[str, float]:
    return dict(zip(FEATURES, features(signal_mv, rate_hz).tolist(), strict=True))


@pytest.mark.parametrize("rate_hz", [100, 257, 500])
def test_planted_waves_are_measured(rate_hz: float) -> None:
    normal = _read(_ecg(rate_hz, 0.8), rate_hz)
    assert normal["rate_per_minute"] == pytest.approx(75, abs=0.5)
    assert normal["rr_variation"] < 0.01
    assert normal["V1_s_mv"] == pytest.approx(-0.6, abs=0.06)
    assert normal["V1_q_mv"] == normal["V1_s_mv"]  # QS
    assert normal["V5_r_mv"] == pytest.approx(1.2, abs=0.1)
    assert normal["qt_s"] == pytest.approx(0.38, abs=0.05)
    assert normal["qrs_axis_cos"] > 0
    slow = _read(_ecg(rate_hz, 1.2, pr_s=0.26, qrs_s=0.15, t_end_s=0.5), rate_hz)
    assert slow["pr_s"] - normal["pr_s"] == pytest.approx(0.10, abs=0.025)
    assert slow["qrs_s"] - normal["qrs_s"] == pytest.approx(0.06, abs=0.025)
    assert slow["qt_s"] - normal["qt_s"] == pytest.approx(0.12, abs=0.03)


def test_st_level_is_read_by_lead() -> None:
    signal_mv = _ecg(500, 0.8)
    for onset_s in np.arange(0.5, 9.5, 0.8):
        first = round((onset_s + 0.09) * 500)
        signal_mv[LEADS.index("V3"), first : first + 100] += 0.25
    values = _read(signal_mv, 500)
    assert values["V3_st_mv"] == pytest.approx(0.25, abs=0.06)
    assert abs(values["V4_st_mv"]) < 0.06


def test_flat_and_missing_leads_are_nan_and_leave_the_others() -> None:
    whole, signal_mv = _read(_ecg(250, 0.8), 250), _ecg(250, 0.8)
    signal_mv[3], signal_mv[4] = 0, np.nan
    values = _read(signal_mv, 250)
    assert np.isnan([values["aVR_r_mv"], values["aVL_t_mv"], values["cornell_mv"]]).all()
    assert values["V5_r_mv"] == pytest.approx(whole["V5_r_mv"], abs=0.02)
    assert np.isnan(features(np.zeros((12, 5000), np.float32), 500)[1:]).mean() > 0.9


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    kind=st.sampled_from(["noise", "steps", "spikes", "nan", "huge", "constant", "one lead"]),
    samples=st.integers(1, 3000),
    rate_hz=st.sampled_from([50.0, 100.0, 333.0, 500.0, 1000.0]),
)
def test_no_signal_makes_it_fail(seed: int, kind: str, samples: int, rate_hz: float) -> None:
    rng = np.random.default_rng(seed)
    signal_mv = rng.normal(0, 0.1, (12, samples)).astype(np.float32)
    if kind == "steps":
        signal_mv = np.repeat(rng.normal(size=(12, samples // 50 + 1)), 50, axis=1)[:, :samples]
    elif kind == "spikes":
        signal_mv = (rng.random((12, samples)) < 0.01) * rng.normal(0, 5, (12, samples))
    elif kind == "nan":
        signal_mv[:, :: int(rng.integers(1, 9))] = np.nan
    elif kind == "huge":
        signal_mv *= 1e6
    elif kind == "constant":
        signal_mv[:] = rng.normal()
    elif kind == "one lead":
        signal_mv[1:] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = features(signal_mv.astype(np.float32), rate_hz)
    assert values.shape == (len(FEATURES),)
    assert not np.isinf(values).any()


def test_batches_and_demographics() -> None:
    batch = np.stack([_ecg(100, 0.8), _ecg(100, 0.6)])
    values = handmade_features.score(batch, 100)
    np.testing.assert_array_equal(values[1], features(batch[1], 100))
    assert handmade_features.score(batch[:0], 100).shape == (0, len(FEATURES))
    embeddings = Embeddings(("a", "b"), values)
    more = handmade_features.with_age_and_sex(embeddings, {"a": 60.0, "b": None}, {"a": "F", "b": "M"})
    np.testing.assert_array_equal(more.values[:, -2:], [[60, 0], [np.nan, 1]])


@pytest.mark.real
def test_real_records_are_told_apart(realdata: Path) -> None:
    """PTB-XL superclasses of a quarter of the patients; at chance where records are shuffled."""
    source = open_source(config.Source(kind="ptbxl", uri=str(realdata / "ptb-xl")), 0, 500)
    records = [source.read(entry) for entry in source.index()]
    (labels,) = (item for item in label_sets("ptbxl") if item.name == "ptbxl-superclass")
    ids = tuple(record.entry.record_id for record in records)
    patients = tuple(record.entry.patient_id for record in records)
    matrix = np.array([[c in labels.of(r.entry.codes) for c in labels.columns] for r in records], np.int8)
    benchmark = Benchmark("ptbxl", ids, patients, ids, tuple(labels.columns), matrix)
    values = np.stack([features(check_record(record).signal_mv, 500) for record in records])
    embeddings = handmade_features.with_age_and_sex(
        Embeddings(ids, values), {i: r.entry.age for i, r in zip(ids, records, strict=True)},
        {i: r.entry.sex for i, r in zip(ids, records, strict=True)},
    )  # fmt: skip
    _, place = np.unique(patients, return_inverse=True)
    splits = ProbeSplits(
        *(benchmark.select(part) for part in (place % 4 > 1, place % 4 == 1, place % 4 == 0))
    )
    run = probe(embeddings, splits, Probes(fractions=(1.0,)), 0, allow_missing=True)
    assert run.result.fractions[0].macro.auroc > 0.82
    shuffled = replace(embeddings, values=np.random.default_rng(0).permutation(embeddings.values))
    chance = probe(shuffled, splits, Probes(fractions=(1.0,)), 0, allow_missing=True)
    assert chance.result.fractions[0].macro.auroc < 0.62
