"""What a wave does, wherever the sentence says it: "T waves are flat in V4, V5 and inverted in I, aVL".

The lexicon holds the common wordings; this reads the changes that stand apart from the wave they belong to.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from supreme.reports import lexicon
from supreme.reports.lexicon import Match
from supreme.reports.tokens import Token, load_table, tokenize


class _Subject(NamedTuple):
    """The wave that the sentence is about, with its tokens ``first`` to ``last`` (exclusive)."""

    wave: str
    first: int
    last: int


def find(tokens: Sequence[Token], matches: Sequence[Match[str]], walls: set[int]) -> list[Match[str]]:
    """Changes of waves that no match in ``found`` covers; ``walls`` are the tokens that name walls."""
    table = _table()
    if table.changing.isdisjoint([token.text for token in tokens]):
        return []
    covered = {index for match in matches for index in range(match.first, match.last)}
    result: list[Match[str]] = []
    subject: _Subject | None = None
    apart = False
    for index, token in enumerate(tokens):
        text = token.text
        if text in table.waves:
            subject, apart = _subject(tokens, index, subject), False
        elif text in table.changing:
            ahead = _wave_at(tokens, index + 1)
            wave = ahead if ahead and (apart or not table.does(subject, text)) else subject
            value = table.does(wave, text)
            denied = value.startswith(lexicon.NOT)
            if wave and value and index not in covered and not (apart and denied):
                first, last = index, index + 1
                if not apart and covered.isdisjoint(range(min(wave.first, first), max(wave.last, last))):
                    first, last = min(wave.first, first), max(wave.last, last)
                covered.update(range(first, last))
                result.append(Match(first, last, value))
            apart = True
        elif text in table.linking:
            apart = True
        elif not (token.leads or index in walls or text in table.filling or text.isdigit()):
            subject = None
    return result


def _wave_at(tokens: Sequence[Token], index: int) -> _Subject | None:
    """The wave that begins at this token."""
    if index < len(tokens) and tokens[index].text in _table().waves:
        return _subject(tokens, index, None)
    return None


def _subject(tokens: Sequence[Token], index: int, before: _Subject | None) -> _Subject:
    """The wave at this token; "ST" and "T" beside each other are one."""
    if before and before.last == index and (before.wave, tokens[index].text) == ("st", "t"):
        return _Subject("st t", before.first, index + 1)
    return _Subject(tokens[index].text, index, index + 1)


class _Table(NamedTuple):
    waves: frozenset[str]
    changing: frozenset[str]
    changes: dict[tuple[str, str], str]
    """Wave and word to entity."""
    filling: frozenset[str]
    linking: frozenset[str]

    def does(self, subject: _Subject | None, word: str) -> str:
        """The entity of a word about a wave; empty if the word does not go with it."""
        return self.changes.get((subject.wave, word), "") if subject else ""


@cache
def _table() -> _Table:
    table = load_table("waves")
    changes = {
        (wave, tokenize(word)[0].text): value
        for wave, values in table["changes"].items()
        for value, words in values.items()
        for word in words
    }
    waves = frozenset(wave for wave, _ in changes if " " not in wave)
    for wave in ("st", "t"):
        changes |= {("st t", word): value for (own, word), value in changes.items() if own == wave}
    return _Table(
        waves,
        frozenset(word for _, word in changes),
        changes,
        frozenset(table["filling"]),
        frozenset(table["linking"]),
    )
