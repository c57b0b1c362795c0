"""A finding and the walls or leads named with it become the wall's own entity.

"ST elevation in inferior leads", "T wave inversion V4-V6", "inferior and lateral infarct". What else narrows
a finding is read in the same way, as if it were a wall: "frequent multifocal PVCs", "low voltage in limb
leads".
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from supreme.reports import leads, lexicon
from supreme.reports.lexicon import Match, Phrases, Words
from supreme.reports.tokens import Token, load_table, tokenize
from supreme.reports.vocabulary import load_base

#: Tokens on either side of a finding among which its walls are looked for: far more than any report needs.
REACH = 64
#: Before what a phrase denies or leaves open.
_MARKS = lexicon.NOT + lexicon.MAYBE


class Wall(NamedTuple):
    """A wall named by a word or a lead list, at tokens ``first`` to ``last`` (exclusive)."""

    first: int
    last: int
    names: tuple[str, ...]


class WallPlace(NamedTuple):
    """The walls named with a finding; ``doubtful`` if the words leave open which ("inferior or lateral")."""

    names: list[str]
    doubtful: bool = False


class FindingLayout:
    """Where findings and walls begin and end in a statement."""

    def __init__(
        self, tokens: Sequence[Token], findings: Sequence[Match[str]], walls: Sequence[Wall]
    ) -> None:
        self.tokens = tokens
        self.findings = findings
        self.walls = walls
        self.findings_from = {match.first: match for match in findings}
        self.findings_to = {match.last for match in findings}
        self.walls_from = {wall.first: wall for wall in walls}
        self.walls_to = {wall.last: wall for wall in walls}
        self.words_to = {wall.last: wall for wall in walls if not tokens[wall.first].leads}


def wall_words() -> list[tuple[str, str]]:
    """The words for walls, with the wall."""
    return [(word, wall) for wall, words in _table()["walls"].items() for word in words]


def find_walls(tokens: Sequence[Token], named: Sequence[Match[str]]) -> list[Wall]:
    """Walls in order; lead lists count by the walls they look at."""
    words = [Wall(match.first, match.last, (match.value,)) for match in named]
    lists = [Wall(i, i + 1, leads.walls(token.leads)) for i, token in enumerate(tokens) if token.leads]
    return sorted([*words, *lists]) if lists else words


def resolve(layout: FindingLayout, which: int) -> tuple[list[str], bool]:
    """The entities of finding ``which``, those of its walls or itself, and whether the wall is in doubt."""
    finding = layout.findings[which]
    parts = finding.value.split(lexicon.AND) if lexicon.AND in finding.value else [finding.value]
    if not layout.walls or regional().keys().isdisjoint([part.lstrip(_MARKS) for part in parts]):
        return parts, False
    place = _place(layout, finding) or WallPlace([])
    entities: list[str] = []
    for part in parts:
        name = part.lstrip(_MARKS)
        mark, table = part.removesuffix(name), regional().get(name, {})
        own = list(dict.fromkeys(entity for wall in place.names for entity in _entities(table, wall)))
        own = [*own, table["also"]] if own and "also" in table else own or [name]
        entities += [mark + entity for entity in own]
    return entities, place.doubtful


@cache
def regional() -> dict[str, dict[str, str]]:
    """Finding -> wall -> entity; a kind of such a finding has the same walls and stays (``also``) beside."""
    tables: dict[str, dict[str, str]] = _table()["findings"]
    kinds = {
        entity.id: {**tables[parent], "also": entity.id}
        for entity in load_base()
        for parent in reversed(entity.parents)
        if parent in tables and entity.id not in tables
    }
    own = {part for table in tables.values() for value in table.values() for part in value.split(lexicon.AND)}
    return tables | {entity: table for entity, table in kinds.items() if entity not in own}


def join(findings: list[Match[str]]) -> list[Match[str]]:
    """ "Atrial fibrillation, rapid ventricular response", "PVCs in a pattern of bigeminy" are one finding."""
    table: dict[str, dict[str, str]] = _table()["together"]
    if table.keys().isdisjoint([match.value for match in findings]):
        return findings
    joined: list[Match[str]] = []
    for match in findings:
        with_ = table.get(match.value)
        if with_ is None:
            joined.append(match)
            continue
        heads = [before.value.split(lexicon.AND)[0] for before in joined]
        at = max((i for i, head in enumerate(heads) if head in with_), default=None)
        if at is None:
            joined.append(match._replace(value=with_["alone"]))
        else:
            first, *more = joined[at].value.split(lexicon.AND)
            joined[at] = joined[at]._replace(value=lexicon.AND.join([with_[first], *more]))
    return joined


def findings(walls: Phrases[str], words: Words) -> Phrases[str]:
    """The lexicon, without wordings that are a wall and a finding.

    "Lateral ST elevation" is left to `resolve`, which also understands "inferior and lateral ST elevation".
    """
    narrowed = {
        part
        for table in _table()["findings"].values()
        for value in table.values()
        for part in value.split(lexicon.AND)
    }
    pairs = lexicon.wordings()
    for text, _ in pairs:
        words.learn(tokenize(text))
    general = Phrases([(text, entity) for text, entity in pairs if entity not in narrowed], words)

    def composed(text: str, entity: str) -> bool:
        tokens = tokenize(text)
        coded = words.code(tokens)
        matches = general.find(coded)
        layout = FindingLayout(tokens, matches, find_walls(tokens, walls.find(coded, lexicon.bits(matches))))
        return [e for i in range(len(matches)) for e in resolve(layout, i)[0]] == [entity]

    return Phrases([(text, e) for text, e in pairs if e not in narrowed or not composed(text, e)], words)


def _place(layout: FindingLayout, finding: Match[str]) -> WallPlace | None:
    places = range(finding.first, finding.last)
    inside = [layout.walls_from[at] for at in places if at in layout.walls_from]
    if inside:
        return WallPlace([name for wall in inside for name in wall.names])
    # A list of leads before a finding mostly belongs to the finding before.
    return (
        _before(layout, finding, layout.words_to)
        or _after(layout, finding)
        or _before(layout, finding, layout.walls_to)
    )


def _entities(table: dict[str, str], wall: str) -> list[str]:
    if wall in table:
        return table[wall].split(lexicon.AND)
    parts: list[str] = _table()["parts"].get(wall, [])
    return [entity for part in parts for entity in _entities(table, part)]


def _before(layout: FindingLayout, finding: Match[str], walls_to: dict[int, Wall]) -> WallPlace | None:
    grammar = _grammar()
    named: list[str] = []
    met = doubtful = is_open = False
    at, limit = finding.first, max(finding.first - REACH, 0)
    while at > limit:
        word = layout.tokens[at - 1].text
        if at in walls_to:
            named += walls_to[at].names
            met, doubtful = True, doubtful or is_open
            at = walls_to[at].first
        elif at not in layout.findings_to and word in (grammar.joining if met else grammar.between):
            is_open = met and word in grammar.alternative
            at -= 1
        else:
            break
    return WallPlace(named, doubtful) if met else None


def _after(layout: FindingLayout, finding: Match[str]) -> WallPlace | None:
    grammar = _grammar()
    named: list[str] = []
    met = doubtful = is_open = False
    at, limit = finding.last, min(finding.last + REACH, len(layout.tokens))
    while at < limit:
        word = layout.tokens[at].text
        if at in layout.walls_from:
            wall = layout.walls_from[at]
            # "T abnormal, probable lateral ischemia": the wall belongs to what follows it.
            if not layout.tokens[at].leads and _leads_to(layout, wall.last):
                break
            named += wall.names
            met, doubtful = True, doubtful or is_open
            at = wall.last
        elif at in layout.findings_from:
            if met:
                break
            at = layout.findings_from[at].last
        elif word in (grammar.going_on if met else grammar.following):
            is_open = met and word in grammar.alternative
            at += 1
        else:
            break
    return WallPlace(named, doubtful) if met else None


def _leads_to(layout: FindingLayout, at: int) -> bool:
    """Does only what may stand between a wall and its finding come before the next finding?"""
    grammar = _grammar()
    while at < len(layout.tokens) and at not in layout.findings_from:
        word = layout.tokens[at].text
        if word not in grammar.between or word == "lead":
            return False
        at += 1
    return at in layout.findings_from


class _WallGrammar(NamedTuple):
    between: frozenset[str]
    following: frozenset[str]
    joining: frozenset[str]
    going_on: frozenset[str]
    alternative: frozenset[str]


@cache
def _grammar() -> _WallGrammar:
    table = _table()["grammar"]
    return _WallGrammar(*(frozenset(table[name]) for name in _WallGrammar._fields))


def _table() -> dict[str, Any]:
    return load_table("regions")
