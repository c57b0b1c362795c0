"""Sections of a report: what stands under "History", "Indication" or "Previous ECG" is not about this ECG."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import NamedTuple

from supreme.reports.tokens import fold_word, load_table

THIS_ECG, PATIENT, OTHER_ECG = "this_ecg", "patient", "other_ecg"
#: "ECG 12/03/2019": this or another one.
_DATED = "dated"
_SPELLINGS = str.maketrans({"ä": "(?:ä|ae|a)", "ö": "(?:ö|oe|o)", "ü": "(?:ü|ue|u)", "å": "(?:å|aa|a)"})
_MONTH = r"(?:jan|feb|m[aä]r|apr|ma[iyj]|jun|jul|aug|sep|o[ck]t|nov|de[cz])\w*\.?"
_DATE = rf"(?:\d[\d./:-]*|{_MONTH})(?:[ .,]+(?:\d[\d./:-]*|{_MONTH}|uhr))*"
#: Marks of a title in plain text.
_WORD = re.compile(r"[^\W_]+")
_FRAME = r"[\s*#=_>•·-]*"

Cut = Callable[[str], Sequence[str]]
"""A line to its sentences."""


class ReportSection(NamedTuple):
    """A header's kind, "" before the first header, and a stretch of one line that begins with the header."""

    kind: str
    header: str
    text: str

    @property
    def content(self) -> str:
        """What follows the header."""
        return self.text[len(self.header) :].strip(" *_:-–")


def about_this_ecg(lines: Sequence[str], cut: Cut) -> list[str]:
    """The lines of a report without what is said of the patient, the question or another ECG.

    Args:
        lines: lines without wrapping; a blank line is "".
        cut: cuts a line into sentences.
    """
    if not any(map(_leads_away, lines)):
        return list(lines)
    sections = _of_other_dates(
        [(number, section) for number, line in enumerate(lines) for section in _sections(line)]
    )
    if all(section.kind in ("", THIS_ECG) for _, section in sections):
        return list(lines)
    ahead = _look_ahead([section for _, section in sections])
    result: list[str] = []
    at = 0
    while at < len(sections):
        section = sections[at][1]
        if section.kind in ("", THIS_ECG):
            result.append(section.text)
            at += 1
            continue
        end, sentences = _reach(section, at, ahead), cut(section.content)
        # "Indication: syncope. Sinus rhythm." may be all of a report.
        own = sentences if ahead.text[at + 1] < len(sections) else sentences[:1]
        for text in [*own, *(text for _, one in sections[at + 1 : end] for text in cut(one.text))]:
            result.append(_of_this_ecg(text) if section.kind == OTHER_ECG else "")
        result += sentences[len(own) :]
        at = end
    return result


class _Ahead(NamedTuple):
    """For each place in a report, where the next of a kind is; the report's length if there is none."""

    header: list[int]
    this_ecg: list[int]
    text: list[int]
    blank: list[int]


def _look_ahead(sections: Sequence[ReportSection]) -> _Ahead:
    def of(matches: Callable[[ReportSection], bool]) -> list[int]:
        result = [len(sections)] * (len(sections) + 2)
        for at in range(len(sections) - 1, -1, -1):
            result[at] = at if matches(sections[at]) else result[at + 1]
        return result

    return _Ahead(
        of(lambda section: bool(section.kind)),
        of(lambda section: section.kind == THIS_ECG),
        of(lambda section: bool(section.text)),
        of(lambda section: not section.text),
    )


def _of_other_dates(sections: list[tuple[int, ReportSection]]) -> list[tuple[int, ReportSection]]:
    """ "ECG 2019: AF. ECG today: sinus rhythm": where one ECG is today's, those with a date are others."""
    now, _ = _comparing()
    if not any(one.kind == THIS_ECG and now.search(one.header) for _, one in sections):
        return [(n, one._replace(kind=THIS_ECG) if one.kind == _DATED else one) for n, one in sections]
    return [(n, one._replace(kind=OTHER_ECG) if one.kind == _DATED else one) for n, one in sections]


def _reach(section: ReportSection, at: int, ahead: _Ahead) -> int:
    """Where a section that begins at ``at`` ends.

    It goes on to the next header if a section on this ECG follows, else to the end of its line; a header that
    is alone on its line is followed by a paragraph, or by one line where no blank line ends it.
    """
    end = len(ahead.text) - 2
    if ahead.this_ecg[at + 1] < end:
        return ahead.header[at + 1]
    if section.content:
        return at + 1
    first = ahead.text[at + 1]
    blank = ahead.blank[first]
    goes_on = ahead.text[blank] < end
    return min(ahead.header[at + 1], blank if goes_on else first + 1, end)


def _of_this_ecg(sentence: str) -> str:
    """What a sentence about another ECG says about this one."""
    now, change = _comparing()
    match = now.search(sentence)
    if match:
        return sentence[match.start() :]
    return sentence if change.search(sentence) else ""


@lru_cache(maxsize=16384)
def _leads_away(line: str) -> bool:
    """Does a section on the patient or another ECG begin in a line?"""
    return any(section.kind in (PATIENT, OTHER_ECG, _DATED) for section in _sections(line))


def _sections(line: str) -> list[ReportSection]:
    """The stretches of a line that begin with a header, and what stands before the first."""
    if not _may_begin(line):
        return [ReportSection("", "", line)]
    kind = _alone(line)
    if kind:
        return [ReportSection(kind, line, line)]
    matches = [
        match
        for match in _before_colon().finditer(line)
        if ":" in match[0] or not line[: match.start()].strip(" *#_>")
    ]
    starts = [match.start() for match in matches]
    ends = [*starts[1:], len(line)]
    sections = (
        [ReportSection("", "", line[: starts[0]].strip())] if starts and line[: starts[0]].strip() else []
    )
    if not starts:
        return [ReportSection("", "", line)]
    return sections + [
        ReportSection(_kind_of(match), match[0], line[start:end].strip())
        for match, start, end in zip(matches, starts, ends, strict=True)
    ]


def _kind_of(match: re.Match[str]) -> str:
    """The kind of a header that was found before a colon."""
    kind = _kind(match[1])
    is_dated = re.search(r"\d", match[0].removeprefix(match[1])) and match[1].casefold() in ("ecg", "ekg")
    return _DATED if kind == THIS_ECG and is_dated else kind


def _may_begin(line: str) -> bool:
    """Can there be a header in a line, as far as one can tell at a glance?"""
    if ":" in line:
        return True
    match = _WORD.search(line[:40])
    return match is not None and fold_word(match[0]) in _first_words()


@cache
def _first_words() -> frozenset[str]:
    """The first words of headers as `fold_word` gives them, umlauts left out or not."""
    texts = [text for texts in load_table("sections")["headers"].values() for text in texts]
    words = {_WORD.findall(text)[0] for text in texts}
    plain = {word.translate(str.maketrans("äöüå", "aoua")) for word in words}
    return frozenset(map(fold_word, words | plain))


def _alone(line: str) -> str:
    """The kind of a header that is all of a line."""
    if len(line) > 80:
        return ""
    match = _title().fullmatch(line)
    return _kind(match[1]) if match else ""


@cache
def _before_colon() -> re.Pattern[str]:
    """A header and its colon; a dash only does at the beginning of a line."""
    return re.compile(rf"(?i)(?<![\w-])({_any_header()}){_tail()}[\s*_]*(?::(?![\d:])|\s[-–]\s)")


@cache
def _title() -> re.Pattern[str]:
    return re.compile(rf"(?i){_FRAME}({_any_header()}){_tail()}[\s*#=_:-]*")


def _tail() -> str:
    """A date behind a header."""
    before = "|".join(map(_spelt, load_table("sections")["words"]["dated"]))
    return rf"(?:\s*\(?\s*(?:(?:{before})\s+)?{_DATE}\s*\)?)?"


@cache
def _any_header() -> str:
    texts = [text for texts in load_table("sections")["headers"].values() for text in texts]
    return "|".join(map(_spelt, sorted(texts, key=len, reverse=True)))


@cache
def _kinds() -> list[tuple[re.Pattern[str], str]]:
    return [
        (re.compile(rf"(?i)(?:{'|'.join(map(_spelt, texts))})"), kind)
        for kind, texts in load_table("sections")["headers"].items()
    ]


def _kind(header: str) -> str:
    return next(kind for pattern, kind in _kinds() if pattern.fullmatch(header))


@cache
def _comparing() -> tuple[re.Pattern[str], re.Pattern[str]]:
    words = load_table("sections")["words"]
    now, change = (
        re.compile(rf"(?i)\b(?:{'|'.join(map(_spelt, words[name]))})\b") for name in ("now", "change")
    )
    return now, change


def _spelt(text: str) -> str:
    """A pattern of all spellings of a text: umlauts, blanks and hyphens."""
    return re.sub(r"[ -]", r"[\\s-]+", text).translate(_SPELLINGS)
