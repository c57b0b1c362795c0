"""Reports to statements: sentences about this ECG, without label leaks and notes of the recording system."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from supreme import storage
from supreme.reports import cleaning, lines, sections
from supreme.reports.tokens import FOLD, abbreviations, fold_word

#: Some PTB-XL reports end in "Edit: NORM 100, ..." or, since 1.0.3, "consensus label derived from:
#: {'SR': 0.0, ...", which are the labels themselves.
_LEAK_SIGNS = ("edit:", "consensus label")
_LABEL_LEAK = re.compile(r"(?is)\bedit:.*|\bconsensus label derived from:.*")
_NOISE = re.compile(
    r"(?i)\btrace only(?: requested)?\b\.?|\b4\.46\s+unbest\w*.*$"
    r"|\bunbest(?:ä|ae)tigt\w*(?:\s+beri\w*)?$|\*unconfirmedanalysis\*"
)
_SENTENCE_END = re.compile(r"(?<=[.!?;])\s+")
#: "vom 12." is no end before "März".
_DAY = re.compile(r"(?i)\b(?:vom|am|den|of|from|on)\s+\d{1,2}\.$")
_EMPTY = " .;!?-*"
_GRADE = re.compile(r"(?i)\bgrad")


def split(report: str) -> list[str]:
    """A report's statements, without label leaks and notes of the recording system.

    The text is cleaned (:func:`cleaning.clean`), wrapped lines are joined (:func:`lines.unwrap`), sections
    on the patient, the question or another ECG are left out (:func:`sections.about_this_ecg`), and each line
    is cut at the ends of its sentences, but not after abbreviations.
    """
    report = cleaning.clean(report)
    if any(sign in report.lower() for sign in _LEAK_SIGNS):
        report = _LABEL_LEAK.sub("", report)
    relevant = sections.about_this_ecg(lines.unwrap(report), sentences)
    return [statement for line in relevant if line for statement in sentences(line)]


@lru_cache(maxsize=65536)
def fold(statement: str) -> str:
    """What decides that two statements are the same: case, umlaut spelling and white space do not count."""
    folded = unicodedata.normalize("NFC", statement).casefold().translate(FOLD)
    return " ".join(folded.split()).rstrip(". ")


def digest(statement: str) -> str:
    """The identity of a statement: 32 hexadecimal digits over its folded text."""
    return storage.sha256(fold(statement).encode())[:32]


@lru_cache(maxsize=65536)
def sentences(line: str) -> tuple[str, ...]:
    """The sentences of a line; "AV-Block I. Grades" is not cut, as its full stop belongs to the number."""
    line = _NOISE.sub("", unicodedata.normalize("NFC", line)).strip()
    parts: list[str] = []
    joined = ""
    for part in _SENTENCE_END.split(line):
        joined = f"{joined} {part}" if joined else part
        last = fold_word(joined.rstrip(".").rpartition(" ")[2])
        unfinished = joined.endswith(".") and (last in abbreviations() or bool(_DAY.search(joined[-20:])))
        if not unfinished and (part.strip(_EMPTY) or joined != part):
            parts.append(joined)
            joined = ""
    parts += [joined] if joined else []
    merged: list[str] = []
    for part in parts:
        if merged and (_GRADE.match(part) or (merged[-1].endswith("?") and lines.is_answer(part))):
            merged[-1] += f" {part}"
        elif part.strip(_EMPTY):
            merged.append(part)
    return tuple(merged)
