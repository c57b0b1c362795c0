"""What stands apart from its wave, and leads that are close to other words."""

from __future__ import annotations

import pytest

from supreme.reports import waves
from supreme.reports.lexicon import Match
from supreme.reports.tokens import tokenize

pytestmark = pytest.mark.unit


def found(text: str, taken: list[Match[str]] | None = None) -> list[str]:
    return [match.value for match in waves.find(tokenize(text), taken or [], set())]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("T waves are flat or inverted", ["low_t_wave", "t_wave_inversion"]),
        ("inverted T waves", ["t_wave_inversion"]),
        ("ST depressed, T inverted", ["st_depression", "t_wave_inversion"]),
        ("st gesenkt t negativ", ["st_depression", "t_wave_inversion"]),
        ("t flach in v5 neg t in v6", ["low_t_wave", "t_wave_inversion"]),
        ("T waves in V1 to V3 are deeply inverted", ["t_wave_inversion"]),
        ("T waves are not seen; inverted leads", []),
        ("T waves, LBBB, inverted", []),
        ("PR interval is prolonged, QT normal", ["first_degree_av_block", "!long_qt"]),
        ("normal", []),
        ("ST depressed in V5, flat T", ["st_depression", "low_t_wave"]),
        ("T flat in I, normal", ["low_t_wave"]),
    ],
)
def test_changes_go_to_their_wave(text: str, values: list[str]) -> None:
    assert found(text) == values


def test_what_the_lexicon_has_found_is_not_found_again() -> None:
    assert found("t wave inversion, flat", [Match(0, 3, "t_wave_inversion")]) == ["low_t_wave"]


def test_the_wave_is_part_of_the_place_only_beside_its_change() -> None:
    beside, apart = waves.find(tokenize("T flat in I and inverted in II"), [], set())
    assert (beside.first, beside.last) == (0, 2)
    assert (apart.first, apart.last) == (5, 6)
