"""Reports of any length are read in time that is linear in it."""

from __future__ import annotations

import time

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


def seconds_per_character(shape: str, length: int) -> float:
    text = (shape * (length // len(shape) + 1))[:length]
    best = float("inf")
    for attempt in range(5):
        # Another text each time: caches would answer the second.
        own = f"{text} {attempt}"
        start = time.process_time()
        for statement in statements.split(own):
            statements.fold(statement)
            RULES.extract(statement)
        best = min(best, time.process_time() - start)
    return best / length


@pytest.mark.parametrize("shape", SHAPES)
def test_a_long_report_takes_no_more_than_twice_the_time_of_short_ones(shape: str) -> None:
    # A busy machine slows now one, now the other: the best of some rounds counts.
    ratios = []
    while len(ratios) < 8 and min(ratios, default=9) > 2:
        short = min(seconds_per_character(shape, 200) for _ in range(4))
        # A few microseconds are the clock's own.
        ratios.append((seconds_per_character(shape, 20_000) - 5e-7) / short)
    assert min(ratios) <= 2


@pytest.mark.parametrize("shape", SHAPES[:5])
def test_a_megabyte_takes_seconds(shape: str) -> None:
    text = (shape * (1_000_000 // len(shape)))[:100_000]
    start = time.process_time()
    RULES.extract(text)
    assert time.process_time() - start < 2


def test_parts_of_a_long_statement_have_the_offsets_of_the_whole() -> None:
    statement = "no LVH, " * 200 + "left bundle branch block " * 40
    mentions = RULES.extract(statement)
    assert len(statement) > 3 * WINDOW
    words = {statement[mention.start : mention.end] for mention in mentions}
    assert words == {"LVH", "left bundle branch block"}
    assert len(mentions) >= 235
    assert {m.assertion for m in mentions if m.entity == "left_ventricular_hypertrophy"} == {"absent"}
