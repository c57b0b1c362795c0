"""Reports of any length are read with work that is linear in it; `jobs/bench.py rules` has the time."""

from __future__ import annotations

import sys
from types import FrameType

import pytest

from supreme.reports import statements
from supreme.reports.extract import WINDOW, RuleExtractor

pytestmark = pytest.mark.unit

RULES = RuleExtractor()
SHAPES = (
    "no lvh, rbbb or lbbb, ", "no atrial fibrillation or ", "T waves in V4, V5 flat and inverted in I ",
    "AF: no, ",
    "old inferior or lateral infarct possible, ", "LVH/LAE/", "[ ] AF ", "V1, V2, aVF, ", "foo bar ", "Xy1",
    "lvh,\n", "Indication: AF. ", "Previous ECG\n", "? ", ". ", "vom 12. ", "<style>", "<!--", "&amp",
)  # fmt: skip


def calls_per_character(shape: str, length: int) -> float:
    """Function calls, of Python and of C: the work that is done, whatever else the machine does."""
    text = (shape * (length // len(shape) + 1))[:length]
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        for statement in statements.split(text):
            statements.fold(statement)
            RULES.extract(statement)
    finally:
        sys.setprofile(None)
    return calls / length


@pytest.mark.parametrize("shape", SHAPES)
def test_work_is_linear_in_the_length_of_a_report(shape: str) -> None:
    statements.sentences.cache_clear()
    calls_per_character(shape, 500)  # the tables are read
    short, long = calls_per_character(shape, 200), calls_per_character(shape, 20_000)
    assert long <= 2.5 * short
    assert calls_per_character(shape, 40_000) <= 1.1 * long


@pytest.mark.timeout(60)
def test_a_megabyte_is_read() -> None:
    assert RULES.extract("AF: no, " * 125_000)


def test_parts_of_a_long_statement_have_the_offsets_of_the_whole() -> None:
    statement = "no LVH, " * 200 + "left bundle branch block " * 40
    mentions = RULES.extract(statement)
    assert len(statement) > 3 * WINDOW
    words = {statement[mention.start : mention.end] for mention in mentions}
    assert words == {"LVH", "left bundle branch block"}
    assert len(mentions) >= 235
    assert {m.assertion for m in mentions if m.entity == "left_ventricular_hypertrophy"} == {"absent"}
