"""Folded tokens of a statement with their place in the text."""

from __future__ import annotations

import re
import tomllib
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any, NamedTuple

from supreme.reports import leads

#: A number ("2:1"), a word, a dash between words, a mark.
_TOKEN = re.compile(
    r"\d+[:.,]\d+|[\w#]+(?:['’](?=[\s)])|(?i:\((?:s|n|er|en|a|es|e)\)))?|(?<=\s)[-–](?=\s)|[.,;:!?()&+]"
)
_MARKS = {**{mark: mark for mark in ".,;:!?()-"}, "–": "-", "&": "and", "+": "and"}
FOLD = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "å": "a", "é": "e", "#": "ue", "'": None, "’": None})
_SUFFIX = re.compile(r"\((\w+)\)$")
#: "AV-Block I. Grades": the full stop belongs to the number.
_GRADE = re.compile(r"\W*grad", re.IGNORECASE)
_NUMERALS = {"a", "i", "iv", "av", "v"}
_HALVES = {"a", "A", "i", "I"}


class Token(NamedTuple):
    """A folded word, lead list or punctuation mark; ``start`` and ``end`` are offsets in the statement."""

    text: str
    start: int
    end: int
    leads: frozenset[str] = frozenset()


@cache
def load_table(name: str) -> dict[str, Any]:
    """One TOML file of ``data/lexicon``."""
    path = files("supreme.reports").joinpath(f"data/lexicon/{name}.toml")
    return tomllib.loads(path.read_text(encoding="utf-8"))


def fold_word(word: str) -> str:
    """Lower case, umlauts spelt out, apostrophes gone."""
    return word.casefold().translate(FOLD)


@cache
def abbreviations() -> frozenset[str]:
    """Folded words whose full stop ends no sentence."""
    return frozenset(load_table("tokens")["abbreviations"])


def tokenize(statement: str) -> list[Token]:
    """Folded tokens; hyphens and slashes separate words, lead lists ("V4-V6") become one token."""
    tokens: list[Token] = []
    at = 0
    for start, end, names in leads.find(statement):
        _words(statement, at, start, tokens)
        tokens.append(Token("+".join(names), start, end, frozenset(names)))
        at = end
    _words(statement, at, len(statement), tokens)
    return tokens


def _words(statement: str, start: int, end: int, tokens: list[Token]) -> None:
    before = ""
    for match in _TOKEN.finditer(statement, start, end):
        text = match[0]
        first, last = match.span()
        mark = _MARKS.get(text)
        if mark is None:
            word = canonical(text)
            if word == "v" and before in _HALVES and first - tokens[-1].end <= 1:
                # "A-V block", "I.V. conduction" are "av" and "iv".
                word = text = canonical(before) + "v"
                first = tokens.pop().start
            tokens.append(Token(word, first, last))
            before = text
        elif text != "." or not before or not _belongs(before, statement, last):
            tokens.append(Token(mark, first, last))
            before = ""


def _belongs(word: str, statement: str, at: int) -> bool:
    """Is a full stop behind a word part of an abbreviation or an ordinal?"""
    raw = fold_word(word)
    return raw in abbreviations() or raw in _NUMERALS or _GRADE.match(statement, at) is not None


@lru_cache(maxsize=65536)
def canonical(word: str) -> str:
    """Fold a word and take it to its base form by the tables of ``tokens.toml``."""
    same, suffixes, stems = _forms()
    folded = _SUFFIX.sub(r"\1", fold_word(word))
    folded = same.get(folded, folded)
    for suffix in suffixes:
        stem = folded.removesuffix(suffix)
        if stem != folded and stem in stems:
            return stem
    return folded


@cache
def _forms() -> tuple[dict[str, str], tuple[str, ...], frozenset[str]]:
    table = load_table("tokens")
    return table["same"], tuple(table["suffixes"]), frozenset(table["stems"])
