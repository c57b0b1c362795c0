"""Replies and what of them can be used: only entities whose span is in the statement."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from supreme.reports import statements

Tag = Literal["Normal", "Abnormal", "Uncertain"]
#: From this length on a span may be part of a word: "tachykardie" in "Sinustachykardie", no "MI" in "mild".
MIN_PART_OF_WORD = 5

_THOUGHTS = re.compile(r"(?s)\A\s*<think>.*?</think>")
_FENCE = re.compile(r"(?s)```\w*\s(.*?)```")
_CUT_OFF = ("length", "max_tokens")
_DASHES = str.maketrans("-‐‑‒–—−", " " * 7)
_EDGES = ' .,;:!"“”„`'


class Reply(BaseModel):
    """What came back about one statement, as it is kept: unchecked, so a better check needs no new call."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    statement_id: str
    ask: int = 1
    """1 for the first question about the statement, 2 for the one after a refused reply."""
    content: str = ""
    finish: str = ""
    """Why the model stopped, in the endpoint's word ("stop", "length", "content_filter")."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0


class NamedFinding(NamedTuple):
    """An entity in a statement; ``start`` and ``end`` are the offsets of ``span`` in it."""

    name: str
    tag: Tag
    span: str
    start: int
    end: int


class Reading(NamedTuple):
    """What is known about one statement.

    ``error`` is empty, or why there is no usable reply: a key of ``[reasons]`` in ``prompt.toml``, or
    "unanswered". ``invented`` counts entities that were left out because their span is not in the statement.
    """

    findings: tuple[NamedFinding, ...] = ()
    error: str = ""
    invented: int = 0


_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]


class _Entity(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[_Text, Field(max_length=200)]
    span: _Text
    tag: Tag


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    entities: Annotated[list[_Entity], Field(max_length=100)]


def check(reply: Reply, statement: str) -> Reading:
    """The usable entities of a reply, or the reason to refuse it as a whole."""
    if reply.finish in _CUT_OFF:
        return Reading(error="truncated")
    if reply.finish == "content_filter":
        return Reading(error="content_filter")
    text = _bare(reply.content)
    if not text:
        return Reading(error="no_content")
    try:
        entities = _Answer.model_validate_json(text).entities
    except ValidationError as error:
        broken = error.errors()[0]["type"] == "json_invalid"
        return Reading(error="not_json" if broken else "wrong_schema")
    findings: list[NamedFinding] = []
    invented = 0
    for entity in entities:
        places = locate(entity.span, statement)
        invented += not places
        name = " ".join(entity.name.split())
        starts = {one.start for one in findings if one.name.casefold() == name.casefold()}
        for start, end in places:
            if start not in starts:
                findings.append(NamedFinding(name, entity.tag, statement[start:end], start, end))
                break
    if invented and not findings:
        return Reading(error="invented", invented=invented)
    return Reading(tuple(sorted(findings, key=lambda one: (one.start, one.end))), invented=invented)


def read(replies: Sequence[Reply], statement: str) -> Reading:
    """What is known after these replies: the first usable one, or why the last was refused."""
    reading = Reading(error="unanswered")
    for reply in replies:
        reading = check(reply, statement)
        if not reading.error:
            break
    return reading


def locate(span: str, statement: str) -> list[tuple[int, int]]:
    """The places of a span in a statement, left to right; case, umlauts, dashes and spaces do not count.

    Parts of words count only where there is no whole word, and only long ones.
    """
    text, origin = _folded(statement)
    target = _folded(span)[0].strip(_EDGES)
    whole, part = [], []
    at = text.find(target) if target else -1
    while at >= 0:
        end = at + len(target)
        place = origin[at], origin[end - 1] + 1
        if _cuts(text, at) or _cuts(text, end):
            part.append(place)
        else:
            whole.append(place)
        at = text.find(target, end)
    return whole or (part if len(target) >= MIN_PART_OF_WORD else [])


def _bare(content: str) -> str:
    """The JSON without the model's thoughts and without a code fence around it."""
    text = _THOUGHTS.sub("", content).strip()
    fenced = None if text.startswith("{") else _FENCE.search(text)
    return fenced.group(1).strip() if fenced else text


def _folded(text: str) -> tuple[str, list[int]]:
    """Folded text, and for each of its characters the offset of the one that it came from."""
    folded: list[str] = []
    origin: list[int] = []
    for at, char in enumerate(text.translate(_DASHES)):
        if char.isspace():
            piece = "" if folded and folded[-1] == " " else " "
        else:
            piece = "." if char == "." else statements.fold(char)
        folded += piece
        origin += [at] * len(piece)
    return "".join(folded), origin


def _cuts(text: str, at: int) -> bool:
    return 0 < at < len(text) and text[at - 1].isalnum() and text[at].isalnum()
