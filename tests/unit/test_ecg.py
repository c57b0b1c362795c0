"""The signal contract: leads by name, whatever the order, case and prefix of the source."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from supreme.ecg import (
    LEADS,
    MIMIC_LEADS,
    BadRecord,
    canonical_lead,
    millivolts_per_unit,
    order_leads,
    to_microvolts,
    to_millivolts,
    whole_microvolts,
)

pytestmark = pytest.mark.unit

SIGNAL_MV = np.arange(12 * 5, dtype=np.float32).reshape(12, 5)


def _spellings(lead: str) -> st.SearchStrategy[str]:
    spelt = st.sampled_from([lead, lead.upper(), lead.lower(), f" {lead} ", f"Lead {lead}", f"lead_{lead}"])
    return spelt


@given(
    order=st.permutations(range(12)), spelt=st.tuples(*(_spellings(lead) for lead in LEADS)), data=st.data()
)
def test_any_order_and_spelling_of_the_leads_gives_the_same_array(order, spelt, data):
    names = [spelt[i] for i in order]
    ordered, derived = order_leads(SIGNAL_MV[list(order)], names)
    np.testing.assert_array_equal(ordered, SIGNAL_MV)
    assert ordered.dtype == np.float32
    assert not derived


def test_mimic_order_is_not_taken_for_the_contract_order():
    source = np.stack([np.full(3, LEADS.index(lead)) for lead in MIMIC_LEADS])
    ordered, _ = order_leads(source, MIMIC_LEADS)
    np.testing.assert_array_equal(ordered[:, 0], np.arange(12))


def test_limb_leads_are_derived_only_when_asked():
    rng = np.random.default_rng(0)
    one, two = rng.normal(size=(2, 100))
    chest = rng.normal(size=(6, 100))
    names = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
    with pytest.raises(BadRecord, match=r"missing_leads.*derive_limb_leads=true"):
        order_leads(np.vstack([one, two, chest]), names)
    ordered, derived = order_leads(np.vstack([one, two, chest]), names, derive_limb_leads=True)
    assert derived
    limb = dict(zip(LEADS, ordered, strict=True))
    np.testing.assert_allclose(limb["III"], two - one, rtol=1e-5, atol=1e-6)
    # Goldberger: the three augmented leads cancel, and Einthoven: aVF = (II + III) / 2.
    np.testing.assert_allclose(limb["aVR"] + limb["aVL"] + limb["aVF"], 0, atol=1e-6)
    np.testing.assert_allclose(limb["aVF"], (limb["II"] + limb["III"]) / 2, atol=1e-6)
    np.testing.assert_allclose(limb["aVL"], (limb["I"] - limb["III"]) / 2, atol=1e-6)


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ((*LEADS[:11], "X"), "unknown_lead"),
        ((*LEADS[:11], "V5"), "duplicate_lead"),
        ((*LEADS[:11], "v5"), "duplicate_lead"),
        (LEADS[:11], "missing_leads"),
    ],
)
def test_wrong_leads_are_refused_with_a_reason(names, reason):
    with pytest.raises(BadRecord) as caught:
        order_leads(SIGNAL_MV[: len(names)], names, derive_limb_leads=True)
    assert caught.value.reason == reason


def test_a_missing_chest_lead_is_never_derived():
    names = [lead for lead in LEADS if lead != "V3"]
    with pytest.raises(BadRecord, match="without V3"):
        order_leads(SIGNAL_MV[:11], names, derive_limb_leads=True)


@settings(max_examples=50)
@given(hnp.arrays(np.int16, (12, 20), elements=st.integers(-32767, 32767)))
def test_microvolts_survive_the_way_through_millivolts(signal_uv):
    signal_mv = to_millivolts(signal_uv)
    assert signal_mv.dtype == np.float32
    np.testing.assert_array_equal(to_microvolts(signal_mv), signal_uv)
    np.testing.assert_array_equal(whole_microvolts(signal_mv), signal_uv)
    assert whole_microvolts(signal_mv).dtype == np.int16
    assert whole_microvolts(signal_uv) is to_microvolts(signal_uv) is signal_uv


@pytest.mark.parametrize(
    "value", [0.0005, 33.0, np.nan, np.inf, np.nextafter(np.float32(0.2), np.float32(1))]
)
def test_one_value_that_is_not_a_whole_microvolt_leaves_all_as_they_are(value):
    signal_mv = to_millivolts(np.arange(24, dtype=np.int16).reshape(12, 2))
    signal_mv[7, 1] = value
    assert whole_microvolts(signal_mv) is signal_mv


def test_amplitudes_beyond_int16_are_clipped_not_wrapped():
    np.testing.assert_array_equal(
        to_microvolts(np.array([40.0, -40.0, 0.0004, 0.0006])), [32767, -32767, 0, 1]
    )


@given(order=st.permutations(range(15)))
def test_other_channels_are_left_out_where_all_twelve_are_there(order):
    names = (*LEADS, "vx", "vy", "Resp")
    signal_mv = np.vstack([SIGNAL_MV, np.full((3, 5), 99)])
    ordered, derived = order_leads(signal_mv[order], [names[i] for i in order])
    np.testing.assert_array_equal(ordered, SIGNAL_MV)
    assert not derived


def test_a_lead_under_an_unknown_name_is_not_taken_for_another_channel():
    with pytest.raises(
        BadRecord,
        match=r"unknown_lead: 'MCL1', 'vx' is none of the twelve; V1 not found; if.*sources.N.leads=",
    ):
        order_leads(np.vstack([SIGNAL_MV, SIGNAL_MV[:1]]), [*LEADS[:6], "MCL1", *LEADS[7:], "vx"])


_PREFIXES = (
    "",
    "MDC_ECG_LEAD_",
    "mdc_ecg_elec_potl_",
    "ECG ",
    "ECG_",
    "EKG ",
    "ecg-",
    "Lead ",
    "LEAD",
    "Ableitung ",
)
_UNITS = ("", " (mV)", " [uV]", "_mV", "/mV", ", mV", " (µV)", " {millivolts}")
_NEGATED = (
    "-{}",
    "\u2212{}",
    "- {}",
    "minus {}",
    "{}neg",
    "{} neg",
    "neg_{}",
    "{} inverted",
    "inv. {}",
    "{} (inverted)",
)


@given(
    st.sampled_from(LEADS),
    st.sampled_from(_PREFIXES),
    st.sampled_from(_UNITS),
    st.sampled_from([str, str.upper, str.lower, lambda name: f" {name} "]),
)
def test_a_lead_is_known_under_every_prefix_unit_and_case(lead, prefix, unit, case):
    assert canonical_lead(case(f"{prefix}{lead}{unit}")) == (lead, 1)


@given(
    st.sampled_from(LEADS), st.sampled_from(_NEGATED), st.sampled_from(("", "MDC_ECG_LEAD_", "ECG ", "Lead "))
)
def test_a_negated_lead_has_its_sign_and_is_turned(lead, negated, prefix):
    assume(prefix == "" or not negated.startswith("- "))  # there it separates
    names = [prefix + negated.format(one) if one == lead else one for one in LEADS]
    assert canonical_lead(names[LEADS.index(lead)]) == (lead, -1)
    source = np.arange(24, dtype=np.int16).reshape(12, 2)
    ordered, _ = order_leads(source, names)
    assert ordered.dtype == np.int16
    expected = source * np.where([one == lead for one in LEADS], -1, 1)[:, None]
    np.testing.assert_array_equal(ordered, expected)
    np.testing.assert_array_equal(source, np.arange(24).reshape(12, 2))  # the source's own memory stays


@pytest.mark.parametrize(
    ("name", "lead"),
    [
        *[(name, "I") for name in ("DI", "D1", "Ⅰ", "I+", "+I", "i lead")],
        *[(name, "III") for name in ("DIII", "d3", "Ⅲ", "ECG - III")],
        *[(name, "aVR") for name in ("aVR+", "a VR", "Lead-aVR", "A_VR")],
        *[(name, "V4") for name in ("V 4", "V_4", "v4 (mV)")],
    ],
)
def test_other_spellings_of_leads(name, lead):
    assert canonical_lead(name) == (lead, 1)


@pytest.mark.parametrize(
    "name",
    [
        "V1-",
        "aVR-",
        "--aVR",
        "V7",
        "V1R",
        "V10",
        "IV",
        "VI",
        "I, II",
        "I-II",
        "II (raw)",
        "I (mmHg)",
        "vx",
        "C1",
        "MCL1",
        "Resp",
        "ABP",
        "VR",
        "1",
        "ECG 1",
        "D4",
        "lead",
        "-",
        "",
        "ecg" * 500,
        " " * 500,
        "(" * 500,
        "I" * 99,
    ],
)
def test_what_may_mean_something_else_is_no_lead(name):
    assert canonical_lead(name) is None


@pytest.mark.parametrize(
    ("units", "millivolts"),
    [
        (("mV", "MV", "mv", " mV ", "millivolt", "MilliVolts", "mVolt"), 1.0),
        (("uV", "UV", "µV", "μV", "ÂµV", "microvolt", "Microvolts", "mcV"), 1e-3),
        (("V", "volt", "Volts"), 1e3),
        (("nV", "nanovolts"), 1e-6),
        (("mmHg", "NU", "adu", "", "bpm", "V/s", "µ", "mVs", "%"), None),
    ],
)
def test_units_of_voltages(units, millivolts):
    assert {unit: millivolts_per_unit(unit) for unit in units} == dict.fromkeys(units, millivolts)


def test_two_channels_of_one_lead_are_named():
    with pytest.raises(BadRecord, match="duplicate_lead: 'aVR' and '-aVR' are both lead aVR: keep one"):
        order_leads(np.vstack([SIGNAL_MV, SIGNAL_MV[:1]]), [*LEADS, "-aVR"])


def test_spelling_of_lead_names():
    names = ("AVR", "lead_v1", " ii ", "vx", "")
    assert [canonical_lead(name) for name in names] == [("aVR", 1), ("V1", 1), ("II", 1), None, None]
