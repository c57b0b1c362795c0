"""Is a finding present, absent or uncertain? Cues with scope, after ConText (Harkema et al. 2009).

A cue before a finding reaches the next finding within a few words, and the findings that are joined to it
("no A, B or C"); a cue behind a finding reaches back in the same way. Scope ends at full stops and at words
such as "but" and "with". Look-alikes ("no change", "probably old") are matched first and mean nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple

from supreme.reports.lexicon import Match, Phrases
from supreme.reports.statements import Token, load_table

Status = Literal["present", "absent", "uncertain"]
Side = Literal["before", "after", "either"]
#: Words between a cue and the finding it reaches.
REACH_BEFORE, REACH_AFTER = 6, 4
#: Words between two joined findings.
REACH_JOIN = 4


class Assertion(NamedTuple):
    """``grade`` is the kind of hedge ("possible", "probable", "cannot_rule_out" ...), ``cue`` its wording."""

    status: Status
    grade: str = ""
    cue: str = ""


PRESENT = Assertion("present")
_HIDDEN = Token("", 0, 0)


@dataclass(frozen=True, slots=True)
class Cue:
    grade: str
    side: Side


class Span(NamedTuple):
    """A finding's tokens, ``first`` to ``last`` (exclusive), and what it is."""

    first: int
    last: int
    value: str


def assess(tokens: Sequence[Token], findings: Sequence[Span], walls: Iterable[int] = ()) -> list[Assertion]:
    """The assertion of each finding.

    ``findings`` are in order and do not overlap; ``walls`` are the tokens that name walls or leads.
    """
    if not findings:
        return []
    inside = {index for span in findings for index in range(span.first, span.last)}
    # A cue has no part in a finding: "absent P wave", "no significant Q waves".
    matches = _cues().find([_HIDDEN if index in inside else token for index, token in enumerate(tokens)])
    cues = [match for match in matches if isinstance(match.value, Cue)]
    result = [PRESENT] * len(findings)
    scene = _Scene(
        tokens,
        findings,
        stops={match.first for match in matches if match.value == "stop"},
        joins={match.first for match in matches if match.value == "join"},
        walls=set(walls),
    )
    for match in cues:
        proposed = _assertion(match, tokens)
        for index in _reached(match, scene):
            if _rank(proposed) > _rank(result[index]):
                result[index] = proposed
    return result


@dataclass(frozen=True, slots=True)
class _Scene:
    tokens: Sequence[Token]
    findings: Sequence[Span]
    stops: set[int]
    """Tokens that end a scope."""
    joins: set[int]
    """Tokens that carry a scope on to the next finding."""
    walls: set[int]
    """Tokens that name walls or leads."""

    def words(self, gap: range) -> int:
        """Words between, not counting walls and leads and punctuation."""
        return sum(index not in self.walls and self.tokens[index].text.isalnum() for index in gap)

    def has_comma(self, gap: range) -> bool:
        return any(self.tokens[index].text == "," for index in gap)

    def repeats(self, gap: range, span: Span, reached: Sequence[int]) -> bool:
        """The same finding again: "probable anterior ischemia, inferior ischemia", "P mitrale, LAE"."""
        again = span.value in {self.findings[index].value for index in reached}
        return again and all(i in self.walls or self.tokens[i].text in (",", ":") for i in gap)

    def joins_over(self, gap: range, start: int) -> bool:
        """A comma joins only in a list that ends in "or": "no A, B or C"."""
        linked = self.joins & set(gap)
        if any(self.tokens[index].text != "," for index in linked):
            return True
        for index in range(start, len(self.tokens)) if linked else ():
            if index in self.stops:
                return False
            if self.tokens[index].text in ("or", "nor", "oder", "eller"):
                return True
        return False


def _reached(match: Match[Cue | str], scene: _Scene) -> list[int]:
    """The findings in a cue's scope."""
    assert isinstance(match.value, Cue)
    forward = _forward(match, scene) if match.value.side in ("before", "either") else []
    if forward or match.value.side == "before":
        return forward
    return _backward(match, scene)


def _forward(match: Match[Cue | str], scene: _Scene) -> list[int]:
    reached: list[int] = []
    at, reach = match.last, REACH_BEFORE
    for index, span in enumerate(scene.findings):
        if span.first < match.last:
            continue
        gap = range(at, span.first)
        if not scene.repeats(gap, span, reached):
            linked = scene.joins_over(gap, span.first) if reached else not scene.has_comma(gap)
            if scene.words(gap) > reach or scene.stops & set(gap) or not linked:
                break
        reached.append(index)
        at, reach = span.last, REACH_JOIN
    return reached


def _backward(match: Match[Cue | str], scene: _Scene) -> list[int]:
    reached: list[int] = []
    at, reach = match.first, REACH_AFTER
    # "Inferior infarct, possible": a comma is no barrier for a cue that ends the sentence.
    closing = match.last == len(scene.tokens) or match.last in scene.stops
    for index in range(len(scene.findings) - 1, -1, -1):
        span = scene.findings[index]
        if span.last > match.first:
            continue
        gap = range(span.last, at)
        linked = scene.joins & set(gap) if reached else closing or not scene.has_comma(gap)
        if scene.words(gap) > reach or scene.stops & set(gap) or not linked:
            break
        reached.append(index)
        at, reach = span.first, REACH_JOIN
    return reached


def _assertion(match: Match[Cue | str], tokens: Sequence[Token]) -> Assertion:
    assert isinstance(match.value, Cue)
    cue = " ".join(token.text for token in tokens[match.first : match.last])
    if match.value.grade == "absent":
        return Assertion("absent", "", cue)
    return Assertion("uncertain", match.value.grade, cue)


def _rank(assertion: Assertion) -> int:
    """A hedge beats a denial, and a denial what it denies: "no evidence to suggest"."""
    if assertion.status == "uncertain":
        return 1 if assertion.grade == "suggests" else 3
    return 2 if assertion.status == "absent" else 0


@cache
def _cues() -> Phrases[Cue | str]:
    table = load_table("cues")
    pairs: list[tuple[str, Cue | str]] = []
    for grade, sides in table.items():
        if "words" in sides:
            pairs += [(word, grade) for word in sides["words"]]
        else:
            pairs += [(word, Cue(grade, side)) for side, words in sides.items() for word in words]
    return Phrases(pairs)
