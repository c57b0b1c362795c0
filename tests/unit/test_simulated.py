"""Simulated ECGs: reproducible, and what is said to be there can be measured in the drawn signal."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from ecg_measures import Reading
from simulated_truth import conditions

from supreme.ecg import LEADS
from supreme.records import Entry, Record
from supreme.records.simulated import DURATION_S, SimulatedSource

pytestmark = pytest.mark.unit

SEED, DRAWS, RATE_HZ = 7, 4000, 500
ECTOPY = {"ventricular_premature_complex", "atrial_premature_complex", "ventricular_bigeminy"}
WIDE_OR_ECTOPIC = ECTOPY | {"bundle_branch_block", "wide_qrs", "ventricular_preexcitation"}


def _source(records: int = DRAWS, seed: int = SEED, rate_hz: float = RATE_HZ) -> SimulatedSource:
    return SimulatedSource("simulated", records, seed, rate_hz=rate_hz)


def _read(number: int, seed: int = SEED, rate_hz: float = RATE_HZ) -> Record:
    source = _source(seed=seed, rate_hz=rate_hz)
    return source.read(source.index()[number])


def _same(one: Record, other: Record) -> bool:
    entries = (one.entry.report, one.entry.codes, one.entry.age, one.entry.sex)
    return np.array_equal(one.signal_mv, other.signal_mv) and entries == (
        other.entry.report,
        other.entry.codes,
        other.entry.age,
        other.entry.sex,
    )


@cache
def _readings(
    having: tuple[str, ...], without: frozenset[str] = frozenset(), count: int = 30
) -> list[Reading]:
    """The first records of the seed with all of ``having`` and none of ``without``."""
    source, readings = _source(), []
    index = source.index()
    for number in range(DRAWS):
        if set(having) <= conditions(SEED, number) and not without & conditions(SEED, number):
            record = source.read(index[number])
            assert set(record.entry.codes) == conditions(SEED, number)
            readings.append(Reading(record.signal_mv, RATE_HZ))
            if len(readings) == count:
                break
    assert len(readings) >= 12, f"{having}: only {len(readings)} in {DRAWS} records"
    return readings


def _median(measure: Callable[[Reading], float], *having: str, without: set[str] = ECTOPY) -> float:
    return float(np.median([measure(reading) for reading in _readings(having, frozenset(without))]))


def _share(holds: Callable[[Reading], bool], *having: str, without: set[str] = ECTOPY) -> float:
    return float(np.mean([holds(reading) for reading in _readings(having, frozenset(without))]))


# ---- reproducible


def test_a_record_does_not_depend_on_the_others() -> None:
    numbers = [3, 0, 17, 8]
    source, longer = _source(20), _source(200_000)
    forward = {n: source.read(source.index()[n]) for n in sorted(numbers)}
    shuffled = {n: source.read(source.index()[n]) for n in random.Random(0).sample(numbers, 4)}
    for n in numbers:
        assert _same(forward[n], shuffled[n])
        alone = longer.read(Entry(f"simulated/{n:06d}", "simulated", "simulated/p"))
        assert _same(forward[n], alone)


def test_seeds_and_records_differ() -> None:
    drawn = [_read(number, seed=seed).signal_mv for seed in (1, 2) for number in (0, 1)]
    for place, one in enumerate(drawn):
        for other in drawn[place + 1 :]:
            assert np.abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.9


def test_index_is_sorted_unique_and_says_nothing_of_the_truth() -> None:
    index = _source(1300).index()
    ids = [entry.record_id for entry in index]
    assert ids == sorted(set(ids))
    assert len(ids) == 1300
    assert len({entry.patient_id for entry in index}) == 1000
    assert all(entry.codes == () and entry.report == "" and entry.split is None for entry in index)


@pytest.mark.parametrize("rate_hz", [100, 250, 500])
def test_record_keeps_the_contract(rate_hz: int) -> None:
    record = _read(5, rate_hz=rate_hz)
    assert record.leads == LEADS
    assert record.rate_hz == rate_hz
    assert record.signal_mv.shape == (12, DURATION_S * rate_hz)
    assert record.signal_mv.dtype == np.float32
    assert np.isfinite(record.signal_mv).all()
    assert record.entry.sex in ("F", "M")
    assert 18 <= (record.entry.age or 0) <= 95
    assert record.entry.report.strip()
    assert record.entry.codes == tuple(sorted(record.entry.codes))


def test_truth_does_not_depend_on_the_rate() -> None:
    for number in range(20):
        slow, fast = _read(number, rate_hz=100), _read(number, rate_hz=500)
        assert slow.entry == fast.entry
        beats_of = [len(Reading(r.signal_mv, r.rate_hz).beats) for r in (slow, fast)]
        assert abs(beats_of[0] - beats_of[1]) <= max(2, 0.2 * beats_of[1])


def test_limb_leads_obey_einthoven_and_goldberger() -> None:
    for number in range(40):
        lead = dict(zip(LEADS, _read(number, rate_hz=100).signal_mv.astype(np.float64), strict=True))
        pairs = {
            "III": lead["II"] - lead["I"],
            "aVR": -(lead["I"] + lead["II"]) / 2,
            "aVL": lead["I"] - lead["II"] / 2,
            "aVF": lead["II"] - lead["I"] / 2,
        }
        for name, expected in pairs.items():
            assert np.allclose(lead[name], expected, atol=2e-6), (number, name)


def test_many_conditions_occur() -> None:
    drawn = [conditions(SEED, number) for number in range(DRAWS)]
    counts = {name: sum(name in codes for codes in drawn) for name in set().union(*drawn)}
    assert sum(count >= 20 for count in counts.values()) >= 35
    assert 0.10 < counts["normal_ecg"] / DRAWS < 0.45


def test_truth_does_not_contradict_itself() -> None:
    basic = {
        "sinus_rhythm",
        "sinus_bradycardia",
        "sinus_tachycardia",
        "atrial_fibrillation",
        "atrial_flutter",
    }
    basic |= {"paced_rhythm", "ventricular_tachycardia", "third_degree_av_block", "junctional_rhythm"}
    for number in range(DRAWS):
        true = conditions(SEED, number)
        assert len(true & basic) <= 1, (number, true)
        assert not {"tachycardia", "bradycardia"} <= true
        assert not {"left_axis_deviation", "right_axis_deviation"} <= true
        assert not {"long_qt", "short_qt"} <= true
        assert not {"left_bundle_branch_block", "right_bundle_branch_block"} <= true
        if "normal_ecg" in true:
            assert true <= {"normal_ecg", "sinus_rhythm", "sinus_arrhythmia", "early_repolarization"}


# ---- physiology, measured from the signal


def test_heart_rate() -> None:
    assert _median(lambda r: r.rate_per_minute, "sinus_tachycardia") > 98
    assert _median(lambda r: r.rate_per_minute, "sinus_bradycardia") < 62
    assert 60 < _median(lambda r: r.rate_per_minute, "normal_ecg") < 90
    assert _share(lambda r: r.rate_per_minute > 98, "sinus_tachycardia") > 0.9
    assert _share(lambda r: r.rate_per_minute < 62, "sinus_bradycardia") > 0.9


def test_atrial_fibrillation_is_irregular_without_p() -> None:
    narrow = ECTOPY | {"wide_qrs", "tachycardia", "third_degree_av_block"}
    assert _median(lambda r: r.irregularity, "atrial_fibrillation", without=narrow) > 0.12
    assert _median(lambda r: r.irregularity, "normal_ecg") < 0.06
    p_mv = _median(lambda r: r.p_size(), "normal_ecg")
    assert p_mv > 0.08
    assert _median(lambda r: r.p_size(), "atrial_fibrillation", without=narrow) < 0.65 * p_mv


def test_left_bundle_branch_block() -> None:
    block = ("sinus_rhythm", "left_bundle_branch_block")
    assert _median(lambda r: r.qrs_s, *block) > _median(lambda r: r.qrs_s, "normal_ecg") + 0.03
    for lead in ("V5", "V6"):
        discordant = _share(lambda r, lead=lead: r.qrs_area(lead) * r.t_area(lead) < 0, *block)
        assert discordant > 0.75, lead
        assert _share(lambda r, lead=lead: r.qrs_area(lead) * r.t_area(lead) > 0, "normal_ecg") > 0.7
    assert _share(lambda r: r.qrs_area("V1") < 0, *block) > 0.85


def test_right_bundle_branch_block() -> None:
    def terminal(reading: Reading) -> float:
        return float(reading.qrs("V1")[-round(0.04 * RATE_HZ) :].mean())

    def late_s(reading: Reading) -> float:
        return float(reading.qrs("V6")[-round(0.04 * RATE_HZ) :].mean())

    block = ("right_bundle_branch_block",)
    assert _median(terminal, *block) > 0.1
    assert _share(lambda r: terminal(r) > 0, *block) > 0.8
    assert _median(terminal, "normal_ecg") < 0
    assert _median(late_s, *block) < 0
    assert _median(lambda r: r.qrs_s, *block) > _median(lambda r: r.qrs_s, "normal_ecg") + 0.03


def test_pacing_spike_stands_before_a_wide_beat() -> None:
    sharpness = _median(lambda r: r.spike()[0], "paced_rhythm")
    assert sharpness > 2 * _median(lambda r: r.spike()[0], "normal_ecg")
    assert -0.12 < _median(lambda r: r.spike()[1], "paced_rhythm") < -0.01
    assert _median(lambda r: r.qrs_s, "paced_rhythm") > 0.12


def test_premature_ventricular_beat_is_early_and_wide() -> None:
    without = frozenset(
        {"bundle_branch_block", "wide_qrs", "ventricular_bigeminy", "atrial_premature_complex"}
    )
    early, wider = [], []
    for reading in _readings(("sinus_rhythm", "ventricular_premature_complex"), frozenset(without)):
        place = reading.oddest()
        early.append(reading.rr_s[place - 1] / np.median(reading.rr_s))
        wider.append(reading.qrs_width_of(reading.beats[place]) - reading.qrs_s)
    assert np.median(early) < 0.85
    assert np.median(wider) > 0.03


def test_old_inferior_infarction_has_q_waves() -> None:
    def q_mv(reading: Reading, lead: str) -> float:
        return -float(min(0.0, reading.qrs(lead)[: round(0.04 * RATE_HZ)].min()))

    turned = {"left_anterior_fascicular_block", "left_axis_deviation", "left_posterior_fascicular_block"}
    turned |= WIDE_OR_ECTOPIC | {"right_axis_deviation", "right_ventricular_hypertrophy", "low_qrs_voltage"}
    for lead in ("II", "aVF"):
        infarct = _median(
            lambda r, lead=lead: q_mv(r, lead), "inferior_infarction", "abnormal_q_wave", without=turned
        )
        assert infarct > _median(lambda r, lead=lead: q_mv(r, lead), "normal_ecg") + 0.06, lead


def test_voltage() -> None:
    def sokolow_mv(reading: Reading) -> float:
        return float(-reading.qrs("V1").min() + reading.qrs("V5").max())

    def limb_mv(reading: Reading) -> float:
        return float(max(np.ptp(reading.qrs(lead)) for lead in ("I", "II", "III")))

    normal = _median(sokolow_mv, "normal_ecg")
    assert normal < 3.5
    assert _median(sokolow_mv, "left_ventricular_hypertrophy", without=WIDE_OR_ECTOPIC) > 1.25 * normal
    assert _median(limb_mv, "low_qrs_voltage", without=WIDE_OR_ECTOPIC) < 0.62
    assert _median(limb_mv, "normal_ecg") > 0.7


def test_axis() -> None:
    left, right = ("sinus_rhythm", "left_axis_deviation"), ("sinus_rhythm", "right_axis_deviation")
    without = WIDE_OR_ECTOPIC
    assert _share(lambda r: r.qrs_area("I") > 0 > r.qrs_area("aVF"), *left, without=without) > 0.7
    assert _share(lambda r: r.qrs_area("I") < 0 < r.qrs_area("aVF"), *right, without=without) > 0.7


def test_intervals() -> None:
    blocked = _median(_pr_s, "sinus_rhythm", "first_degree_av_block", without=WIDE_OR_ECTOPIC)
    assert blocked > _median(_pr_s, "normal_ecg") + 0.03
    corrected = [
        _median(
            lambda r: r.t_peak_s() + 0.154 * (1 - float(np.median(r.rr_s))), *having, without=WIDE_OR_ECTOPIC
        )
        for having in (("normal_ecg",), ("sinus_rhythm", "long_qt"))
    ]
    assert corrected[1] > corrected[0] + 0.04


def _pr_s(reading: Reading) -> float:
    """From the peak of P in II to the QRS, looked for in the 0.34 s before it."""
    onset = reading.edges[0]
    first = max(0, onset - round(0.34 * RATE_HZ))
    before = reading.beat[LEADS.index("II"), first : onset - round(0.03 * RATE_HZ)]
    line = np.linspace(before[0], before[-1], len(before))
    return (onset - first - int((before - line).argmax())) / RATE_HZ


def test_walls_of_st_and_t_changes() -> None:
    without = WIDE_OR_ECTOPIC
    normal = _median(lambda r: r.st_mv("aVF"), "normal_ecg")
    assert _median(lambda r: r.st_mv("aVF"), "inferior_st_elevation", without=without) > normal + 0.08
    assert _median(lambda r: r.st_mv("V5"), "lateral_st_depression", without=without) < -0.03
    assert _median(lambda r: r.t_area("aVF"), "inferior_t_wave_inversion", without=without) < -0.005
    assert _median(lambda r: r.t_area("V6"), "lateral_t_wave_inversion", without=without) < 0
    for lead in ("I", "II", "V4", "V5", "V6"):
        assert _share(lambda r, lead=lead: r.t_area(lead) > 0, "normal_ecg") > 0.8, lead
