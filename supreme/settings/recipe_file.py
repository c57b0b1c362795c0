"""A recipe's TOML file: read within bounds, and asked in which line a key stands."""

from __future__ import annotations

import re
import stat
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_BYTES = 1 << 20
"""A recipe is some kilobytes; larger files are something else."""
_UTF_16_AND_32 = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")
_TABLE = re.compile(r"\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")
_BRACKETS = str.maketrans({"{": "[", "}": "]"})


@dataclass(frozen=True)
class RecipeFile:
    """The values of a TOML file, and its text."""

    path: Path
    values: dict[str, Any]
    text: str

    def line_of(self, location: Sequence[str | int]) -> int:
        """The line that sets a key, or the table or key nearest above it; 0 where there is none."""
        keys = [str(part) for part in location]
        best, best_line = 0, 0
        table: list[str] = []
        tables: dict[tuple[str, ...], int] = {}
        for number, line in enumerate(self.text.splitlines(), 1):
            if header := _TABLE.match(line):
                table = _parts(header[2])
                if header[1] == "[[":
                    index = tables[tuple(table)] = tables.get(tuple(table), -1) + 1
                    table = [*table, str(index)]
                path = table
            elif key := _KEY.match(line):
                path = [*table, *_parts(key[1])]
            else:
                continue
            if best < len(path) <= len(keys) and path == keys[: len(path)]:
                best, best_line = len(path), number
        return best_line


def read(path: Path) -> RecipeFile:
    """Read a recipe in UTF-8, with or without a byte-order mark.

    Raises:
        ValueError: not a regular file, too large, not UTF-8 or not TOML; the message names file, line and
            remedy.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ValueError(f"{path}: not a regular file: a recipe is a .toml file")
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}") from error
    if len(content) > MAX_BYTES:
        raise ValueError(f"{path}: more than {MAX_BYTES:,} bytes: this is no recipe")
    text = _decode(path, content)
    try:
        return RecipeFile(path, tomllib.loads(text), text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: {error}") from error
    except RecursionError as error:
        line = _deepest_line(text)
        raise ValueError(f"{path}:{line}: brackets are nested too deeply: no setting needs that") from error
    except ValueError as error:  # an integer of thousands of digits
        raise ValueError(f"{path}:{_longest_number_line(text)}: {str(error).partition(';')[0]}") from error


def _decode(path: Path, content: bytes) -> str:
    if content.startswith(_UTF_16_AND_32):
        raise ValueError(f"{path}: saved as UTF-16 or UTF-32: save it as UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path}:{line}: byte 0x{content[error.start]:02x} is not UTF-8 (perhaps Latin-1): "
            "save the file as UTF-8"
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ValueError(
            f"{path}:{line}: NUL byte: the file is damaged, or saved as UTF-16: save it as UTF-8"
        )
    return text


def _parts(dotted: str) -> list[str]:
    return [part.strip().strip("\"'") for part in dotted.split(".")]


def _deepest_line(text: str) -> int:
    depth, deepest, line_of_deepest = 0, 0, 1
    for number, line in enumerate(text.translate(_BRACKETS).splitlines(), 1):
        depth += line.count("[")
        if depth > deepest:
            deepest, line_of_deepest = depth, number
        depth = max(0, depth - line.count("]"))
    return line_of_deepest


def _longest_number_line(text: str) -> int:
    longest = [max(map(len, re.findall(r"[0-9_]+", line)), default=0) for line in text.splitlines()]
    return longest.index(max(longest)) + 1
