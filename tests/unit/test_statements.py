"""Reports are cut into statements; spelling, case and label leaks do not get through."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supreme.reports import leads, statements
from supreme.reports.tokens import tokenize

pytestmark = pytest.mark.unit


def words(text: str) -> list[str]:
    return [token.text for token in tokenize(text)]


def test_lines_are_statements_and_a_dash_line_qualifies_the_one_before() -> None:
    report = "Sinus rhythm.\n- premature atrial contractions\n\nLeft axis deviation\nAbnormal ECG"
    assert statements.split(report) == [
        "Sinus rhythm - premature atrial contractions",
        "Left axis deviation",
        "Abnormal ECG",
    ]


def test_sentences_are_cut_but_not_after_abbreviations_or_grades() -> None:
    assert statements.split("Sinus rhythm. Low voltage; normal ECG") == [
        "Sinus rhythm.",
        "Low voltage;",
        "normal ECG",
    ]
    assert statements.split("neg. T in V4, path. Q in III") == ["neg. T in V4, path. Q in III"]
    assert statements.split("v. a. Infarkt") == ["v. a. Infarkt"]
    assert statements.split("? old infarct. LBBB?") == ["? old infarct.", "LBBB?"]
    assert statements.split("AV-Block I. Grades. Linkstyp") == ["AV-Block I. Grades.", "Linkstyp"]


@pytest.mark.parametrize(
    ("report", "kept"),
    [
        ("normal ecg. Edit: NORM 100, SR 0", ["normal ecg."]),
        ("sinus rhythm. consensus label derived from: {'SR': 0.0, 'AFIB': 0.0}", ["sinus rhythm."]),
        ("EDIT: AFIB 100\nLBBB", []),
        ("trace only requested.", []),
        ("normales ekg 4.46                unbestÄtigter bericht", ["normales ekg"]),
        ("normales ekg 4.46       unbest", ["normales ekg"]),
        ("", []),
    ],
)
def test_label_leaks_and_system_notes_are_removed(report: str, kept: list[str]) -> None:
    assert statements.split(report) == kept


def test_umlauts_in_every_spelling_are_one_statement() -> None:
    spellings = [
        "Überdrehter Linkstyp",
        "ueberdrehter  linkstyp",
        "#BERDREHTER LINKSTYP.",
        " ÜBERDREHTER linkstyp",
    ]
    assert len({statements.digest(text) for text in spellings}) == 1
    assert statements.digest("Linkstyp") != statements.digest("Rechtstyp")


@given(st.text(max_size=100))
def test_fold_is_idempotent(text: str) -> None:
    once = statements.fold(text)
    assert statements.fold(once) == once


def test_tokens_keep_their_place_in_the_text() -> None:
    text = "Vorhofflimmern, ST-Hebung in V1-V3 möglich"
    tokens = tokenize(text)
    assert [text[t.start : t.end] for t in tokens] == [
        "Vorhofflimmern", ",", "ST", "Hebung", "in", "V1-V3", "möglich",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("A-V block", "AV block"),
        ("PVC(s)", "PVCs"),
        ("ventrikulÄre extrasystole(n)", "ventrikuläre Extrasystole"),
        ("inferiorer Infarkt", "inferiore Infarkte"),
        ("f#r", "für"),
        ("I.V. conduction", "IV conduction"),
        ("ischaemia", "ischemia"),
        ("ST & T", "ST and T"),
        ("PREMATURE ATRIAL CONTRACTION(S)", "premature atrial contractions"),
        ("supraventr. Extrasystolen", "supraventrikuläre Extrasystole"),
        ("QTc", "QT"),
        ("AV-Block 1.Grades", "AV-Block 1 Grades"),
    ],
)
def test_variants_give_the_same_tokens(left: str, right: str) -> None:
    assert words(left) == words(right)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("in II, III, aVF", "ii iii avf"),
        ("V4-V6", "v4 v5 v6"),
        ("v4,5,6.", "v4 v5 v6"),
        ("V1 to V3 and I", "v1 v2 v3 i"),
        ("v3 - 5", "v3 v4 v5"),
        ("in I", "i"),
        ("in II, III, F", "ii iii avf"),
        ("I-III", "i ii iii"),
        ("r, l, f", ""),
        ("İST-HEBUNG IN V1-V2", "v1 v2"),
        ("i v4-v6", "v4 v5 v6"),
        ("i, avl, v5", "i avl v5"),
        ("A-V block I, II", ""),
        ("AV-Block II Typ Mobitz", ""),
        ("sinus rhythm", ""),
        ("over 100 V 2:1", ""),
    ],
)
def test_lead_lists(text: str, names: str) -> None:
    assert [name for _, _, found in leads.find(text) for name in found] == names.split()


@pytest.mark.parametrize(
    ("names", "walls"),
    [
        ("ii iii avf", "inferior"),
        ("v1 v2 v3 v4", "anterior"),
        ("v1 v2", "septal"),
        ("v4 v5 v6", "lateral"),
        ("v3 v4 v5 v6", "anterior lateral"),
        ("i avl", "lateral"),
        ("i ii avl v5 v6", "lateral"),
        ("ii iii avf v5 v6", "lateral inferior"),
        ("avr", ""),
        ("v1", ""),
        ("iii", ""),
        ("ii iii avf v6", "inferior"),
        ("v2 v3 avl", "anterior"),
    ],
)
def test_walls_of_leads(names: str, walls: str) -> None:
    assert leads.walls(names.split()) == tuple(walls.split())
