"""Is a finding present, absent or uncertain? Cues with scope, after ConText (Harkema et al. 2009).

A cue before a finding reaches the next finding within a few words, and the findings that are joined to it
("no A, B or C"); a cue behind a finding reaches back in the same way. Scope ends at full stops and at words
such as "but" and "with". Look-alikes ("no change", "probably old") are matched first and mean nothing.
Without a cue, both sides of "A or B" are uncertain; "A/B" is a list unless A and B exclude each other. A cue
of another time or person ("history of", "on the previous ECG") takes the finding out: it is no mention.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from supreme.reports.lexicon import Match
from supreme.reports.tokens import Token, load_table

Status = Literal["present", "absent", "uncertain"]
Side = Literal["before", "after", "either", "closing"]
#: The grade of what is said of another ECG or person; such a finding is no mention.
ELSEWHERE = "elsewhere"
#: Words between a cue and the finding it reaches.
REACH_BEFORE, REACH_AFTER = 6, 4
#: Words between two joined findings.
REACH_JOIN = 4
#: Findings that one cue reaches: more than any list has, so that time is linear in a statement's length.
REACH_FINDINGS = 24
_SLASH = "/"
_ENDS = {".", ",", ";", ")", "-"}
_OR = {"or", "nor", "oder", "eller"}
_ALTERNATIVE = {*_OR, "versus", "vs"}


class Assertion(NamedTuple):
    """``grade`` is the kind of hedge ("possible", "probable", "cannot_rule_out" ...), ``cue`` its wording."""

    status: Status
    grade: str = ""
    cue: str = ""


PRESENT = Assertion("present")


class Cue(NamedTuple):
    """``grade`` is "absent", "elsewhere" or a kind of hedge.

    Without a ``side`` it is "stop", "with", "join" or "pseudo".
    """

    grade: str
    side: Side | Literal[""] = ""


def cue_words() -> list[tuple[str, Cue]]:
    """The wordings of ``cues.toml`` and what each does."""
    pairs: list[tuple[str, Cue]] = []
    for grade, sides in load_table("cues").items():
        for side, words in sides.items():
            cue = Cue(grade) if side == "words" else Cue(grade, side)
            pairs += [(word, cue) for word in words]
    return pairs


def assess(
    statement: str,
    tokens: Sequence[Token],
    findings: Sequence[Match[str]],
    cues: Sequence[Match[Cue]],
    walls: Iterable[int] = (),
) -> list[Assertion]:
    """The assertion of each finding.

    ``findings`` are in order and do not overlap; no cue is part of one; ``walls`` are the tokens that name
    walls or leads.
    """
    result = [PRESENT] * len(findings)
    acting = [match for match in cues if match.value.side]
    texts = [token.text for token in tokens]
    choice = len(findings) > 1 and (_SLASH in statement or not _ALTERNATIVE.isdisjoint(texts))
    if not acting and not choice:
        return result
    ends = {match.first: match.value.grade for match in cues if match.value.grade in ("stop", "with")}
    ends |= {match.first: "stop" for match in cues if match.value.side == "closing"}
    joins = {match.first for match in cues if match.value.grade == "join"}
    scene = _Scene(
        tokens,
        findings,
        ends,
        joins,
        set(walls),
        _slashed(statement, tokens, findings),
        _next_or(texts, ends) if joins else (),
    )
    for match in acting:
        proposed = _assertion(match, tokens)
        for index in _reached(match, scene):
            if _rank(proposed) > _rank(result[index]):
                result[index] = proposed
    for index in range(len(findings) - 1) if choice else ():
        word = _alternative(statement, scene, index)
        sides = result[index : index + 2]
        if word and PRESENT in sides and "absent" not in {side.status for side in sides}:
            open_ = Assertion("uncertain", "alternative", word)
            result[index : index + 2] = [open_ if side == PRESENT else side for side in sides]
    return result


@dataclass(frozen=True, slots=True)
class _Scene:
    tokens: Sequence[Token]
    findings: Sequence[Match[str]]
    ends: dict[int, str]
    """Tokens that end a scope: "stop", or "with" that does so for most cues."""
    joins: set[int]
    """Tokens that carry a scope on to the next finding."""
    walls: set[int]
    """Tokens that name walls or leads."""
    slashed: set[int]
    """First tokens of findings that stand behind another and a slash: "LVH/LAE"."""
    next_or: Sequence[int]
    """Token -> the next "or" at or behind it that no end of a scope comes before; else a large number."""

    def words(self, gap: range) -> int:
        """Words between, not counting walls and leads and punctuation."""
        return sum(index not in self.walls and self.tokens[index].text.isalnum() for index in gap)

    def has_comma(self, gap: range) -> bool:
        return any(self.tokens[index].text == "," for index in gap)

    def repeats(self, gap: range, span: Match[str], reached: Sequence[int]) -> bool:
        """The same finding again: "probable anterior ischemia, inferior ischemia", "P mitrale, LAE"."""
        again = span.value in {self.findings[index].value for index in reached}
        return again and all(i in self.walls or self.tokens[i].text in (",", ":", "(") for i in gap)

    def stopped(self, gap: range, cue: Cue) -> bool:
        """ "Consistent with A with B" goes on, "no A with B" does not."""
        return any(self.ends.get(i) == "stop" or (i in self.ends and cue.grade != "suggests") for i in gap)

    def joins_over(self, gap: range, rest: range) -> bool:
        """A comma joins only in a list that ends in "or" ("no A, B or C"), looked for in ``rest``."""
        if not gap and gap.stop in self.slashed:
            return True
        linked = [index for index in gap if index in self.joins]
        if any(self.tokens[index].text != "," for index in linked):
            # "A and normal rate, B": the comma ends what "and" began.
            return self.tokens[linked[-1]].text != "," or linked[-1] - linked[0] <= 1
        return bool(linked) and self.next_or[rest.start] < rest.stop


def _reached(match: Match[Cue], scene: _Scene) -> list[int]:
    """The findings in a cue's scope."""
    side = match.value.side
    if side == "closing" and match.last < len(scene.tokens) and scene.tokens[match.last].text not in _ENDS:
        return []
    if match.value.grade == ELSEWHERE and _compares(match, scene):
        return []
    first = scene.tokens[match.first]
    if first.text == "?" and match.first and scene.tokens[match.first - 1].end == first.start:
        side = "after"
    forward = _forward(match, scene) if side in ("before", "either") else []
    return forward if forward or side == "before" else _backward(match, scene)


def _forward(match: Match[Cue], scene: _Scene) -> list[int]:
    reached: list[int] = []
    at, reach = match.last, REACH_BEFORE
    start = bisect_left(scene.findings, match.last, key=_first)
    for index in range(start, min(start + REACH_FINDINGS, len(scene.findings))):
        span = scene.findings[index]
        gap = range(at, span.first)
        if not scene.repeats(gap, span, reached):
            goes_on = match.value.grade == "suggests" and any(i in scene.ends for i in gap)
            rest = range(span.first, len(scene.tokens))
            linked = goes_on or scene.joins_over(gap, rest) or not (reached or scene.has_comma(gap))
            if scene.words(gap) > reach or scene.stopped(gap, match.value) or not linked:
                break
        reached.append(index)
        at, reach = span.last, REACH_JOIN
    return reached


def _backward(match: Match[Cue], scene: _Scene) -> list[int]:
    reached: list[int] = []
    at, reach = match.first, REACH_AFTER
    # "Inferior infarct, possible": a comma is no barrier for a cue that ends the sentence.
    closing = match.last == len(scene.tokens) or match.last in scene.ends
    # No finding overlaps a cue: those that begin before it end before it.
    end = bisect_left(scene.findings, match.first, key=_first)
    for index in range(end - 1, max(end - 1 - REACH_FINDINGS, -1), -1):
        span = scene.findings[index]
        gap = range(span.last, at)
        if reached:
            linked = scene.joins_over(gap, range(at, match.first))
        else:
            linked = not scene.has_comma(gap) or (closing and scene.words(gap) <= 1)
        # "Atrial flutter with 2:1 conduction is possible": what goes with a finding is no end before it, and
        # "infarct - possible" is about the infarct.
        ended = any(
            i in scene.ends
            and (reached or scene.ends[i] == "stop")
            and not (closing and scene.tokens[i].text == "-" and len(gap) == 1)
            for i in gap
        )
        if scene.words(gap) > reach or ended or not linked:
            break
        reached.append(index)
        at, reach = span.first, REACH_JOIN
    return reached


def _first(match: Match[str]) -> int:
    return match.first


def _next_or(texts: Sequence[str], ends: Mapping[int, str]) -> list[int]:
    none = len(texts) + 1
    result = [none] * (len(texts) + 1)
    for index in range(len(texts) - 1, -1, -1):
        if index not in ends:
            result[index] = index if texts[index] in _OR else result[index + 1]
    return result


def _alternative(statement: str, scene: _Scene, index: int) -> str:
    """What makes finding ``index`` and the next alternatives: "or", "versus", "/"; empty if nothing does."""
    one, other = scene.findings[index], scene.findings[index + 1]
    gap = range(one.last, other.first)
    if not gap:
        return _SLASH if other.first in scene.slashed and exclude_each_other(one.value, other.value) else ""
    if scene.words(gap) > REACH_JOIN or any(i in scene.ends for i in gap) or one.value == other.value:
        return ""
    texts = [scene.tokens[i].text for i in gap]
    word = next((text for text in texts if text in _ALTERNATIVE), "")
    # "A, or B", but not "A, consider some or B".
    return word if word and "," not in texts[: max(texts.index(word) - 1, 0)] else ""


def _slashed(statement: str, tokens: Sequence[Token], findings: Sequence[Match[str]]) -> set[int]:
    if _SLASH not in statement:
        return set()
    return {
        other.first
        for one, other in itertools.pairwise(findings)
        if one.last == other.first
        and _SLASH in statement[tokens[one.last - 1].end : tokens[other.first].start]
    }


def exclude_each_other(one: str, other: str) -> bool:
    """Can only one of two findings be there ("VT/SVT"), so that a slash means "or"?"""
    return any(one in group and other in group for group in load_table("cues_between")["exclusive"])


def _compares(match: Match[Cue], scene: _Scene) -> bool:
    """ "Unchanged from the previous ECG", "not seen on the previous ECG": about this ECG as well."""
    before = scene.tokens[max(match.first - REACH_AFTER, 0) : match.first]
    behind = scene.tokens[match.last : match.last + REACH_AFTER]
    table = load_table("cues_between")
    return any(token.text in table["comparing"] for token in before) or any(
        token.text in table["comparing_behind"] for token in behind
    )


def _assertion(match: Match[Cue], tokens: Sequence[Token]) -> Assertion:
    cue = " ".join(token.text for token in tokens[match.first : match.last])
    if match.value.grade in ("absent", ELSEWHERE):
        return Assertion("absent", match.value.grade.removeprefix("absent"), cue)
    return Assertion("uncertain", match.value.grade, cue)


def _rank(assertion: Assertion) -> int:
    """A hedge beats a denial, and a denial what it denies: "no evidence to suggest"."""
    if assertion.grade == ELSEWHERE:
        return 4
    if assertion.status == "uncertain":
        return 1 if assertion.grade == "suggests" else 3
    return 2 if assertion.status == "absent" else 0
