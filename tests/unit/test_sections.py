"""What a report says of the patient, the question or another ECG is no finding of this one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supreme.reports import statements
from supreme.reports.extract import RuleExtractor
from supreme.reports.tokens import load_table

pytestmark = pytest.mark.unit

RULES = RuleExtractor()
HEADERS = load_table("sections")["headers"]


def present(report: str) -> set[str]:
    mentions = [m for part in statements.split(report) for m in RULES.extract(part)]
    return {m.entity for m in mentions if m.assertion == "present"}


def said(report: str) -> set[str]:
    return {m.entity for part in statements.split(report) for m in RULES.extract(part)}


LAYOUTS = ("{0}: AF. {1}: LBBB.", "{0}: AF\n{1}: LBBB", "{0}:\nAF\nold AF\n\n{1}:\nLBBB",
           "{0} - AF\n{1} - LBBB",
           "## {0}\nAF\n## {1}\nLBBB", "**{0}:** AF. **{1}:** LBBB", "{0} 12/03/2019\nAF\n{1}\nLBBB",
           "{1}: LBBB. {0}: AF.", "{1}:\nLBBB\n\n{0}:\nAF")  # fmt: skip


@settings(deadline=None)
@given(
    st.sampled_from(HEADERS["patient"] + HEADERS["other_ecg"]),
    st.sampled_from(HEADERS["this_ecg"]),
    st.sampled_from(LAYOUTS),
    st.sampled_from([str.title, str.upper, str.lower, str.capitalize]),
)
def test_every_header_in_every_layout(away: str, here: str, layout: str, case: object) -> None:
    report = layout.format(case(away), case(here))  # type: ignore[operator]
    assert present(report) & {"atrial_fibrillation", "left_bundle_branch_block"} == {
        "left_bundle_branch_block"
    }


@pytest.mark.parametrize(
    "report",
    [
        "h/o AF, LBBB now",
        "LBBB. History of paroxysmal atrial fibrillation.",
        "Family history of AF. LBBB",
        "LBBB, AF by history",
        "LBBB. On the previous ECG there was AF.",
        "LBBB. Compared with ECG of 2019: AF then.",
        "Im Vor-EKG vom 12.03.2019 Vorhofflimmern, jetzt LSB.",
        "Vor-EKG vom 3. Mai 2020: Vorhofflimmern. Aktuell: LSB",
        "LSB, anamnestisch Vorhofflimmern",
        "LSB. Vorhofflimmern damals.",
        "Vänstergrenblock. Tidigare EKG visade förmaksflimmer.",
        "Vänstergrenblock. Hereditet: förmaksflimmer",
        "Indication: syncope, AF. LBBB",
        "Reason for exam: AF\nLBBB",
        "Indication:\nAF\n\nLBBB",
        "Previous ECG: AF, now LBBB",
        "Mother with AF. LBBB",
        "No history of AF. LBBB",
        "ECG 2019: AF. ECG today: LBBB",
        "EKG från 2019: förmaksflimmer. Dagens EKG: vänstergrenblock",
        "Last ECG AF, today LBBB",
        "LBBB. The patient had AF last year.",
        "Indication: r/o\nAF\nLBBB",
    ],
)
def test_other_times_and_people_are_not_said(report: str) -> None:
    assert said(report) == {"left_bundle_branch_block"}


@pytest.mark.parametrize(
    "report",
    [
        "Known AF", "Bekanntes Vorhofflimmern", "Z.n. Infarkt, AF", "AF, unchanged from the previous ECG",
        "AF, as on the previous ECG", "Compared with the previous ECG, AF is new", "Comparison: AF is new.",
        "Compared with ECG of 12.3.2019: AF persists", "Im Vergleich zum Vor-EKG neu: Vorhofflimmern",
        "Tidigare EKG: förmaksflimmer kvarstår", "Rhythm: AF", "Diagnosis: AF", "ECG: AF", "AF then VT",
        "Beurteilung: AF", "Impression:\nAF", "No comparison available. AF",
        "History taking was difficult. AF", "LBBB seen on the old ECG is unchanged. AF",
        "ECG 12/03/2019: AF",
    ],
)  # fmt: skip
def test_this_ecg_is_said(report: str) -> None:
    assert "atrial_fibrillation" in present(report)
