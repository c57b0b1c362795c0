"""Reports to statements, and statements to folded tokens with their place in the text."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

from supreme import storage
from supreme.reports import leads

#: Some PTB-XL reports end in "Edit: NORM 100, ...", which are the labels themselves.
_LABEL_LEAK = re.compile(r"(?is)\bedit:.*")
_NOISE = re.compile(
    r"(?im)\btrace only(?: requested)?\b\.?|\b4\.46\s+unbest\w*.*$"
    r"|\bunbest(?:ä|ae)tigt\w*(?:\s+beri\w*)?$|\*unconfirmedanalysis\*"
)
_SENTENCE_END = re.compile(r"(?<=[.!?;])\s+")
_GRADE = re.compile(r"(?i)\bgrad")
_WORD = re.compile(
    r"(?P<number>\d+[:.,]\d+)|(?P<word>[\w#]+(?:['’](?=[\s)])|\((?:s|n|er|en|a|es|e)\))?)|(?P<dash>(?<=\s)[-–](?=\s))|(?P<mark>[.,;:!?()])|(?P<and>[&+])"
)
_FOLD = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "å": "a", "é": "e", "#": "ue", "'": None, "’": None})
_SUFFIX = re.compile(r"\((\w+)\)$")


@dataclass(frozen=True, slots=True)
class Token:
    """A folded word, lead list or punctuation mark; ``start`` and ``end`` are offsets in the statement."""

    text: str
    start: int
    end: int
    leads: frozenset[str] = frozenset()


def split(report: str) -> list[str]:
    """A report's statements, without label leaks and notes of the recording system.

    Lines are statements; a line that starts with "- " (MIMIC-IV-ECG) qualifies the line before and is joined
    to it; a line with several sentences is cut at their ends, but not after abbreviations.
    """
    text = _LABEL_LEAK.sub("", unicodedata.normalize("NFC", report))
    text = _NOISE.sub("", text)
    lines: list[str] = []
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("- ") and lines:
            lines[-1] = f"{lines[-1].rstrip('. ')} {stripped}"
        elif stripped:
            lines.append(stripped)
    return [statement for line in lines for statement in _sentences(line)]


def fold(statement: str) -> str:
    """What decides that two statements are the same: case, umlaut spelling and white space do not count."""
    return " ".join(unicodedata.normalize("NFC", statement).casefold().translate(_FOLD).split()).rstrip(". ")


def digest(statement: str) -> str:
    """The identity of a statement: 32 hexadecimal digits over its folded text."""
    return storage.sha256(fold(statement).encode())[:32]


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


@cache
def load_table(name: str) -> dict[str, Any]:
    """One TOML file of ``data/lexicon``."""
    path = files("supreme.reports").joinpath(f"data/lexicon/{name}.toml")
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _sentences(line: str) -> list[str]:
    abbreviations = set(load_table("tokens")["abbreviations"])
    parts: list[str] = []
    joined = ""
    for part in _SENTENCE_END.split(line):
        joined = f"{joined} {part}" if joined else part
        last = joined.rstrip(".").rpartition(" ")[2].casefold().translate(_FOLD)
        if not (joined.endswith(".") and last in abbreviations):
            parts.append(joined)
            joined = ""
    parts += [joined] if joined else []
    merged: list[str] = []
    for part in parts:
        # "AV-Block I. Grades": the full stop belongs to the number.
        if merged and _GRADE.match(part):
            merged[-1] += f" {part}"
        elif part.strip(" .;!?-*"):
            merged.append(part)
    return merged


def _words(statement: str, start: int, end: int, tokens: list[Token]) -> None:
    abbreviations = load_table("tokens")["abbreviations"]
    for match in _WORD.finditer(statement, start, end):
        kind = match.lastgroup
        if kind == "mark":
            if match.group() == "." and tokens and _is_abbreviation(statement, match, tokens, abbreviations):
                continue
            tokens.append(Token(match.group(), match.start(), match.end()))
        elif kind == "dash":
            tokens.append(Token("-", match.start(), match.end()))
        else:
            word = "and" if kind == "and" else _canonical(match.group())
            if (
                word == "v"
                and tokens
                and tokens[-1].text in ("a", "i")
                and _touch(statement, tokens[-1], match)
            ):
                first = tokens.pop()
                tokens.append(Token(first.text + "v", first.start, match.end()))
            elif word:
                tokens.append(Token(word, match.start(), match.end()))


def _touch(statement: str, token: Token, match: re.Match[str]) -> bool:
    return len(statement[token.end : match.start()].strip(" ")) <= 1


def _is_abbreviation(
    statement: str, match: re.Match[str], tokens: list[Token], abbreviations: list[str]
) -> bool:
    previous = tokens[-1].text
    following = statement[match.end() :].lstrip()
    return (
        previous in abbreviations or previous in ("a", "i", "iv", "av", "v") or bool(_GRADE.match(following))
    )


@lru_cache(maxsize=65536)
def _canonical(word: str) -> str:
    """Fold a word and take it to its base form by the tables of ``tokens.toml``."""
    table = load_table("tokens")
    folded = word.casefold().translate(_FOLD)
    folded = _SUFFIX.sub(r"\1", folded)
    folded = table["same"].get(folded, folded)
    for suffix in table["suffixes"]:
        stem = folded.removesuffix(suffix)
        if stem != folded and stem in _stems():
            return stem
    return folded


@cache
def _stems() -> frozenset[str]:
    return frozenset(load_table("tokens")["stems"])
