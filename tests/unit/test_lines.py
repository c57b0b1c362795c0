"""Wrapped lines are joined, lists of lines stay apart."""

from __future__ import annotations

import textwrap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supreme.reports.lines import unwrap

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    "report",
    [
        "No evidence of\natrial fibrillation",
        "NO EVIDENCE OF\nATRIAL FIBRILLATION",
        "cannot rule out\nOLD INFARCT",
        "Kein Hinweis auf\nVorhofflimmern",
        "Inga tecken på\nförmaksflimmer",
        "LVH,\nRBBB",
        "LVH\nor RVH",
        "Left bundle\nBranch block",
        "Sinus rhythm. Wide complex\ntachycardia at night.",
        "Possible\nleft atrial enlargement",
        "Rechtsschenkelblock. V.a.\nInfarkt",
        "Pericarditis:\nno",
        "ST elevation is not\nseen",
    ],
)
def test_a_line_that_cannot_end_there_goes_on(report: str) -> None:
    assert unwrap(report) == [report.replace("\n", " ")]


@pytest.mark.parametrize(
    "report",
    [
        "Sinus rhythm\nLeft axis deviation\nNo LVH\nRBBB",
        "sinusrhythmus\nlinkstyp\nkein av-block\nlinksschenkelblock",
        "AF: no\nLBBB: yes",
        "AF - no\nLBBB - yes",
        "AF: no\nh/o MI. Low voltage.",
        "AF no\nLBBB yes",
        "Inferior infarct, old\nlow voltage",
        "LVH, possible\nNo P waves",
        "AV-Block II. Grades\npathologisches EKG",
        "Pattern type A\nSinus rhythm",
        "Atrial fibrillation\n[ ] LBBB",
        "No evidence of\n\nLBBB",
        "AF ses ej\nSinusrytm",
        "MI ruled out\nAF",
    ],
)
def test_lines_of_a_list_stay_apart(report: str) -> None:
    assert unwrap(report) == report.split("\n")


def test_hyphens_at_a_line_s_end() -> None:
    assert unwrap("Vorhof-\nflimmern, AV-\nBlock") == ["Vorhofflimmern, AV-Block"]


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from(["No evidence of atrial fibrillation or flutter was found in this recording.",
                         "The rhythm is regular and the axis is deviated to the left without a known cause.",
                         "There are frequent ventricular premature complexes in couplets and short runs."]),
        min_size=1, max_size=5,
    ),
    st.integers(30, 90),
)  # fmt: skip
def test_prose_of_any_width_comes_back(sentences: list[str], width: int) -> None:
    prose = " ".join(sentences)
    lines = unwrap(textwrap.fill(prose, width))
    assert " ".join(lines) == prose
    # A break is left only where a sentence ends.
    assert all(line.endswith(".") for line in lines)
