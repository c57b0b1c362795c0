"""The lines of a report put together again where an export wrapped them.

A line break ends a statement in reports without punctuation; wrapped text is known by what surrounds the
break: a word that cannot stand last ("no evidence of"), a comma, a hyphen, a small letter in a report that
begins its sentences with capitals, or lines that are all as full as the width allows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

from supreme.reports.tokens import fold_word, load_table

#: Lines of prose are wrapped at more than this.
_LEAST_WIDTH = 50
_ENDS = (".", "!", "?", ";", ":")
_LAST_WORD = re.compile(r"([\w./]+?)\.?[\s(]*$")
_FIRST_WORD = re.compile(r"[\w/]+")
#: "LBBB: no", "LBBB - no": the last word is an answer.
_ANSWERED = re.compile(r"[:=?|–-]\s*\S+\s*$")
#: Two sentences: text that ends them with full stops is no list of lines.
_SENTENCES = re.compile(r"[a-zåäöüß)]{3}\.\s+[A-ZÅÄÖÜ]")
#: A line as long as this that begins with a capital is the beginning of a sentence that ends in a full stop.
_LONG = 25
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
    lines: list[str] = []
    for paragraph in _paragraphs(report):
        filled = _is_filled(paragraph)
        has_sentences = any(map(_SENTENCES.search, paragraph))
        for number, line in enumerate(paragraph):
            if line.startswith("- ") and any(lines):
                lines = lines if lines[-1] else [line for line in lines if line]
                lines[-1] = f"{lines[-1].rstrip('. ')} {line}"
            elif number and (
                (filled and not lines[-1].endswith(_ENDS))
                or _goes_on(lines[-1], line, has_sentences=has_sentences)
            ):
                lines[-1] = _joined(lines[-1], line)
            else:
                lines.append(line)
        lines.append("")
    return lines[:-1]


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


def _goes_on(line: str, following: str, *, has_sentences: bool) -> bool:
    """Does a line go on in the following?"""
    if _ITEM.match(following):
        return False
    words = _words()
    if line.endswith(":"):
        return is_answer(following)
    if line.endswith((",", "/")) or _HYPHEN.search(line):
        return True
    end, begin = _last(line), _first(following)
    if line.endswith("."):
        return end in words["hedges"]
    if line.endswith(_ENDS):
        return False
    answered = _ANSWERED.search(line) or (end in words["answers"] and _last(following) in words["answers"])
    is_small = following.split()[0].islower() and not line.islower()
    ends_in_stop = len(line) >= _LONG and line[0].isupper() and following.endswith(".")
    return (
        (not answered and (end in words["open"] or _last_two(line) in words["open"]))
        or (is_small and end in words["half_open"] and not _ADDED.search(line))
        or begin in words["going_on"]
        or (is_small and (has_sentences or ends_in_stop))
    )


def _is_filled(lines: Sequence[str]) -> bool:
    """Is every line as full as the longest allows, so that the next line's first word did not fit?"""
    width = max(map(len, lines))
    breaks = [
        (line, following)
        for line, following in zip(lines, lines[1:], strict=False)
        if not line.endswith(_ENDS)
    ]
    return (
        width >= _LEAST_WIDTH
        and len(breaks) >= 3
        and sum(following[0].islower() for _, following in breaks) >= 2
        and not any(_ITEM.match(line) for line in lines)
        and all(len(line) + 1 + len(following.split()[0]) > width for line, following in breaks)
    )


def _joined(line: str, following: str) -> str:
    if _HYPHEN.search(line):
        return line[:-1] + following if following[0].islower() else line + following
    return f"{line} {following}"


def _last(line: str) -> str:
    match = _LAST_WORD.search(line)
    return fold_word(match[1]) if match else ""


def _last_two(line: str) -> str:
    return fold_word(" ".join(line.split()[-2:]))


def _first(line: str) -> str:
    match = _FIRST_WORD.match(line)
    return fold_word(match[0]) if match else ""


@cache
def _words() -> dict[str, frozenset[str]]:
    return {name: frozenset(map(fold_word, words)) for name, words in load_table("lines").items()}
