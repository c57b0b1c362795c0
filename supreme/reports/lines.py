"""The lines of a report put together again where an export wrapped them.

A line break ends a statement in reports without punctuation; wrapped text is known by what surrounds the
break: a word that cannot stand last ("no evidence of"), a comma, a hyphen, a small letter in a report that
begins its sentences with capitals, or lines that are all as full as the width allows.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import NamedTuple

from supreme.reports.tokens import fold_word, load_table

#: Lines of prose are wrapped at more than this, and with fewer breaks one cannot tell.
_LEAST_WIDTH, _LEAST_BREAKS = 50, 3
#: How a line ends: not at all ("broken"), at a sign, or at a word that cannot or hardly be the last.
_BROKEN, _COLON, _FINISHED, _OPEN, _HALF_OPEN = "broken", "colon", "finished", "open", "half open"
_ENDS = (".", "!", "?", ";", ":")
_LAST_WORD = re.compile(r"([\w./]+?)\.?[\s(]*$")
_FIRST_WORD = re.compile(r"[\w/]+")
#: "LBBB: no", "LBBB - no": the last word is an answer.
_ANSWERED = re.compile(r"[:=?|–-]\s*\S+\s*$")
#: Two sentences: text that ends them with full stops is no list of lines.
_SENTENCES = re.compile(r"[a-zåäöüß)]{3}\.\s+[A-ZÅÄÖÜ]")
#: "Inferior infarct, old": the last word is added to a finding.
_ADDED = re.compile(r"(?:,|-|\()\s*\S+\s*$")
_HYPHEN = re.compile(r"[^\W\d_]-$")
_ITEM = re.compile(r"(?:[-–•*·>]|\d+[.)]|\[|\(|[☐☑☒□■✓✔✗✘])\s?")


def unwrap(report: str) -> list[str]:
    """Stripped lines, wrapped ones joined; "" for a blank line.

    A line that begins with "- " (MIMIC-IV-ECG) qualifies the line before and is joined to it.
    """
    if "\n" not in report:
        return [report.strip()]
    lines: list[list[str]] = []
    for paragraph in _paragraphs(report):
        filled = _is_filled(paragraph)
        is_cased = paragraph[0][0].isupper()
        has_sentences = _is_sentence(paragraph) or any(map(_SENTENCES.search, paragraph))
        begins = True
        for line in paragraph:
            if line.startswith("- ") and any(lines):
                while not lines[-1]:
                    lines.pop()
                lines[-1][-1] = lines[-1][-1].rstrip(". ")
                lines[-1].append(f" {line}")
            elif (
                not begins
                and not _is_answered(lines[-1])
                and (
                    (filled and not lines[-1][-1].endswith(_ENDS))
                    or _goes_on("".join(lines[-1][-2:]), line, is_cased=is_cased, has_sentences=has_sentences)
                )
            ):
                _join(lines[-1], line)
            else:
                lines.append([line])
            begins = False
        lines.append([])
    return ["".join(pieces) for pieces in lines[:-1]]


def _is_answered(pieces: Sequence[str]) -> bool:
    """Has a line been joined with its answer?"""
    return len(pieces) > 1 and is_answer(pieces[-1])


def is_answer(text: str) -> bool:
    """Is a text no more than the answer to what stands before it ("No.")?"""
    return len(text) < 30 and fold_word(text.strip(" .;")) in _words()["answers"]


def _paragraphs(report: str) -> list[list[str]]:
    paragraphs: list[list[str]] = [[]]
    for line in map(str.strip, report.splitlines()):
        if line:
            paragraphs[-1].append(line)
        elif paragraphs[-1]:
            paragraphs.append([])
    return [paragraph for paragraph in paragraphs if paragraph]


@lru_cache(maxsize=65536)
def _goes_on(line: str, following: str, *, is_cased: bool, has_sentences: bool) -> bool:
    """Does a line go on in the following?"""
    end, begin = _end(line), _begin(following)
    if begin.is_item or end.kind == _FINISHED:
        return False
    if end.kind == _COLON or is_answer(following):
        return is_answer(following)
    if end.kind == _BROKEN or begin.is_conjunction:
        return True
    if end.kind == _OPEN:
        return begin.is_small or not (end.is_answer and _end(following).is_answer)
    return begin.is_small and is_cased and (end.kind == _HALF_OPEN or has_sentences)


class _End(NamedTuple):
    kind: str
    is_answer: bool = False


class _Begin(NamedTuple):
    is_item: bool
    is_conjunction: bool
    is_small: bool


@lru_cache(maxsize=16384)
def _end(line: str) -> _End:
    """What the end of a line says on whether it goes on."""
    words = _words()
    if line.endswith((",", "/")) or _HYPHEN.search(line):
        return _End(_BROKEN)
    if line.endswith(":"):
        return _End(_COLON)
    match = _LAST_WORD.search(line)
    last = fold_word(match[1]) if match else ""
    is_answer = last in words["answers"]
    if line.endswith("."):
        return _End(_BROKEN if last in words["hedges"] else _FINISHED)
    if line.endswith(_ENDS):
        return _End(_FINISHED)
    if is_answer and _ANSWERED.search(line):
        return _End(_FINISHED, is_answer)
    if last in words["open"] or fold_word(" ".join(line.split()[-2:])) in words["open"]:
        return _End(_OPEN, is_answer)
    is_half_open = last in words["half_open"] and not _ADDED.search(line)
    return _End(_HALF_OPEN if is_half_open else "", is_answer)


@lru_cache(maxsize=16384)
def _begin(line: str) -> _Begin:
    """What the beginning of a line says on whether it continues the one before."""
    match = _FIRST_WORD.match(line)
    word = match[0] if match else ""
    return _Begin(bool(_ITEM.match(line)), fold_word(word) in _words()["going_on"], word.islower())


def _is_sentence(lines: Sequence[str]) -> bool:
    """Does a paragraph begin with a capital, end in a full stop, and go on in small letters?"""
    return (
        lines[-1].endswith(".")
        and lines[0][0].isupper()
        and all(
            line.endswith(_ENDS) or _begin(following).is_small
            for line, following in itertools.pairwise(lines)
        )
    )


def _is_filled(lines: Sequence[str]) -> bool:
    """Is every line as full as the longest allows, so that the next line's first word did not fit?"""
    width = max(map(len, lines))
    if len(lines) <= _LEAST_BREAKS or width < _LEAST_WIDTH or any(_begin(line).is_item for line in lines):
        return False
    breaks = [pair for pair in itertools.pairwise(lines) if not pair[0].endswith(_ENDS)]
    return (
        len(breaks) >= _LEAST_BREAKS
        and sum(following[0].islower() for _, following in breaks) >= 2
        and all(len(line) + 1 + len(following.split()[0]) > width for line, following in breaks)
    )


def _join(pieces: list[str], line: str) -> None:
    if not _HYPHEN.search(pieces[-1][-2:]):
        line = f" {line}"
    elif line[0].islower():
        pieces[-1] = pieces[-1][:-1]
    pieces.append(line)


@cache
def _words() -> dict[str, frozenset[str]]:
    return {name: frozenset(map(fold_word, words)) for name, words in load_table("lines").items()}
