"""Statements to mentions of entities: the extractor protocol and the rule extractor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple, Protocol

from supreme import config
from supreme.reports import ages, answers, assertions, earlier, lexicon, regions, waves
from supreme.reports.lexicon import Phrases, Words
from supreme.reports.tokens import EMPTY, load_table, tokenize
from supreme.reports.vocabulary import load_base

_DENIED = assertions.Assertion("absent", "", "normal")
_NOT_SAID = assertions.Assertion("absent", assertions.ELSEWHERE)
_OPEN = assertions.Assertion("uncertain", "alternative", "or")
#: Characters that are read at once: no report of PTB-XL has more than 359. Some rules look at pairs of
#: findings; a longer text is read in parts, in time that is linear in its length.
WINDOW = 512
_LONGEST_MENTION = 96
TABLES = ("tokens", "phrases", "waves", "regions", "cues", "cues_between", "answers", "lines", "sections")


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
        self.version = _version()

    def extract(self, statement: str) -> list[Mention]:
        """The mentions in one statement, in order of their place; an entity may come more than once."""
        return list(read(statement))


def read(statement: str) -> tuple[Mention, ...]:
    """The mentions in one statement by the rules; one longer than `WINDOW` is read in parts."""
    result: list[Mention] = []
    at = 0
    while len(statement) - at > WINDOW:
        part = statement[at : at + WINDOW]
        mentions = list(_read(part))
        cut = _cut(part, mentions)
        result += [_moved(mention, at) for mention in mentions if mention.end <= cut]
        at += cut
    return (*result, *(_moved(mention, at) for mention in _read(statement[at:])))


def _cut(part: str, mentions: Iterable[Mention]) -> int:
    """Where the next part begins: behind a sentence, a comma or a word near the end, but in no mention."""
    least = 3 * WINDOW // 4
    # What begins before the cut and is a mention ends within the part.
    cuts = (
        part.rfind(mark, least, WINDOW - _LONGEST_MENTION) + len(mark) for mark in (". ", "; ", ", ", " ")
    )
    cut = next((cut for cut in cuts if cut > least), WINDOW)
    return min([cut, *(m.start for m in mentions if 0 < m.start < cut < m.end)])


def _moved(mention: Mention, by: int) -> Mention:
    return replace(mention, start=mention.start + by, end=mention.end + by) if by else mention


def _read(statement: str) -> Iterator[Mention]:
    rules = _rules()
    tokens = tokenize(statement)
    coded = rules.words.code(tokens)
    matches = rules.findings.find(coded)
    walls = regions.find_walls(tokens, rules.walls.find(coded, lexicon.bits(matches)))
    named = {index for wall in walls for index in range(wall.first, wall.last)}
    apart = waves.find(tokens, matches, named)
    if apart:
        matches = sorted([*matches, *apart])
    findings = regions.join([match for match in matches if match.value != lexicon.IGNORE])
    if not findings:
        return
    covered = lexicon.bits(findings)
    cues = rules.cues.find(coded, covered)
    replies = {}
    if answers.may_answer(tokens):
        replies = answers.find(statement, tokens, findings, rules.answers.find(coded, covered), cues)
    layout = regions.FindingLayout(tokens, findings, walls)
    asserted = assertions.assess(statement, tokens, findings, cues, named)
    before = earlier.find(tokens, findings, asserted)
    for index, assertion in enumerate(asserted):
        match = findings[index]
        if index in replies:
            # A box that is not ticked takes back "no LVH" as well, and then nothing is said.
            is_empty = replies[index].cue == EMPTY and assertion.status != "present"
            assertion = _NOT_SAID if is_empty else replies[index]
        if index in before or assertion.grade == assertions.ELSEWHERE:
            continue
        entities, doubtful = regions.resolve(layout, index)
        if doubtful and assertion.status == "present":
            assertion = _OPEN
        labels = [(*_own(entity, assertion), match.first, match.last) for entity in entities]
        if match.value in ages.infarcts():
            places = {at for one in findings for at in range(one.first, one.last)}
            aged = ages.find(tokens, match, places, named, assertion)
            labels += [(entity, own, at, at + 1) for entity, own, at in aged]
        for entity, own, first, last in labels:
            yield Mention(entity, own.status, own.grade, own.cue, tokens[first].start, tokens[last - 1].end)


def _own(value: str, assertion: assertions.Assertion) -> tuple[str, assertions.Assertion]:
    """The entity of a payload and what is said of it: some phrases deny it or leave it open themselves."""
    if value.startswith(lexicon.NOT):
        return value[1:], _DENIED
    if value.startswith(lexicon.MAYBE):
        return value[1:], _OPEN if assertion.status == "present" else assertion
    return value, assertion


class _Rules(NamedTuple):
    words: Words
    walls: Phrases[str]
    cues: Phrases[assertions.Cue]
    answers: Phrases[answers.FormAnswer]
    findings: Phrases[str]


@cache
def _version() -> str:
    tables = [load_table(name) for name in TABLES]
    return f"2-{config.digest(tables, load_base().to_json())[:12]}"


@cache
def _rules() -> _Rules:
    words = Words()
    cues = Phrases(assertions.cue_words(), words, as_they_are=True)
    walls = Phrases(regions.wall_words(), words)
    findings = regions.findings(walls, words)
    # Last: the forms of words that findings consist of are settled.
    replies = Phrases(answers.answer_words(), words, as_they_are=True)
    return _Rules(words, walls, cues, replies, findings)
