"""Resampling and length: planted sines come out where they should, offsets do not ring."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supreme import signal

pytestmark = pytest.mark.unit


def _sine(frequency_hz: float, rate_hz: float, seconds: float = 10.0) -> np.ndarray:
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    return np.tile(np.sin(2 * np.pi * frequency_hz * time_s), (12, 1)).astype(np.float32)


@settings(max_examples=30, deadline=None)
@given(
    frequency_hz=st.floats(0.5, 30),
    from_hz=st.sampled_from([100.0, 128.0, 250.0, 257.0, 360.0, 400.0, 500.0, 1000.0]),
    to_hz=st.sampled_from([100, 125, 250, 500]),
)
def test_a_sine_keeps_frequency_phase_and_size(frequency_hz, from_hz, to_hz):
    resampled, n_valid = signal.prepare(_sine(frequency_hz, from_hz), from_hz, to_hz, 10 * to_hz)
    expected = _sine(frequency_hz, to_hz)
    assert resampled.shape == (12, 10 * to_hz)
    assert resampled.dtype == np.float32
    assert n_valid == 10 * to_hz
    inner = slice(to_hz // 2, -to_hz // 2)
    np.testing.assert_allclose(resampled[:, inner], expected[:, inner], atol=0.03)


def test_what_the_new_rate_cannot_hold_does_not_fold_back():
    folded = signal.resample(_sine(90, 500), 500, 100)
    assert np.abs(folded[:, 50:-50]).max() < 0.01


@pytest.mark.parametrize("offset_mv", [0.0, 5.0, -20.0])
def test_an_offset_or_drift_does_not_ring_at_the_edges(offset_mv):
    drift = np.tile(np.linspace(offset_mv, offset_mv + 1, 5000), (12, 1))
    resampled = signal.resample(drift, 500, 100)
    np.testing.assert_allclose(resampled, drift[:, ::5], atol=1e-3)


def test_the_same_rate_changes_nothing():
    ecg = np.random.default_rng(0).normal(size=(12, 1000)).astype(np.float32)
    prepared, n_valid = signal.prepare(ecg, 100, 100, 1000)
    np.testing.assert_array_equal(prepared, ecg)
    assert n_valid == 1000


@given(length=st.integers(1, 300), samples=st.integers(1, 300))
def test_crop_keeps_the_beginning_and_padding_is_zero_at_the_end(length, samples):
    ecg = 1 + np.arange(12 * length, dtype=np.float32).reshape(12, length)
    fixed, n_valid = signal.crop_or_pad(ecg, samples)
    assert fixed.shape == (12, samples)
    assert n_valid == min(length, samples)
    np.testing.assert_array_equal(fixed[:, :n_valid], ecg[:, :n_valid])
    assert not fixed[:, n_valid:].any()


def test_a_long_record_gives_its_first_seconds():
    ecg = np.zeros((12, 30_000), np.float32)
    ecg[:, 4000] = 1
    ecg[:, 12_000] = 100
    prepared, n_valid = signal.prepare(ecg, 500, 100, 1000)
    assert (prepared.argmax(axis=1) == 800).all()
    assert n_valid == 1000


def test_a_short_record_is_padded_after_resampling():
    prepared, n_valid = signal.prepare(_sine(5, 400, seconds=3), 400, 100, 1000)
    assert n_valid == 300
    assert not prepared[:, 300:].any()
