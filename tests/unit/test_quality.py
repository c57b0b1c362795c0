"""What is refused, what is flagged, and that a sound ECG is left alone."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wfdb_writer import ecg_mv

from supreme import ecg, quality, records, signal
from supreme.ecg import LEADS, BadRecord
from supreme.records.simulated import SimulatedSource

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
    microvolts, volts = np.rint(sound * 1000), np.rint(sound * 1000) / 1e6
    assert _reason(microvolts) == "absurd_amplitude"
    assert _reason(volts) == "absurd_amplitude"
    sound[9] *= 100
    assert quality.check(sound, 500) == ["clipped:V4"]


def test_the_noise_of_an_amplifier_without_a_patient_is_flat_and_no_ecg_in_volts():
    noise_uv = np.random.default_rng(0).normal(0, 1, (12, 5000)).round()
    assert _reason(noise_uv / 1000) == "flat_leads"


def test_saturation_is_flagged(sound):
    assert quality.check(np.clip(sound * 3, -9, 1.2), 500)[0].startswith("clipped:")
    sound[10, 4900:] = 3.0
    assert quality.check(sound, 500) == ["clipped:V5"]


@pytest.mark.parametrize("rate_hz", [100, 500])
def test_a_run_at_the_limit_is_found_wherever_it_begins_and_no_shorter_one(rate_hz):
    held = max(3, round(quality.SATURATION_S * rate_hz))
    samples = 3 * rate_hz
    for begin in [*range(2 * held + 1), *range(samples - 2 * held, samples - held + 1)]:
        for length, flags in ((held, ["clipped:V5"]), (held - 1, [])):
            one = ecg_mv(3, rate_hz)
            one[10, begin : begin + length] = 5
            assert quality.check(one, rate_hz) == flags, (begin, length)


AUGMENTED = ["goldberger:aVR", "goldberger:aVL", "goldberger:aVF"]
CONTRADICTIONS = {
    "I": ["einthoven", *AUGMENTED],
    "II": ["einthoven", *AUGMENTED],
    "III": ["einthoven"],
    "aVR": AUGMENTED[:1],
    "aVL": AUGMENTED[1:2],
    "aVF": AUGMENTED[2:],
    "V1": [],
}


@pytest.mark.parametrize("lead", CONTRADICTIONS)
def test_limb_leads_that_contradict_each_other_are_flagged(sound, lead):
    sound[LEADS.index(lead)] *= -1
    assert quality.check(sound, 500) == CONTRADICTIONS[lead]


def test_an_offset_in_one_limb_lead_is_no_contradiction_nor_is_noise(sound):
    sound[0] += 2.0
    sound[3] += np.random.default_rng(0).normal(0, 0.02, 5000)
    assert quality.check(sound, 500) == []


def test_a_flat_limb_lead_is_flat_and_says_nothing_of_the_others(sound):
    sound[[0, 4]] = 0
    assert quality.check(sound, 500) == ["flat:I", "flat:aVL"]


def test_a_lead_that_is_there_twice_is_flagged(sound):
    sound[8] = sound[7]
    assert quality.check(sound, 500) == ["copied:V3"]
    sound[8, 17] += 0.001
    assert quality.check(sound, 500) == []


def swap_arms(ecg_mv: np.ndarray) -> np.ndarray:
    """The leads with right and left arm exchanged: I is inverted, II and III, aVR and aVL change places."""
    one, two, three, right, left, foot = ecg_mv[:6]
    return np.vstack([[-one, three, two, left, right, foot], ecg_mv[6:]])


def dextrocardia(ecg_mv: np.ndarray) -> np.ndarray:
    """A heart on the right: the limb leads of a swap, and chest leads that go away from it."""
    fading = np.linspace(0.8, 0.15, 6)[:, None] * ecg_mv[6]
    return np.vstack([swap_arms(ecg_mv)[:6], fading])


def _swapped(ecg_mv: np.ndarray, rate_hz: float) -> bool:
    return "arm_leads_swapped" in quality.check(ecg_mv, rate_hz)


@pytest.mark.parametrize("rate_hz", [100, 500])
def test_swapped_arm_leads_are_flagged_in_simulated_sinus_rhythm(rate_hz):
    source = SimulatedSource("simulated", 60, 7, rate_hz=rate_hz)
    drawn = [source.read(entry) for entry in source.index()]
    sinus = [one.signal_mv for one in drawn if "sinus_rhythm" in one.entry.codes]
    assert len(sinus) > 20
    assert not any(_swapped(one.signal_mv, rate_hz) for one in drawn)
    assert np.mean([_swapped(swap_arms(ecg_mv), rate_hz) for ecg_mv in sinus]) > 0.8
    assert not any(_swapped(dextrocardia(ecg_mv), rate_hz) for ecg_mv in sinus)


def test_a_swap_is_only_seen_where_the_limb_leads_agree(sound):
    lone = sound.copy()
    lone[0] *= -1
    assert _swapped(swap_arms(sound), 500)
    assert not _swapped(lone, 500)


def _plain_verdict(
    signal_mv: np.ndarray, rate_hz: float, per_mv: float = 1
) -> tuple[list[str], list[str], bool]:
    """Flat and saturated leads and Einthoven, by their definitions and without a shortcut."""
    held = max(3, round(quality.SATURATION_S * rate_hz))
    flat, saturated = [], []
    for name, lead in zip(LEADS, signal_mv, strict=True):
        still = (np.diff(lead) == 0).mean() > quality.STILL_FRACTION
        flat += [name] if still or np.ptp(lead) < quality.FLAT_MV * per_mv else []
        for extreme in (lead.min(), lead.max()):
            runs = [len(list(run)) for same, run in groupby(lead == extreme) if same]
            if abs(extreme - np.median(lead)) >= quality.SATURATION_MV * per_mv and max(runs) >= held:
                saturated += [name] if name not in saturated else []
    rest = signal_mv[2] - signal_mv[1] + signal_mv[0]
    off = np.percentile(np.abs(rest - np.median(rest)), 99) > quality.LIMB_LEAD_MV * per_mv
    return flat, saturated, bool(off and not set(flat) & {"I", "II", "III"})


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 1000),
    rate_hz=st.sampled_from([100, 250, 500]),
    step_mv=st.sampled_from([0.001, 0.006, 0.03]),
    ceiling_mv=st.floats(0.5, 3),
    still_from=st.integers(0, 1500),
    wander_mv=st.floats(0, 0.2),
)
def test_shortcuts_do_not_change_a_verdict(seed, rate_hz, step_mv, ceiling_mv, still_from, wander_mv):
    rng = np.random.default_rng(seed)
    signal_mv = 2 * ecg_mv(3, rate_hz, seed=seed)
    signal_mv[2] += wander_mv * np.sin(np.linspace(0, 20, signal_mv.shape[1]))
    signal_mv = (np.clip(signal_mv, -ceiling_mv, ceiling_mv) / step_mv).round() * step_mv
    for lead in rng.choice(12, 3, replace=False):
        signal_mv[lead, still_from:] = signal_mv[lead, min(still_from, signal_mv.shape[1] - 1)]
    signal_uv = ecg.to_microvolts(signal_mv)
    for form, plain in (
        (signal_mv, _plain_verdict(signal_mv, rate_hz)),
        (signal_uv, _plain_verdict(signal_uv.astype(float), rate_hz, ecg.MICROVOLTS_PER_MILLIVOLT)),
    ):
        flags = quality.check(form, rate_hz)
        flat = [flag[5:] for flag in flags if flag.startswith("flat:")]
        saturated = [flag[8:] for flag in flags if flag.startswith("clipped:")]
        assert (flat, saturated, "einthoven" in flags) == plain


@pytest.fixture(scope="module")
def real_ecgs(realdata) -> dict[str, tuple[np.ndarray, float]]:
    """The first ten seconds of every real 12-lead ECG that can be read, by record id."""
    found = {}
    for described in records.discover(str(realdata)):
        source = records.open_source(described, 0, 100)
        for entry in source.index():
            try:
                record = source.read(entry)
                ordered, _ = ecg.order_leads(record.signal, record.leads)
            except BadRecord:
                continue
            found[entry.record_id] = signal.first_seconds(ordered, record.rate_hz, 10), record.rate_hz
    return found


@pytest.mark.real
def test_known_flat_leads_of_real_records_are_found(real_ecgs):
    flags = {name: quality.check(*ecg) for name, ecg in real_ecgs.items() if name.startswith("csn/")}
    assert {name: found for name, found in flags.items() if found} == {
        "csn/JS20008": ["flat:V2", "flat:V4", "flat:V6"],
        "csn/JS45544": [f"flat:V{number}" for number in range(1, 7)],
        "csn/JS45551": ["flat:V4", "flat:V5", "flat:V6"],
    }


@pytest.mark.real
def test_real_records_are_judged_alike_in_microvolts_and_millivolts(real_ecgs):
    whole = [found for found in real_ecgs.values() if found[0].dtype == np.int16]
    assert len(whole) > len(real_ecgs) / 2
    for signal_uv, rate_hz in whole:
        verdicts = []
        for form in (signal_uv, ecg.to_millivolts(signal_uv)):
            try:
                verdicts.append(quality.check(form, rate_hz))
            except BadRecord as error:
                verdicts.append([error.reason])
        assert verdicts[0] == verdicts[1]


@pytest.mark.real
def test_real_records_keep_einthoven_and_only_planted_swaps_are_found(real_ecgs):
    usable = {name: ecg for name, ecg in real_ecgs.items() if len(ecg[0][0]) >= 2 * ecg[1]}
    flags = [flag for ecg in usable.values() for flag in quality.check(*ecg)]
    assert not {"einthoven", "arm_leads_swapped", *AUGMENTED} & set(flags)
    found = [_swapped(swap_arms(one), rate_hz) for one, rate_hz in usable.values()]
    assert np.mean(found) > 0.85
