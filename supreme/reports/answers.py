"""Answers of forms: "Atrial fibrillation: no", "AF? No", "[x] LBBB", "AF [ ] yes [x] no", "Not seen: AF".

An answer decides on the finding that it belongs to, whatever the cues say; a box that is not ticked takes
back what its line says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from supreme.reports import tokens as marks
from supreme.reports.assertions import ELSEWHERE, PRESENT, Assertion, Cue, cue_words
from supreme.reports.lexicon import Match
from supreme.reports.tokens import Token, canonical, load_table, tokenize

#: Words between a finding and the colon of its answer: "LVH criteria: not met", "WPW (Y/N): N".
REACH = 5
_PLAIN = "plain"
_BOXES = (marks.TICKED, marks.EMPTY)
_JOINS = {"or", "and", "nor", "oder", "eller"}


class FormAnswer(NamedTuple):
    """``grade`` as in :class:`Assertion`; ``plain`` answers need no colon."""

    status: str
    grade: str = ""
    plain: bool = False


def answer_words() -> list[tuple[str, FormAnswer]]:
    """The wordings of ``answers.toml``, and those of ``cues.toml`` as answers."""
    table = load_table("answers")
    pairs: dict[str, tuple[str, FormAnswer]] = {}

    def add(text: str, answer: FormAnswer) -> None:
        pairs.setdefault(" ".join(token.text for token in tokenize(text)), (text, answer))

    for status, texts in table[_PLAIN].items():
        for text in texts:
            add(text, FormAnswer(status, plain=True))
    for status, texts in table["answers"].items():
        for text in texts:
            add(text, FormAnswer("uncertain", "unknown") if status == "unknown" else FormAnswer(status))
    for text, cue in cue_words():
        if cue.side and cue.grade not in (ELSEWHERE, "suggests"):
            add(text, FormAnswer("absent") if cue.grade == "absent" else FormAnswer("uncertain", cue.grade))
    return list(pairs.values())


def may_answer(tokens: Sequence[Token]) -> bool:
    """Can there be an answer among these tokens, as far as one can tell at a glance?"""
    return not _grammar().signs.isdisjoint([token.text for token in tokens])


def find(
    statement: str,
    tokens: Sequence[Token],
    findings: Sequence[Match[str]],
    answers: Sequence[Match[FormAnswer]],
    cues: Sequence[Match[Cue]],
) -> dict[int, Assertion]:
    """Finding -> what an answer says of it, for the findings that have one.

    ``findings``, ``answers`` and ``cues`` are in order; ``answers`` overlap no finding.
    """
    boxes = {index for index, token in enumerate(tokens) if token.text in _BOXES}
    form = _Form(
        statement,
        tokens,
        findings,
        _without_lookalikes(answers, cues),
        boxes,
    )
    result: dict[int, Assertion] = {}
    if form.boxes:
        result |= _of_boxes(form)
    result |= _of_lists(form)
    for index in range(len(findings)):
        answer = form.behind(index)
        if answer:
            result |= dict.fromkeys(form.joined_before(index), answer)
    return result


def _without_lookalikes(
    answers: Sequence[Match[FormAnswer]], cues: Sequence[Match[Cue]]
) -> dict[int, Match[FormAnswer]]:
    """Answers by their first token, without those that begin a longer cue ("no change", "no evidence of")."""
    longer = {cue.first: cue.last for cue in cues}
    return {answer.first: answer for answer in answers if longer.get(answer.first, 0) <= answer.last}


@dataclass(frozen=True, slots=True)
class _Form:
    statement: str
    tokens: Sequence[Token]
    findings: Sequence[Match[str]]
    answers: dict[int, Match[FormAnswer]]
    boxes: set[int]

    def start_of(self, index: int) -> int:
        """The first token of a finding, or the end of the statement."""
        return self.findings[index].first if index < len(self.findings) else len(self.tokens)

    def text(self, at: int) -> str:
        """The text of token ``at``, or ""."""
        return self.tokens[at].text if at < len(self.tokens) else ""

    def gap(self, at: int) -> str:
        """What stands in the statement before token ``at``."""
        start = self.tokens[at - 1].end
        return self.statement[start : self.tokens[at].start if at < len(self.tokens) else len(self.statement)]

    def is_end(self, at: int) -> bool:
        """Does nothing follow at token ``at`` that would make an answer part of a longer phrase?"""
        text, grammar = self.text(at), _grammar()
        return (
            text in ("", "(", ")", "-", ":")
            or text in grammar.ends
            or text in grammar.place
            or text in _BOXES
            or bool(self.tokens[at].leads)
            or not {"|", "/"}.isdisjoint(self.gap(at))
            or "  " in self.gap(at)
        )

    def asks(self, index: int) -> int:
        """The token of the colon behind finding ``index``; 0 if none is near."""
        grammar = _grammar()
        last = self.findings[index].last
        limit = min(self.start_of(index + 1), last + 2 * REACH)
        words = 0
        for at in range(last, limit):
            text = self.tokens[at].text
            if text in grammar.asks:
                return at
            words += text.isalnum()
            if text in grammar.ends or text in _BOXES or words > REACH:
                return 0
        return 0

    def behind(self, index: int) -> Assertion | None:
        """The answer behind finding ``index``."""
        last = self.findings[index].last
        if self.text(last) == "(":
            match = self.answers.get(last + 1)
            if self.text(match.last if match else last + 2) == ")":
                return self.answer_at(last + 1, index)
        at = self.asks(index)
        if at:
            at += self.text(at + 1) in (":", "(")
            answer = self.answer_at(at + 1, index, strict=self.tokens[at].text == "-")
            return answer or (self.option(at + 1) if at + 1 in self.boxes else None)
        if self.text(last) in (",", ";") and self.findings[index].first == 0:
            match = self.answers.get(last + 1)
            is_row = match is not None and match.value.plain and match.last == len(self.tokens)
            return self.assertion(match) if is_row and match else None
        ticked = self.option(last) if last in self.boxes or last in self.answers else None
        match = self.answers.get(last)
        if not ticked and match and match.value.plain and self.is_end(match.last):
            return self.assertion(match)
        return ticked

    def answer_at(self, at: int, index: int, *, strict: bool = False) -> Assertion | None:
        """The answer that begins at token ``at``; ``strict``: only one that needs no colon."""
        match = self.answers.get(at)
        if self.text(at) == "-":
            return Assertion("absent", "", "-") if not strict and self.is_end(at + 1) else None
        if self.text(at) == "and" and self.statement[self.tokens[at].start] == "+":
            return PRESENT if self.is_end(at + 1) else None
        if match is None or (strict and not match.value.plain):
            return None
        # "AF: no LBBB: yes"
        following = next(
            (i for i in range(index + 1, len(self.findings)) if self.start_of(i) >= match.last), None
        )
        is_next = following is not None and self.start_of(following) == match.last
        if self.is_end(self.behind_tail(match.last)) or (
            is_next and following is not None and self.asks(following)
        ):
            return self.assertion(match)
        return None

    def lists(self, gap: range, *, is_first: bool) -> bool:
        """Is what stands between two findings, or a colon and a finding, that of a list?"""
        texts = [self.text(at) for at in gap]
        if is_first:
            return len(texts) <= 2
        slash = not texts and "/" in self.gap(gap.stop)
        return slash or bool({",", "-", *_JOINS} & set(texts) and not {".", ";", ":"} & set(texts))

    def behind_tail(self, at: int) -> int:
        """The token behind words that only fill an answer up: "no clear evidence of this"."""
        while self.text(at) in _grammar().tail:
            at += 1
        return at

    def is_option(self, at: int) -> bool:
        """Is an answer at token ``at`` one to be ticked, not the beginning of a phrase ("[ ] no LVH")?"""
        return at in self.answers and self.is_end(self.answers[at].last)

    def option(self, at: int) -> Assertion | None:
        """The ticked one of "[ ] yes [x] no" or "yes [ ] no [x]" at token ``at``."""
        options: list[tuple[bool, Match[FormAnswer]]] = []
        box_first = at in self.boxes
        while True:
            box = at if box_first else (self.answers[at].last if at in self.answers else -1)
            answer = self.answers.get(at + 1 if box_first else at)
            if box not in self.boxes or answer is None:
                break
            options.append((self.tokens[box].text == marks.TICKED, answer))
            at = answer.last if box_first else box + 1
        ticked = [answer for is_ticked, answer in options if is_ticked]
        return self.assertion(ticked[0]) if len(ticked) == 1 else None

    def assertion(self, match: Match[FormAnswer]) -> Assertion:
        """What an answer says of its finding."""
        status, grade, _ = match.value
        if status == "present":
            return PRESENT
        cue = " ".join(token.text for token in self.tokens[match.first : match.last])
        return Assertion("absent" if status == "absent" else "uncertain", grade, cue)

    def joined_before(self, index: int) -> Iterator[int]:
        """Finding ``index`` and those that share its answer: "AF or flutter: no", "LVH/RVH: no"."""
        yield index
        linked = False
        while index:
            gap = range(self.findings[index - 1].last, self.findings[index].first)
            texts = [self.tokens[at].text for at in gap]
            linked = linked or not _JOINS.isdisjoint(texts)
            repeats = texts == ["("] and self.findings[index - 1].value == self.findings[index].value
            slash = not texts and "/" in self.gap(self.findings[index].first)
            if not repeats and not slash and not (linked and set(texts) <= {*_JOINS, ","} and texts):
                return
            index -= 1
            yield index


def _of_boxes(form: _Form) -> dict[int, Assertion]:
    """Boxes before findings ("[x] AF [ ] LBBB"), or behind them if a finding comes first."""
    boxes = sorted(form.boxes)
    behind = bool(form.findings) and form.findings[0].first < boxes[0]
    result: dict[int, Assertion] = {}
    for index, finding in enumerate(form.findings):
        if behind:
            box = next((box for box in boxes if box >= finding.last), None)
        else:
            box = next((box for box in reversed(boxes) if box < finding.first), None)
        if box is not None and form.text(box) == marks.EMPTY and not form.is_option(box + 1):
            result[index] = Assertion("absent", "", marks.EMPTY)
    return result


def _of_lists(form: _Form) -> dict[int, Assertion]:
    """ "Not seen: AF, LBBB. Present: sinus rhythm": an answer, a colon, and a list of findings."""
    result: dict[int, Assertion] = {}
    answered = {form.asks(index) + 1 for index in range(len(form.findings))}
    for match in form.answers.values():
        begins = match.first == 0 or form.is_end(match.first - 1)
        # A cardiograph prints "Borderline: ..." above whatever it found.
        is_list = begins and form.text(match.last) == ":" and match.value.grade != "borderline"
        if not is_list or match.first in answered:
            continue
        assertion = form.assertion(match)
        at = match.last + 1
        for index, finding in enumerate(form.findings):
            if finding.first >= at:
                if not form.lists(range(at, finding.first), is_first=at == match.last + 1):
                    break
                result[index] = assertion
                at = finding.last
    return {index: assertion for index, assertion in result.items() if assertion != PRESENT}


class _AnswerGrammar(NamedTuple):
    ends: frozenset[str]
    asks: frozenset[str]
    place: frozenset[str]
    tail: frozenset[str]
    signs: frozenset[str]
    """What a statement with an answer has one of."""


@cache
def _grammar() -> _AnswerGrammar:
    table = load_table("answers")["grammar"]
    ends, asks, place = (frozenset(table[name]) for name in ("ends", "asks", "place"))
    plain = {tokenize(text)[0].text for texts in load_table("answers")[_PLAIN].values() for text in texts}
    tail = frozenset(map(canonical, table["tail"]))
    return _AnswerGrammar(ends, asks, place, tail, asks | plain | {"(", *_BOXES})
