"""Reports against codes: what counts as said, and the measures."""

from __future__ import annotations

import pytest

from supreme.reports.agreement import agreement, micro
from supreme.reports.vocabulary import Entity, Vocabulary

pytestmark = pytest.mark.unit


def entity(entity_id: str, codes: list[str], parents: list[str] | None = None) -> Entity:
    return Entity(
        id=entity_id, name=entity_id, definition="d", group="g", codes={"x": codes}, parents=parents or []
    )


FAMILY = Vocabulary(
    [
        entity("block", ["B"]),
        entity("left", ["L", "L2"], ["block"]),
        entity("left_old", [], ["left"]),
        entity("rhythm", ["R"]),
        entity("uncoded", []),
    ]
)


def rows(labels: list[set[str]], codes: list[set[str]]) -> dict:
    return {row.code: row for row in agreement(labels, codes, FAMILY, "x")}


def test_counts_and_measures_of_planted_records() -> None:
    said = [{"rhythm"}] * 3 + [set()] * 5 + [{"rhythm"}, {"uncoded"}]
    coded = [{"R"}] * 2 + [set()] + [{"R"}] + [set()] * 4 + [{"R", "unknown"}, set()]
    row = rows(said, coded)["R"]
    assert (row.coded, row.stated, row.both) == (4, 4, 3)
    assert (row.precision, row.recall, row.f1) == (0.75, 0.75, 0.75)
    # 8 of 10 records agree; 0.4 * 0.4 + 0.6 * 0.6 would by chance.
    assert row.kappa == pytest.approx((0.8 - 0.52) / 0.48)
    assert micro([row]) == (0.75, 0.75)


def test_a_kind_without_a_code_says_the_code_of_what_it_implies() -> None:
    assert rows([{"left_old"}], [{"L"}])["L"].both == 1
    assert rows([{"left_old"}], [set()])["L"].stated == 1


def test_codes_of_one_entity_stand_for_each_other() -> None:
    found = rows([{"left"}], [{"L2"}])
    assert (found["L"].stated, found["L2"].both) == (0, 1)


def test_what_is_implied_is_right_where_coded_and_not_wrong_where_not() -> None:
    assert rows([{"left"}], [{"B", "L"}])["B"].both == 1
    assert rows([{"left"}], [{"L"}])["B"].stated == 0
    assert rows([{"left", "block"}], [{"L"}])["B"].stated == 0
    assert rows([{"block"}], [{"L"}])["B"].stated == 1


def test_nothing_said_and_nothing_coded_have_no_measures() -> None:
    row = rows([set()], [set()])["R"]
    assert (row.precision, row.recall, row.f1, row.kappa) == (None, None, None, None)
    with pytest.raises(ValueError, match="shorter"):
        agreement([set()], [], FAMILY, "x")
