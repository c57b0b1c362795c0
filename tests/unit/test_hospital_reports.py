"""Reports as public complaints describe them, and what a careful reader takes from each."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supreme.reports.extract import RuleExtractor
from supreme.reports.label_table import ReportLabels, combine
from supreme.reports.statements import split
from supreme.reports.vocabulary import load_base

pytestmark = pytest.mark.unit

RULES = RuleExtractor()
SHORT = {
    "AF": "atrial_fibrillation", "SR": "sinus_rhythm", "LBBB": "left_bundle_branch_block", "QT": "long_qt",
    "LVH": "left_ventricular_hypertrophy", "RBBB": "right_bundle_branch_block", "LAD": "left_axis_deviation",
    "LAFB": "left_anterior_fascicular_block", "STE": "st_elevation", "AMI": "anterior_infarction",
    "OMI": "old_myocardial_infarction", "NORMAL": "normal_ecg", "AFL": "atrial_flutter",
}  # fmt: skip


def labels(report: str) -> ReportLabels:
    return combine([m for part in split(report) for m in RULES.extract(part)], load_base(), propagate=False)


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        ("Atrial fibrillation: no", "AF-"),
        ("LVH: absent\nLBBB: yes", "LVH- LBBB+"),
        ("ST elevation: none", "STE-"),
        ("Vorhofflimmern: nein", "AF-"),
        ("Sinus rhythm_x000D_\nLeft bundle branch block_x000D_", "SR+ LBBB+"),
        ("Sinus rhythm. No evidence of\natrial fibrillation.", "SR+ AF-"),
        ("Sinus rhythm with no\nLVH, cannot rule out\nold anterior infarct.", "SR+ LVH- AMI? OMI?"),
        ("h/o AF, SR now", "SR+"),
        ("Family history of long QT. Sinus rhythm", "SR+"),
        ("Previous ECG: atrial fibrillation. Today: sinus rhythm", "SR+"),
        ("Indication: atrial fibrillation. Findings: sinus rhythm.", "SR+"),
        ("Reason for exam: LBBB on old ECG\nSinus rhythm, normal ECG", "SR+ NORMAL+"),
        ("Sinus rhythm/LBBB", "SR+ LBBB+"),
        ("SR / LAD / LVH", "SR+ LAD+ LVH+"),
        ("RBBB/LAFB", "RBBB+ LAFB+"),
    ],
)
def test_what_is_right(report: str, expected: str) -> None:
    by_sign = {"+": "present", "?": "uncertain", "-": "absent"}
    right = {status: {SHORT[pair[:-1]] for pair in expected.split() if by_sign[pair[-1]] == status}
             for status in by_sign.values()}  # fmt: skip
    assert {status: set(own) for status, own in labels(report)._asdict().items()} == right


PARTS = {
    "LBBB. ": {"left_bundle_branch_block"},
    "Sinus rhythm.\n": {"sinus_rhythm"},
    "No evidence of\natrial flutter.\n": set(),
    "AF: no\n": set(),
    "LVH: yes\n": {"left_ventricular_hypertrophy"},
    "[ ] pericarditis\n": set(),
    "[x] PVCs\n": {"ventricular_premature_complex"},
    "<br>Low voltage.<br>": {"low_qrs_voltage"},
    "h/o MI. ": set(),
    "First degree AV block_x000D_\n": {"first_degree_av_block"},
}
HISTORY = ("History: RAD, RVH.\n", "Anamnese:\nRAD, RVH\n\n", "Tidigare EKG: RAD. ", "")


@given(st.sampled_from(HISTORY), st.lists(st.sampled_from(sorted(PARTS)), min_size=1, unique=True))
def test_parts_of_any_order_add_up(history: str, parts: list[str]) -> None:
    report = f"{history}Findings: Normal axis.\n{''.join(parts)}"
    present = set.union({"normal_axis"}, *(PARTS[part] for part in parts))
    assert set(labels(report).present) == present
