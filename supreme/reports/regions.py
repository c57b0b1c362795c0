"""A finding and the walls or leads named with it become the wall's own entity.

"ST elevation in inferior leads", "T wave inversion V4-V6", "inferior and lateral infarct".
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from supreme.reports import leads, lexicon
from supreme.reports.lexicon import Match, Phrases
from supreme.reports.statements import Token, load_table, tokenize


class Wall(NamedTuple):
    """A wall named by a word or a lead list, at tokens ``first`` to ``last`` (exclusive)."""

    first: int
    last: int
    names: tuple[str, ...]


def find_walls(tokens: Sequence[Token]) -> list[Wall]:
    """Walls in order; lead lists count by the walls they look at."""
    words = [Wall(match.first, match.last, (match.value,)) for match in _words().find(tokens)]
    lists = [Wall(i, i + 1, leads.walls(token.leads)) for i, token in enumerate(tokens) if token.leads]
    return sorted([*words, *(wall for wall in lists if wall.names)])


def resolve(
    tokens: Sequence[Token], findings: Sequence[Match[str]], walls: Sequence[Wall], which: int
) -> list[str]:
    """The entities of finding ``which``: those of its walls, or itself where none is named with it."""
    finding = findings[which]
    parts = finding.value.split(lexicon.AND)
    return [entity for part in parts for entity in _resolve(part, tokens, findings, walls, finding)]


def _resolve(
    entity_id: str,
    tokens: Sequence[Token],
    findings: Sequence[Match[str]],
    walls: Sequence[Wall],
    finding: Match[str],
) -> list[str]:
    table = _table()["findings"].get(entity_id)
    if table is None:
        return [entity_id]
    words = [wall for wall in walls if not tokens[wall.first].leads]
    named = (
        _before(tokens, finding, words, findings)
        or _after(tokens, finding, walls, findings)
        or _before(tokens, finding, walls, findings)
    )
    ids = list(dict.fromkeys(entity for wall in named for entity in _entities(table, wall)))
    if not ids:
        return [entity_id]
    return [*ids, table["also"]] if "also" in table else ids


def _entities(table: dict[str, str], wall: str) -> list[str]:
    if wall in table:
        return [table[wall]]
    parts: list[str] = _table()["parts"].get(wall, [])
    return [entity for part in parts for entity in _entities(table, part)]


def _before(
    tokens: Sequence[Token], finding: Match[str], walls: Sequence[Wall], findings: Sequence[Match[str]]
) -> list[str]:
    grammar = _table()["grammar"]
    between, joining = set(grammar["between"]), set(grammar["joining"])
    ending = {wall.last: wall for wall in walls}
    other = {match.last for match in findings if match is not finding}
    named: list[str] = []
    at = finding.first
    while at > 0:
        if at in ending:
            named += ending[at].names
            at = ending[at].first
        elif at in other:
            break
        elif tokens[at - 1].text in (joining if named else between):
            at -= 1
        else:
            break
    return named


def _after(
    tokens: Sequence[Token], finding: Match[str], walls: Sequence[Wall], findings: Sequence[Match[str]]
) -> list[str]:
    grammar = _table()["grammar"]
    following, joining = set(grammar["following"]), set(grammar["joining"])
    starting = {wall.first: wall for wall in walls}
    others = {match.first: match for match in findings if match.first >= finding.last}
    named: list[str] = []
    at = finding.last
    while at < len(tokens):
        if at in starting:
            wall = starting[at]
            # "T abnormal, probable lateral ischemia": the wall belongs to what follows it.
            if not tokens[wall.first].leads and _leads_to(tokens, wall.last, others):
                break
            named += wall.names
            at = wall.last
        elif at in others:
            if named:
                break
            at = others[at].last
        elif tokens[at].text in (joining | {"lead", "in", "the"} if named else following):
            at += 1
        else:
            break
    return named


def _leads_to(tokens: Sequence[Token], at: int, others: dict[int, Match[str]]) -> bool:
    between = set(_table()["grammar"]["between"]) - {"lead"}
    while at < len(tokens) and tokens[at].text in between and at not in others:
        at += 1
    return at in others


@cache
def phrases() -> Phrases[str]:
    """The lexicon, without wordings that are a wall and a finding.

    "Lateral ST elevation" is left to `resolve`, which also understands "inferior and lateral ST elevation".
    """
    regional = {
        entity for table in _table()["findings"].values() for key, entity in table.items() if key != "also"
    }
    pairs = lexicon.wordings()
    general = Phrases((text, entity) for text, entity in pairs if entity not in regional)

    def composed(text: str, entity: str) -> bool:
        tokens = tokenize(text)
        found = general.find(tokens)
        walls = find_walls(tokens)
        return [e for i in range(len(found)) for e in resolve(tokens, found, walls, i)] == [entity]

    return Phrases((text, e) for text, e in pairs if e not in regional or not composed(text, e))


def _table() -> dict[str, Any]:
    return load_table("regions")


@cache
def _words() -> Phrases[str]:
    return Phrases((word, wall) for wall, words in load_table("regions")["walls"].items() for word in words)
