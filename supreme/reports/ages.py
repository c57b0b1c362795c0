"""The age of an infarct: "inferior infarct, old", "anteroseptal infarct - possibly acute"."""

from __future__ import annotations

from collections.abc import Sequence, Set
from functools import cache

from supreme.reports.assertions import Assertion
from supreme.reports.lexicon import Match
from supreme.reports.tokens import Token, load_table, tokenize

#: Words before (walls not counted) and behind an infarct that may tell its age.
REACH_BEFORE, REACH_AFTER = 2, 4
#: Tokens looked at, walls and all.
REACH_TOKENS = 32
_ENDS = {".", ";"}


@cache
def infarcts() -> frozenset[str]:
    """The findings that have an age."""
    table = load_table("regions")
    general = table["ages"]["of"]
    return frozenset([general, *table["ages"]["words"], *table["findings"][general].values()])


def find(
    tokens: Sequence[Token],
    finding: Match[str],
    covered: Set[int],
    named: Set[int],
    assertion: Assertion,
) -> list[tuple[str, Assertion, int]]:
    """(entity, assertion, token) for each age word that belongs to one of `infarcts`.

    The age is as sure as the infarct, or uncertain where it has a hedge of its own.

    Args:
        covered: tokens of findings.
        named: tokens of walls.
    """
    table = load_table("regions")["ages"]
    result: dict[str, tuple[str, Assertion, int]] = {}
    for index in _near(tokens, finding, covered, named):
        entity = _words().get(tokens[index].text)
        around = {tokens[i].text for i in (index - 1, index + 1) if 0 <= i < len(tokens)}
        if entity and not around & set(table["unknown"]):
            hedges = around & set(table["hedges"])
            is_hedged = bool(hedges) and assertion.status == "present"
            own = Assertion("uncertain", "probable", min(hedges)) if is_hedged else assertion
            result.setdefault(entity, (entity, own, index))
    return list(result.values())


def _near(tokens: Sequence[Token], finding: Match[str], covered: Set[int], named: Set[int]) -> list[int]:
    near = []
    for step, start, reach in ((-1, finding.first - 1, REACH_BEFORE), (1, finding.last, REACH_AFTER)):
        index, words = start, 0
        while 0 <= index < len(tokens) and words < reach and abs(index - start) < REACH_TOKENS:
            if index in covered or tokens[index].text in _ENDS:
                break
            words += index not in named and tokens[index].text.isalnum()
            near.append(index)
            index += step
    return near


@cache
def _words() -> dict[str, str]:
    ages = load_table("regions")["ages"]["words"]
    return {tokenize(word)[0].text: entity for entity, words in ages.items() for word in words}
