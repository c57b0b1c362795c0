"""A finding of an earlier time is no label of this ECG."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supreme.reports.extract import RuleExtractor
from supreme.reports.statements import split

pytestmark = pytest.mark.unit

RULES = RuleExtractor()
#: A rhythm, of which an ECG shows one at a time, in three languages.
RHYTHMS = {
    "sinus_rhythm": ("sinus rhythm", "SR", "Sinusrhythmus", "sinusrytm"),
    "atrial_fibrillation": ("AF", "atrial fibrillation", "Vorhofflimmern", "förmaksflimmer"),
    "atrial_flutter": ("atrial flutter", "Vorhofflattern", "förmaksfladder"),
    "second_degree_av_block": ("second degree AV block",),
}
REPLACED = (
    *("{} in 2019, now {}", "known {}, currently {}", "was in {}, now {}", "{} 2019, today {}"),
    *("Prior {}. Now {}.", "{}, {} at present", "bekanntes {}, aktuell {}", "Z.n. {}, jetzt {}"),
    *(
        "{} (2017), now in {}",
        "känt {}, nu {}",
        "tidigare {}, för närvarande {}",
        "{} im März 2019, derzeit {}",
    ),
)
EARLIER = (
    *("prior {}", "previous {}", "Formerly in {}.", "früher {}", "tidigare {}", "{} in 2018"),
    *("{} was seen in 2019", "{} (2020)", "{} von 2019", "prior paroxysmal {}"),
)


def present(report: str) -> set[str]:
    return {m.entity for part in split(report) for m in RULES.extract(part) if m.assertion == "present"}


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from(REPLACED),
    st.permutations(["sinus_rhythm", "atrial_fibrillation", "atrial_flutter"]),
    st.data(),
)
def test_the_rhythm_of_today_alone_is_present(frame: str, entities: list[str], data: st.DataObject) -> None:
    before, now = (data.draw(st.sampled_from(RHYTHMS[entity])) for entity in entities[:2])
    assert present(frame.format(before, now)) == {entities[1]}


@pytest.mark.parametrize("frame", EARLIER)
@pytest.mark.parametrize("entity", RHYTHMS)
def test_what_was_earlier_is_not_mentioned(frame: str, entity: str) -> None:
    for name in RHYTHMS[entity]:
        text = frame.format(name)
        assert not [m for part in split(text) for m in RULES.extract(part)], text
        assert present(f"LBBB. {text}") == {"left_bundle_branch_block"}, text


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        ("Prior inferior infarct", "inferior_infarction"),
        ("prior MI, now sinus rhythm", "old_myocardial_infarction sinus_rhythm"),
        ("Z.n. Vorderwandinfarkt 2012, aktuell Sinusrhythmus", "anterior_infarction sinus_rhythm"),
        ("LBBB since 2019", "left_bundle_branch_block"),
        ("known LBBB", "left_bundle_branch_block"),
        ("LBBB, now AF", "left_bundle_branch_block atrial_fibrillation"),
        ("AF in 2019 and again today", "atrial_fibrillation"),
        ("unchanged from prior LBBB", "left_bundle_branch_block"),
        ("Since the previous tracing of 2019 AF is new", "atrial_fibrillation"),
        ("Compared to prior ECG, AF now present", "atrial_fibrillation"),
        ("AF, now with rapid ventricular response", "rapid_atrial_fibrillation"),
        ("ST elevation in V2, sinus rhythm", "st_elevation sinus_rhythm"),
        ("sinus rhythm with periods of AF", "sinus_rhythm atrial_fibrillation"),
    ],
)
def test_what_this_ecg_shows_stays(report: str, expected: str) -> None:
    assert present(report) == set(expected.split())


def test_what_is_denied_stays_denied() -> None:
    mentions = {
        m.entity: m.assertion for part in split("No AF, now sinus rhythm") for m in RULES.extract(part)
    }
    assert mentions == {"atrial_fibrillation": "absent", "sinus_rhythm": "present"}
