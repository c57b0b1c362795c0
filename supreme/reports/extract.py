"""Statements to mentions of entities: the extractor protocol and the rule extractor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from supreme import config
from supreme.reports import ages, assertions, lexicon, regions
from supreme.reports.statements import load_table, tokenize
from supreme.reports.vocabulary import load_base


@dataclass(frozen=True, slots=True)
class Mention:
    """An entity in a statement; ``start`` and ``end`` are offsets of its words, ``cue`` is folded."""

    entity: str
    assertion: assertions.Status
    grade: str
    cue: str
    start: int
    end: int


class Extractor(Protocol):
    """Anything that finds entities; the same ``id`` and ``version`` give the same mentions."""

    id: str
    version: str

    def extract(self, statement: str) -> list[Mention]:
        """The mentions in one statement, in order of their place."""
        ...


class RuleExtractor:
    """Lexicon, walls and assertion cues; works without any model."""

    id = "rules"

    def __init__(self) -> None:
        tables = [load_table(name) for name in ("tokens", "phrases", "regions", "cues")]
        self.version = f"1-{config.digest(tables, load_base().to_json())[:12]}"

    def extract(self, statement: str) -> list[Mention]:
        """The mentions in one statement, in order of their place; an entity may come more than once."""
        tokens = tokenize(statement)
        matches = regions.phrases().find(tokens)
        findings = [match for match in matches if match.value != lexicon.IGNORE]
        if not findings:
            return []
        walls = regions.find_walls(tokens)
        spans = [assertions.Span(match.first, match.last, match.value) for match in findings]
        named = [index for wall in walls for index in range(wall.first, wall.last)]
        mentions = []
        for index, assertion in enumerate(assertions.assess(tokens, spans, named)):
            match = findings[index]
            whole = (match.first, match.last)
            said = [(e, assertion, *whole) for e in regions.resolve(tokens, findings, walls, index)]
            aged = ages.find(tokens, match, findings, walls, assertion)
            said += [(entity, own, at, at + 1) for entity, own, at in aged]
            for entity, own, first, last in said:
                place = tokens[first].start, tokens[last - 1].end
                mentions.append(Mention(entity, own.status, own.grade, own.cue, *place))
        return mentions
