"""Forms: an answer behind a colon, boxes, lists after an answer, slashes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supreme.reports import statements
from supreme.reports.extract import RuleExtractor
from supreme.reports.vocabulary import load_base

pytestmark = pytest.mark.unit

RULES = RuleExtractor()
ANSWERS = {
    "absent": ("no", "No.", "none", "absent", "not seen", "not present", "negative", "-", "–", "N", "nein",
               "Nein", "nicht vorhanden", "neg.", "keine", "Ø", "nej", "saknas", "ej påvisad", "ingen", "0"),
    "present": ("yes", "Yes.", "present", "positive", "+", "Y", "ja", "vorhanden", "pos.", "föreligger"),
    "uncertain": ("?", "unknown", "possible", "unbekannt", "fraglich", "okänt", "+/-", "±", "not assessable"),
}  # fmt: skip
#: Without waves, of which "negative" is no denial, and findings that are the normal of another.
NAMES = [
    (e.id, e.name)
    for e in load_base()
    if e.group in ("rhythm", "conduction", "chambers", "ectopy") and "wave" not in e.name
]


def assertions(report: str, entity: str) -> set[str]:
    parts = statements.split(report)
    return {m.assertion for part in parts for m in RULES.extract(part) if m.entity == entity}


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from(NAMES),
    st.sampled_from([(status, text) for status, texts in ANSWERS.items() for text in texts]),
    st.sampled_from(
        ["{}: {}", "{} : {}", "{}:{}", "{} = {}", "Low voltage?\n{}: {}", "{}: {}\nST elevation: yes"]
    ),
)
def test_any_finding_any_answer(name: tuple[str, str], answer: tuple[str, str], layout: str) -> None:
    entity, text = name
    assert assertions(layout.format(text, answer[1]), entity) == {answer[0]}


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["LVH", "AF", "pericarditis", "LAFB", "VES"]), st.booleans()),
             min_size=1, unique_by=lambda pair: pair[0]),
    st.sampled_from([("[ ]", "[x]"), ("☐", "☒"), ("☐", "☑"), ("( )", "(X)"), ("□", "■"), ("[ ]", "[✓]")]),
    st.sampled_from([" ", "\n", "   ", "; "]),
    st.booleans(),
)  # fmt: skip
def test_boxes_before_and_behind(
    items: list[tuple[str, bool]], boxes: tuple[str, str], space: str, before: bool
) -> None:
    layout = "{1} {0}" if before else "{0} {1}"
    report = space.join(layout.format(name, boxes[ticked]) for name, ticked in items)
    for name, ticked in items:
        (entity,) = {m.entity for m in RULES.extract(name)}
        assert assertions(report, entity) == {"present" if ticked else "absent"}, report


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        ("AF: no, LBBB: yes", "AF- LBBB+"),
        ("AF: no LBBB: yes", "AF- LBBB+"),
        ("AF no, LBBB yes", "AF- LBBB+"),
        ("AF | no | LBBB | yes", "AF- LBBB+"),
        ("AF? No. LBBB? Yes.", "AF- LBBB+"),
        ("AF [ ] yes [x] no; LBBB [x] yes [ ] no", "AF- LBBB+"),
        ("AF: ☐ ja ☒ nein\nLBBB: ☒ ja ☐ nein", "AF- LBBB+"),
        ("AF (-), LBBB (+)", "AF- LBBB+"),
        ("Not seen: AF, LVH. LBBB", "AF- LVH- LBBB+"),
        ("No evidence of: AF, LVH\nLBBB", "AF- LVH- LBBB+"),
        ("Ausgeschlossen: AF, LVH und VT", "AF- LVH- VT-"),
        ("AF or VT: no. LVH/LBBB: no", "AF- VT- LVH- LBBB-"),
        ("LVH criteria: not met; LBBB (y/n): y", "LVH- LBBB+"),
        ("Atrial fibrillation (AF): no", "AF-"),
        ("AF ........ no\nLBBB....: yes", "AF- LBBB+"),
        ("AF\nno\nLBBB\nyes", "AF- LBBB+"),
        ("LVH/LBBB: no/no", "LVH- LBBB-"),
        ("AF ja □ nein ☒", "AF-"),
        ("○ AF ● LBBB", "AF- LBBB+"),
        ("w/o AF, c/w LVH", "AF- LVH?"),
        ("LBBB: no change", "LBBB+"),
        ("LBBB: unchanged, AF: resolved", "LBBB+ AF-"),
        ("[ ] no LVH\n[x] no AF", "AF-"),
        ("LBBB/LVH/VES", "LBBB+ LVH+"),
        ("AF / LBBB", "AF+ LBBB+"),
        ("AF/VT", "AF? VT?"),
        ("no LVH/LBBB", "LVH- LBBB-"),
        ("possible LVH/LBBB", "LVH? LBBB?"),
        ("Rhythm: AF. Conduction: no LBBB", "AF+ LBBB-"),
    ],
)
def test_forms(report: str, expected: str) -> None:
    signs = {"+": "present", "-": "absent", "?": "uncertain"}
    statuses = {pair[:-1]: signs[pair[-1]] for pair in expected.split()}
    for name in ("AF", "LBBB", "LVH", "VT"):
        (entity,) = {m.entity for m in RULES.extract(name)}
        status = statuses.get(name)
        assert assertions(report, entity) == ({status} if status else set()), name
