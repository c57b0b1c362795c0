"""Folded tokens of a statement with their place in the text."""

from __future__ import annotations

import re
import tomllib
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any, NamedTuple

from supreme.reports import leads

_CHUNK = re.compile(r"\S+")
#: A date, a number ("2:1"), a word, a mark.
_TOKEN = re.compile(
    r"\d{1,4}[./]\d{1,2}[./]\d{2,4}|\d+[:.,]\d+"
    r"|[\w#]+(?:['’](?=\)|$)|(?i:\((?:s|n|er|en|a|es|e)\)))?|[.,;:!?()&+–−—=-]"
)
_MARKS = {**{mark: mark for mark in ".,;:!?()-="}, "–": "-", "−": "-", "—": "-", "&": "and", "+": "and"}
#: A box of a form, ticked or not, and a sign that is an answer.
TICKED, EMPTY, BOTH, NONE = "[x]", "[ ]", "+/-", "Ø"
_BOX = re.compile(
    r"\[\s*(?P<a>[xX+✓✔]?)\s*\]|\(\s*(?P<b>[xX✓✔])\s*\)|\(\s+\)|[☐☑☒□■▢▣○●✓✔✗✘⬜]|\+/-|±|(?<!\w)[Ø∅](?!\w)"
)
_BOX_SIGNS = frozenset("[(☐☑☒□■▢▣○●✓✔✗✘⬜±/Ø∅")
_TICKS = frozenset("☑☒■▣●✓✔")
#: Before a sign that stands for yes or no: "AF:-", "(-)".
_ASKING = frozenset(":=(")
FOLD = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "å": "a", "é": "e", "#": "ue", "'": None, "’": None})
_SUFFIX = re.compile(r"\((\w+)\)$")
_NUMERALS = {"a", "i", "iv", "av", "v"}
_HALVES = {"a", "i"}


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
    """Folded tokens; hyphens and slashes separate words, lead lists ("V4-V6") become one token.

    A full stop that belongs to an abbreviation or a number is no token.
    """
    tokens: list[Token] = []
    at = 0
    for token in _lead_lists_and_boxes(statement):
        _words(statement, at, token.start, tokens)
        tokens.append(token)
        at = token.end
    _words(statement, at, len(statement), tokens)
    return tokens


def _lead_lists_and_boxes(statement: str) -> list[Token]:
    """The tokens that may hold white space."""
    lists = [Token("+".join(names), a, b, frozenset(names)) for a, b, names in leads.find(statement)]
    if _BOX_SIGNS.isdisjoint(statement):
        return lists
    covered = {place for token in lists for place in range(token.start, token.end)}
    boxes = [
        Token(_box(match), *match.span())
        for match in _BOX.finditer(statement)
        if match.start() not in covered
    ]
    return sorted([*lists, *boxes], key=lambda token: token.start)


def _box(match: re.Match[str]) -> str:
    text = match[0]
    if text in ("+/-", "±"):
        return BOTH
    if text in ("Ø", "∅"):
        return NONE
    return TICKED if match["a"] or match["b"] or text in _TICKS else EMPTY


def _words(statement: str, start: int, end: int, tokens: list[Token]) -> None:
    for match in _CHUNK.finditer(statement, start, end):
        at = match.start()
        pieces = _pieces(match[0])
        if tokens and pieces:
            last, (text, _, length) = tokens[-1], pieces[0]
            if text == "v" and last.text in _HALVES and at - last.end <= 1:
                # "A V block" is "av" block.
                tokens[-1] = Token(last.text + "v", last.start, at + length)
                pieces = pieces[1:]
            elif last.text == "." and text.startswith("grad"):
                # "AV-Block 1. Grades", as in "1.Grades": the full stop belongs to the number.
                tokens.pop()
        for text, first, length in pieces:
            tokens.append(Token(text, at + first, at + length))


@lru_cache(maxsize=65536)
def _pieces(chunk: str) -> tuple[tuple[str, int, int], ...]:
    """The tokens of text without white space, with their offsets; no full stop of an abbreviation."""
    pieces: list[tuple[str, int, int]] = []
    word = ""
    for match in _TOKEN.finditer(chunk):
        text, (first, last) = match[0], match.span()
        mark = _MARKS.get(text)
        if mark is None:
            raw, text = fold_word(text), canonical(text)
            if text == "v" and word in _HALVES:
                # "A-V", "I.V."
                raw = text = word + "v"
                first = pieces.pop()[1]
            elif text.startswith("grad") and pieces and pieces[-1][0] == ".":
                pieces.pop()
            pieces.append((text, first, last))
            word = raw
        elif mark == "-":
            if len(chunk) == 1 or (
                first and chunk[first - 1] in _ASKING and chunk[last : last + 1] in ("", *".,;)")
            ):
                pieces.append((mark, first, last))
        elif not (mark == "." and (word in abbreviations() or word in _NUMERALS)):
            pieces.append((mark, first, last))
            word = ""
    return tuple(pieces)


@lru_cache(maxsize=65536)
def canonical(word: str) -> str:
    """Fold a word and take it to its base form by the tables of ``tokens.toml``."""
    same, suffixes, stems = _forms()
    folded = _SUFFIX.sub(r"\1", fold_word(word))
    if folded == "r" and len(word) > 1:
        return "r'"  # a second R wave
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
