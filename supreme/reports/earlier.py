"""Findings of an earlier time: "prior AF", "AF in 2019", "known AF, now sinus rhythm".

They are no mentions, as what stands under "History". An infarct is one: it stays to be seen on the ECG.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

from supreme.reports import ages
from supreme.reports.assertions import REACH_AFTER, Assertion, exclude_each_other
from supreme.reports.lexicon import AND, MAYBE, NOT, Match
from supreme.reports.tokens import Token, load_table, tokenize

#: Words between "prior" and its finding, between a finding and its date, and between "now" and its finding.
_REACH_EARLIER, _REACH_DATE, _REACH_NOW = 1, 2, 3
#: Tokens of a date before its year: "in (early) March 2019".
_REACH_YEAR = 3
_YEAR = re.compile(r"(?:19|20)\d\d")


def find(
    tokens: Sequence[Token], findings: Sequence[Match[str]], asserted: Sequence[Assertion]
) -> frozenset[int]:
    """The findings, as numbers, that are said of an earlier time.

    ``findings`` are in order and do not overlap; ``asserted`` is what the cues say of them.
    """
    texts = [token.text for token in tokens]
    if not any(text in _first_words() or _YEAR.fullmatch(text) for text in texts):
        return frozenset()
    result = {
        index
        for index, finding in enumerate(findings)
        if _is_called_earlier(texts, finding) or _has_date(texts, finding)
    }
    result |= _replaced(texts, findings)
    return frozenset(
        index
        for index in result
        if asserted[index].status != "absent" and ages.infarcts().isdisjoint(_entities(findings[index]))
    )


def _is_called_earlier(texts: Sequence[str], finding: Match[str]) -> bool:
    """ "Prior AF", but not "unchanged from prior LBBB"."""
    comparing = load_table("cues_between")["comparing"]
    for gap in range(_REACH_EARLIER + 1):
        for words in _phrases("earlier"):
            start = finding.first - gap - len(words)
            if start >= 0 and tuple(texts[start : start + len(words)]) == words:
                between = texts[start + len(words) : finding.first]
                before = texts[max(start - REACH_AFTER, 0) : start]
                return all(map(str.isalnum, between)) and not set(before) & set(comparing)
    return False


def _has_date(texts: Sequence[str], finding: Match[str]) -> bool:
    """ "AF in 2019", "AF (2019)", but not "LBBB since 2019" or "AF in 2019 and again today"."""
    table = load_table("cues_between")
    for at in range(finding.last, min(finding.last + _REACH_DATE + 1, len(texts))):
        if texts[at] in table["dated"]:
            rest = texts[at + 1 : at + 1 + _REACH_YEAR]
            year = next((n for n, text in enumerate(rest) if _YEAR.fullmatch(text)), None)
            if year is None or not all(map(str.isalnum, rest[:year])):
                return False
            behind = texts[at + 2 + year : at + 2 + year + REACH_AFTER]
            return not set(behind) & set(table["comparing_behind"])
        if not texts[at].isalnum():
            return False
    return False


def _replaced(texts: Sequence[str], findings: Sequence[Match[str]]) -> set[int]:
    """Those that another one, of which an ECG shows one at a time, has replaced: "known AF, now SR"."""
    result: set[int] = set()
    current = [index for index, finding in enumerate(findings) if _is_called_current(texts, finding)]
    for index in current:
        result |= {
            other
            for other in range(index)
            if any(
                exclude_each_other(one, new)
                for one in _entities(findings[other])
                for new in _entities(findings[index])
            )
        }
    return result


def _is_called_current(texts: Sequence[str], finding: Match[str]) -> bool:
    """ "Now sinus rhythm", "sinus rhythm at present"."""
    for words in _phrases("now"):
        for gap in range(_REACH_NOW + 1):
            start = finding.first - gap - len(words)
            between = texts[max(start, 0) + len(words) : finding.first]
            if start >= 0 and tuple(texts[start : start + len(words)]) == words:
                return all(map(str.isalnum, between))
        end = finding.last + len(words)
        at_end = end == len(texts) or not texts[min(end, len(texts) - 1)].isalnum()
        if tuple(texts[finding.last : end]) == words and at_end:
            return True
    return False


def _entities(finding: Match[str]) -> list[str]:
    return [part.lstrip(NOT + MAYBE) for part in finding.value.split(AND)]


@cache
def _phrases(name: str) -> tuple[tuple[str, ...], ...]:
    """The wordings of a list, folded, as tuples of tokens."""
    return tuple(tuple(token.text for token in tokenize(text)) for text in load_table("cues_between")[name])


@cache
def _first_words() -> frozenset[str]:
    return frozenset(words[0] for name in ("earlier", "now") for words in _phrases(name))
