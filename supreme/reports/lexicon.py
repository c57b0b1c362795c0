"""Phrases to entities: longest match over token boundaries, by one Aho-Corasick automaton."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import ahocorasick

from supreme.reports.statements import Token, load_table, tokenize
from supreme.reports.vocabulary import LANGUAGES, load_base

T = TypeVar("T")
#: The payload of phrases that are no findings.
IGNORE = ""
#: Between the entities of a phrase that names several.
AND = "+"


@dataclass(frozen=True, slots=True)
class Match(Generic[T]):
    """Tokens ``first`` to ``last`` (exclusive) match a phrase with this payload."""

    first: int
    last: int
    value: T


class Phrases(Generic[T]):
    """Phrases with payloads, found in token sequences; a longer match wins over those that it overlaps."""

    def __init__(self, phrases: Iterable[tuple[str, T]]) -> None:
        self._automaton = ahocorasick.Automaton()
        self.table: dict[str, T] = {}
        for phrase, value in phrases:
            key = " ".join(token.text for token in tokenize(phrase))
            if not key:
                raise ValueError(f"phrase {phrase!r} has no words")
            if self.table.get(key, value) != value:
                raise ValueError(f"phrase {phrase!r} stands for both {self.table[key]!r} and {value!r}")
            self.table[key] = value
            self._automaton.add_word(f" {key} ", (key.count(" ") + 1, value))
        self._automaton.make_automaton()

    def find(self, tokens: Sequence[Token]) -> list[Match[T]]:
        """Non-overlapping matches in order, longest first where they compete."""
        text = " "
        starts = {}
        ends = {}
        for index, token in enumerate(tokens):
            starts[len(text) - 1] = index
            text += token.text + " "
            ends[len(text) - 1] = index + 1
        found = []
        for end, (words, value) in self._automaton.iter(text):
            last = ends.get(end)
            if last is not None and last - words >= 0:
                found.append(Match(last - words, last, value))
        found.sort(key=lambda match: (match.first - match.last, match.first))
        taken: set[int] = set()
        chosen = []
        for match in found:
            covered = range(match.first, match.last)
            if taken.isdisjoint(covered):
                taken.update(covered)
                chosen.append(match)
        return sorted(chosen, key=lambda match: match.first)


def wordings() -> list[tuple[str, str]]:
    """Every wording of every entity of the base vocabulary with the entity's id; `IGNORE` for no finding.

    A wording of several entities has their ids joined by `AND`.

    Raises:
        ValueError: ``phrases.toml`` names an unknown entity.
    """
    vocabulary = load_base()
    pairs: list[tuple[str, str]] = []
    for entity in vocabulary:
        pairs.append((entity.name, entity.id))
        pairs += [(text, entity.id) for lang in LANGUAGES for text in entity.synonyms.get(lang, [])]
    for entity_id, texts in load_table("phrases").items():
        unknown = [part for part in entity_id.split(AND) if part not in vocabulary]
        if unknown and entity_id != "ignore":
            raise ValueError(f"phrases.toml: no entity {unknown[0]!r} in the vocabulary")
        pairs += [(text, IGNORE if entity_id == "ignore" else entity_id) for text in texts]
    return pairs
