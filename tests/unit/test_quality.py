"""What is refused, what is flagged, and that a sound ECG is left alone."""

from __future__ import annotations

import numpy as np
import pytest
from wfdb_writer import ecg_mv

from supreme import ecg, quality, records, signal
from supreme.ecg import LEADS, BadRecord

pytestmark = pytest.mark.unit


@pytest.fixture
def sound() -> np.ndarray:
    return ecg_mv(10)


def _reason(signal_mv: np.ndarray, rate_hz: float = 500) -> str:
    with pytest.raises(BadRecord) as caught:
        quality.check(signal_mv, rate_hz)
    return caught.value.reason


@pytest.mark.parametrize("seed", range(5))
def test_a_sound_ecg_has_no_flags(seed):
    assert quality.check(ecg_mv(10, seed=seed), 500) == []


@pytest.mark.parametrize("rate_hz", [0, -1, float("nan"), float("inf"), 1, 1e6])
def test_an_impossible_rate_is_refused(sound, rate_hz):
    assert _reason(sound, rate_hz) == "unknown_rate"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_sample_without_a_value_is_enough(sound, value):
    sound[7, 4321] = value
    assert _reason(sound) == "nan"


def test_length_and_shape(sound):
    assert _reason(sound[:, :999]) == "too_short"
    assert quality.check(sound[:, :1000], 500) == []
    assert _reason(sound[:, :0]) == "too_short"
    assert _reason(sound[:8]) == "missing_leads"


def test_flat_leads_are_flagged_and_more_than_half_refused(sound):
    sound[[6, 11]] = 0.7
    assert quality.check(sound, 500) == ["flat:V1", "flat:V6"]
    sound[6:] = 0
    assert len(quality.check(sound, 500)) == 6
    sound[5] = 0
    assert _reason(sound) == "flat_leads"


def test_a_dropped_lead_with_one_step_in_it_is_flat(sound):
    sound[8] = 0
    sound[8, 2000:2050] = -12
    assert quality.check(sound, 500) == ["flat:V3", "clipped:V3"]


def test_wrong_units_are_refused_and_one_wild_lead_is_flagged(sound):
    assert _reason(sound * 1000) == "absurd_amplitude"
    assert _reason(sound / 1000) == "flat_leads"
    sound[9] *= 100
    assert quality.check(sound, 500) == ["clipped:V4"]


def test_saturation_is_flagged(sound):
    assert quality.check(np.clip(sound * 3, -9, 1.2), 500)[0].startswith("clipped:")
    sound[10, 4900:] = 3.0
    assert quality.check(sound, 500) == ["clipped:V5"]


@pytest.mark.parametrize("lead", ["I", "II", "III"])
def test_limb_leads_that_contradict_each_other_are_flagged(sound, lead):
    sound[LEADS.index(lead)] *= -1
    assert quality.check(sound, 500) == ["einthoven"]


def test_an_offset_in_one_limb_lead_is_no_contradiction(sound):
    sound[0] += 2.0
    assert quality.check(sound, 500) == []


@pytest.mark.real
def test_known_flat_leads_of_real_records_are_found(realdata):
    (csn,) = [source for source in records.discover(str(realdata)) if source.kind == "csn"]
    source = records.open_source(csn, 0, 100)
    flags = {}
    for entry in source.index():
        record = source.read(entry)
        ordered, _ = ecg.order_leads(record.signal_mv, record.leads)
        flags[entry.record_id] = quality.check(signal.first_seconds(ordered, 500, 10), 500)
    flat = {record_id: found for record_id, found in flags.items() if found}
    assert flat == {
        "csn/JS20008": ["flat:V2", "flat:V4", "flat:V6"],
        "csn/JS45544": [f"flat:V{number}" for number in range(1, 7)],
        "csn/JS45551": ["flat:V4", "flat:V5", "flat:V6"],
    }
