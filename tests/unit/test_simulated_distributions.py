"""Simulated ECGs measure as real ones do: quantiles by condition against those of PTB-XL."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from simulated_truth import conditions

from supreme.evaluation.handmade_features import FEATURES, features
from supreme.records.simulated import SimulatedSource

pytestmark = pytest.mark.unit

SEED, RATE_HZ, DRAWS = 23, 100, 5000
QUANTILES = tomllib.loads((Path(__file__).parent / "data" / "ptbxl_quantiles.toml").read_text())
#: A quartile may be off by this share of the range from 10 to 90 % in real records.
TOLERANCE = 0.4


@cache
def _measurements(condition: str, count: int) -> np.ndarray:
    """Measurements ``(records, F)`` of the first records of the seed with the condition."""
    source = SimulatedSource("simulated", DRAWS, SEED, rate_hz=RATE_HZ)
    index, rows = source.index(), []
    for number in range(DRAWS):
        if condition in conditions(SEED, number):
            rows.append(features(source.read(index[number]).signal_mv, RATE_HZ))
        if len(rows) == count:
            return np.stack(rows)
    raise AssertionError(f"only {len(rows)} with {condition} in {DRAWS} records")


@pytest.mark.parametrize("condition", QUANTILES)
def test_quartiles_are_those_of_real_records(condition: str) -> None:
    measured = _measurements(condition, 200 if condition == "normal_ecg" else 80)
    off = {}
    for name, (low, *quartiles, high) in QUANTILES[condition].items():
        simulated = np.nanquantile(measured[:, FEATURES.index(name)], [0.25, 0.5, 0.75])
        distance = float(np.abs(simulated - quartiles).max() / (high - low))
        if distance > TOLERANCE:
            off[name] = f"{np.round(simulated, 3)} instead of {quartiles}"
    assert not off


def test_r_in_v6_hardly_follows_the_frontal_axis() -> None:
    """In real normals its median is 0.70 to 1.19 mV over all axes: chest leads have an angle of their own."""
    measured = _measurements("normal_ecg", 200)
    cos, sin, r_mv = (
        measured[:, FEATURES.index(name)] for name in ("qrs_axis_cos", "qrs_axis_sin", "V6_r_mv")
    )
    axis_deg = np.degrees(np.arctan2(sin, cos))
    medians = [
        float(np.median(r_mv[(axis_deg >= low) & (axis_deg < high)]))
        for low, high in ((-30, 15), (15, 45), (45, 65), (65, 100))
    ]
    assert max(medians) / min(medians) < 1.4, medians


def test_low_voltage_is_low_in_the_limb_leads() -> None:
    """In real records with the statement the largest chest lead has a median of 1.65 mV."""
    measured = _measurements("low_qrs_voltage", 80)
    limb_mv, chest_mv = (measured[:, FEATURES.index(f"largest_{part}_mv")] for part in ("limb", "chest"))
    assert np.median(limb_mv) < 0.62
    assert np.median(chest_mv) > 1.2
