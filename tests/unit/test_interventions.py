"""Interventions change the sign that they name, and tell a model that reads it from one that does not."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest

from supreme.ecg import LEADS
from supreme.evaluation.handmade_features import FEATURES, RATE_HZ, features
from supreme.evaluation.interventions import INTERVENTIONS, Intervention, effects, normal_ecgs
from supreme.evaluation.sign_changes import landmarks

pytestmark = pytest.mark.unit

#: Intervention -> measurements that change by about so much, all others stay.
EXPECTED = {
    "right_axis_deviation": {"axis_deg": 90.0},
    "left_axis_deviation": {"axis_deg": -90.0},
    "low_qrs_voltage": {"limb_ratio": 0.45},
    "first_degree_av_block": {"pr_s": 0.09},
    "wide_qrs": {"qrs_s": 0.05},
    "lateral_t_wave_inversion": {"V6_t_ratio": -1.0},
    "inferior_st_elevation": {"aVF_st_mv": 0.2},
    "lateral_st_depression": {"V6_st_mv": -0.15},
}
TOLERANCE = {
    **{"axis_deg": 12.0, "limb_ratio": 0.08, "chest_ratio": 0.08, "pr_s": 0.02, "qrs_s": 0.02},
    **{"V6_t_ratio": 0.35, "aVF_st_mv": 0.05, "V6_st_mv": 0.05, "V2_r_mv": 0.08, "rate_per_minute": 1.0},
}


@cache
def ecgs() -> np.ndarray:
    return normal_ecgs(12)


def measured(ecg_mv: np.ndarray, before: dict[str, float] | None = None) -> dict[str, float]:
    """Angles, times and voltages; what cannot be compared as a difference is relative to ``before``."""
    values = dict(zip(FEATURES, features(ecg_mv, RATE_HZ).tolist(), strict=True))
    values["axis_deg"] = float(np.degrees(np.arctan2(values["qrs_axis_sin"], values["qrs_axis_cos"])))
    for name, own in (("limb", "largest_limb_mv"), ("chest", "largest_chest_mv"), ("V6_t", "V6_t_mv")):
        values[f"{name}_ratio"] = values[own] / before[own] if before else 1.0
    return values


@pytest.mark.parametrize("one", INTERVENTIONS, ids=lambda one: one.condition)
def test_an_intervention_changes_its_sign_and_no_other(one: Intervention) -> None:
    changes: dict[str, list[float]] = {name: [] for name in TOLERANCE}
    for ecg in ecgs():
        marks = landmarks(ecg)
        assert marks is not None
        before = measured(ecg)
        after = measured(one.change(ecg, marks).astype(np.float32), before)
        for name in changes:
            change = after[name] if name.endswith("ratio") else after[name] - before[name]
            changes[name].append((change + 180) % 360 - 180 if name == "axis_deg" else change)
    for name, values in changes.items():
        if name in EXPECTED[one.condition] or not _follows(one.condition, name):
            fallback = 1.0 if name.endswith("ratio") else 0.0
            expected = EXPECTED[one.condition].get(name, fallback)
            assert np.median(values) == pytest.approx(expected, abs=TOLERANCE[name]), name


def _follows(condition: str, name: str) -> bool:
    """Measurements that cannot stay when the sign of a condition changes."""
    return (condition, name) in {
        ("right_axis_deviation", "limb_ratio"),
        ("left_axis_deviation", "limb_ratio"),
        ("low_qrs_voltage", "axis_deg"),
        ("wide_qrs", "V6_st_mv"),
        ("wide_qrs", "aVF_st_mv"),
        ("inferior_st_elevation", "axis_deg"),
        ("inferior_st_elevation", "qrs_s"),
        ("lateral_st_depression", "qrs_s"),
        ("lateral_st_depression", "V6_t_ratio"),
    }


def test_limb_leads_stay_einthovens() -> None:
    for one in INTERVENTIONS[:3]:
        ecg = ecgs()[0]
        marks = landmarks(ecg)
        assert marks is not None
        lead = dict(zip(LEADS, one.change(ecg, marks), strict=True))
        assert np.allclose(lead["III"], lead["II"] - lead["I"], atol=1e-5)
        assert np.allclose(lead["aVR"], -(lead["I"] + lead["II"]) / 2, atol=1e-5)
        assert np.array_equal(lead["V3"], ecg[LEADS.index("V3")]) or one.condition == "wide_qrs"


class Reader:
    """Answers by measurements of the ECG, or of what stands beside the sign."""

    def __init__(self, **reads: str) -> None:
        self.reads = reads

    def logits(self, ecg_mv: np.ndarray, rate_hz: float, queries: Sequence[str]) -> np.ndarray:
        rows = [features(ecg, rate_hz) for ecg in ecg_mv]
        columns = [
            [row[FEATURES.index(self.reads[query])] if query in self.reads else 0.0 for row in rows]
            for query in queries
        ]
        return np.array(columns).T


def test_a_model_that_reads_the_sign_passes_and_one_that_reads_its_company_does_not() -> None:
    queries = ("first_degree_av_block", "wide_qrs", "sinus_rhythm", "atrial_fibrillation")
    good = Reader(first_degree_av_block="pr_s", wide_qrs="qrs_s")
    bad = Reader(first_degree_av_block="rate_per_minute", wide_qrs="V2_r_mv", sinus_rhythm="pr_s")
    verdicts = [effects(reader.logits, ecgs(), RATE_HZ, queries) for reader in (good, bad)]
    assert [[row.condition for row in rows] for rows in verdicts] == [list(queries[:2])] * 2
    assert all(row.passes and row.rank == 1 for row in verdicts[0])
    assert not verdicts[1][0].passes
    assert verdicts[1][0].largest_other == "sinus_rhythm"


def test_records_without_beats_are_refused() -> None:
    with pytest.raises(ValueError, match="three whole beats"):
        effects(Reader().logits, np.zeros((2, 12, 2500)), RATE_HZ, ("wide_qrs",))
