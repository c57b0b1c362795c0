"""Phrases to entities: longest match over tokens, by one Aho-Corasick automaton."""

from __future__ import annotations

import string
from collections.abc import Iterable, Iterator
from typing import Generic, NamedTuple, TypeVar

import ahocorasick

from supreme.reports.tokens import Token, load_table, tokenize
from supreme.reports.vocabulary import LANGUAGES, load_base

T = TypeVar("T")
#: The payload of phrases that are no findings.
IGNORE = ""
#: Between the entities of a phrase that names several.
AND = "+"
#: Before an entity that a phrase denies ("QT normal" is "!long_qt") or leaves open ("fibrillation/flutter").
NOT, MAYBE = "!", "?"
#: Before the rates that belong to a rhythm named before them: "with rapid ventricular response".
RATE = ">"

_UNKNOWN = "\0"
_KEPT = 200_000
_STEM_FROM = 6
"""Letters of a word's stem from which on its endings do not matter."""
_SPELT_FROM = 7
"""Letters of a word from which on a slip of the pen is forgiven."""
_LONGEST = 48
"""Letters of a word; a longer one is in no phrase, and to look for its misspellings takes quadratic time."""


class Match(NamedTuple, Generic[T]):
    """Tokens ``first`` to ``last`` (exclusive) match a phrase with this payload."""

    first: int
    last: int
    value: T


class Words(dict[str, str]):
    """The words of all phrases, each as one character, so that a statement is a string of them.

    Words that differ in the ending only ("Artefakte", "Artefakt") are one, unless they were learnt as they
    are: "möglich" stands behind a finding and "mögliche" before it. A word that is in no phrase takes the
    character of a known form of it, else of the one known word that it misspells by one letter.
    """

    def __init__(self) -> None:
        super().__init__()
        self._learnt: set[str] = set()
        self._as_they_are: set[str] = set()
        self._by_stem: dict[str, set[str]] = {}

    def learn(self, tokens: Iterable[Token], as_they_are: bool = False) -> str:
        """The code of a phrase; its words are known from now on."""
        texts = [token.text for token in tokens]
        for text in texts:
            if text not in self._learnt:
                forms = set() if as_they_are else self._forms(text) - self._as_they_are
                self._learnt.add(text)
                self[text] = self[min(forms)] if forms else chr(len(self._learnt))
                if as_they_are:
                    self._as_they_are.add(text)
                for stem in _stems(text):
                    self._by_stem.setdefault(stem, set()).add(text)
        return "".join([self[text] for text in texts])

    def code(self, tokens: Iterable[Token]) -> str:
        """The code of a statement, one character a token."""
        return "".join(map(self.__getitem__, [token.text for token in tokens]))

    def __missing__(self, word: str) -> str:
        if len(word) > _LONGEST:
            return _UNKNOWN
        forms = self._forms(word)
        known = {min(forms, key=lambda form: (len(form), form))} if forms else set()
        if not known:
            same = load_table("tokens")["same"]
            known = {same.get(other, other) for other in _misspelt(word)} & self._learnt
        character = self[known.pop()] if len(known) == 1 else _UNKNOWN
        if len(self) < _KEPT:
            self[word] = character
        return character

    def _forms(self, word: str) -> set[str]:
        """The known words that share a stem with this one."""
        return {form for stem in _stems(word) for form in self._by_stem.get(stem, ())}


class Phrases(Generic[T]):
    """Phrases with payloads, found in coded statements; a longer match wins over those that it overlaps."""

    def __init__(self, phrases: Iterable[tuple[str, T]], words: Words, as_they_are: bool = False) -> None:
        self._automaton = ahocorasick.Automaton()
        self._values: dict[str, T] = {}
        for phrase, value in phrases:
            key = words.learn(tokenize(phrase), as_they_are)
            if not key:
                raise ValueError(f"phrase {phrase!r} has no words")
            if self._values.get(key, value) != value:
                raise ValueError(f"phrase {phrase!r} stands for both {self._values[key]!r} and {value!r}")
            self._values[key] = value
            self._automaton.add_word(key, (1 - len(key), value))
        self._automaton.make_automaton()

    def find(self, coded: str, covered: int = 0) -> list[Match[T]]:
        """Non-overlapping matches in order, longest first where they compete; none over ``taken`` (bits)."""
        # The first number is smaller for a longer match: sorted, they come in the order of choice.
        matches = sorted([(before, end, value) for end, (before, value) in self._automaton.iter(coded)])
        result = []
        for before, end, value in matches:
            bits = (2 << end) - (1 << (end + before))
            if not covered & bits:
                covered |= bits
                result.append(Match(end + before, end + 1, value))
        if len(result) > 1:
            result.sort()
        return result


def bits(spans: Iterable[Match[T]]) -> int:
    """The tokens of all spans as bits."""
    covered = 0
    for first, last, _ in spans:
        covered |= (1 << last) - (1 << first)
    return covered


def wordings() -> list[tuple[str, str]]:
    """Every wording of every entity of the base vocabulary with the entity's id; `IGNORE` for no finding.

    A wording of several entities has their ids joined by `AND`; `NOT` stands before what a wording denies,
    `MAYBE` before what it leaves open.

    Raises:
        ValueError: ``phrases.toml`` names an unknown entity.
    """
    vocabulary = load_base()
    pairs: list[tuple[str, str]] = []
    for entity in vocabulary:
        pairs.append((entity.name, entity.id))
        pairs += [(text, entity.id) for lang in LANGUAGES for text in entity.synonyms.get(lang, [])]
    for value, texts in load_table("phrases").items():
        unknown = [part for part in value.split(AND) if part.lstrip(NOT + MAYBE) not in vocabulary]
        if unknown and value != "ignore" and not value.startswith(RATE):
            raise ValueError(f"phrases.toml: no entity {unknown[0]!r} in the vocabulary")
        pairs += [(text, IGNORE if value == "ignore" else value) for text in texts]
    return pairs + _both_sides(pairs)


def _both_sides(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """ "Left and right atrial enlargement" of "left atrial enlargement" and "right atrial enlargement"."""
    known = dict(pairs)
    matches = []
    for text, left in known.items():
        rest = text.removeprefix("left ")
        right = known.get(f"right {rest}")
        if rest != text and right and AND not in left + right:
            both, open_ = f"{left}{AND}{right}", f"{MAYBE}{left}{AND}{MAYBE}{right}"
            for one, other in (("left", "right"), ("right", "left")):
                matches += [(f"{one} {word} {other} {rest}", both) for word in ("and", "nor")]
                matches.append((f"{one} or {other} {rest}", open_))
    return [(text, value) for text, value in matches if text not in known]


def _stems(word: str) -> Iterator[str]:
    """What is left of a word without the endings that it may have, the word itself first."""
    yield word
    for suffix in load_table("tokens")["suffixes"]:
        if len(word) - len(suffix) >= _STEM_FROM and word.endswith(suffix):
            yield word.removesuffix(suffix)


def _misspelt(word: str) -> Iterator[str]:
    """Words that differ by one letter, left out, put in, wrong or swapped, but begin alike."""
    if len(word) < _SPELT_FROM or not word.isalpha():
        return
    for at in range(1, len(word) + 1):
        head, tail = word[:at], word[at:]
        if tail:
            yield head + tail[1:]
            if len(tail) > 1 and tail[0] != tail[1]:
                yield head + tail[1] + tail[0] + tail[2:]
        for letter in string.ascii_lowercase:
            yield head + letter + tail
            if tail and letter != tail[0]:
                yield head + letter + tail[1:]
