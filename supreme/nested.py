"""Nested mappings, as TOML and JSON give them: flattened, compared, checked, changed by ``key.sub=value``."""

from __future__ import annotations

import datetime
import math
import tomllib
from collections.abc import Mapping
from typing import Any

MAX_DEPTH = 20
"""Levels below each other; the deepest section of a recipe has four."""
MAX_INTEGER = 1 << 63


def flatten(values: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """``{"a": {"b": 1}}`` to ``{"a.b": 1}``."""
    flat: dict[str, object] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def difference(old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    """Lines ``key: old -> new`` for two nested configurations."""
    left, right = flatten(old), flatten(new)
    keys = sorted(left.keys() | right.keys())
    return [f"{k}: {left.get(k)!r} -> {right.get(k)!r}" for k in keys if left.get(k) != right.get(k)]


def override(values: dict[str, Any], change: str) -> str:
    """Apply ``key.sub=value`` in place and return the key; the value is TOML, or anything else a string.

    Raises:
        ValueError: no such item, a key below something that has none, or too many levels.
    """
    key, separator, text = change.partition("=")
    parts = key.split(".")
    if not separator or not all(parts):
        raise ValueError(f"{clip(change)!r} is not key=value")
    if len(parts) > MAX_DEPTH:
        raise ValueError(f"{clip(key)}: more than {MAX_DEPTH} levels")
    *parents, last = parts
    target: Any = values
    for parent in parents:
        target = _item(target, parent, key) if isinstance(target, list) else target.setdefault(parent, {})
        if not isinstance(target, dict | list):
            raise ValueError(f"{clip(key)}: {parent!r} has no keys below it")
    if isinstance(target, list):
        _item(target, last, key)
        target[int(last)] = _value(text)
    else:
        target[last] = _value(text)
    return key


def check(values: Mapping[str, object]) -> None:
    """Refuse what no setting holds and what other programs stumble over, at any level.

    Raises:
        KeyedError: a number that is not finite or has more than 64 bits, text that is not Unicode or has a
            NUL, or too many levels.
    """
    waiting: list[tuple[tuple[str | int, ...], object]] = [((key,), value) for key, value in values.items()]
    while waiting:
        location, value = waiting.pop()
        if len(location) > MAX_DEPTH:
            raise KeyedError(location, f"more than {MAX_DEPTH} levels")
        if isinstance(value, Mapping):
            waiting += [((*location, key), item) for key, item in value.items()]
        elif isinstance(value, list | tuple):
            waiting += [((*location, number), item) for number, item in enumerate(value)]
        for item in (location[-1], value):
            if problem := _problem(item):
                raise KeyedError(location, problem)


class KeyedError(ValueError):
    """What is wrong with the value of a key."""

    def __init__(self, location: tuple[str | int, ...], problem: str) -> None:
        super().__init__(f"{dotted(location)}: {problem}")
        self.location = location


def dotted(location: tuple[str | int, ...]) -> str:
    """``("sources", 0, "kind")`` to ``sources.0.kind``, cut where it is long."""
    return clip(".".join(map(str, location)))


def clip(text: str, length: int = 100) -> str:
    """Text for a message: printable, and cut where it is long."""
    shown = text[:length].encode("utf-8", "backslashreplace").decode()
    return shown if len(text) <= length else f"{shown}..."


def _problem(value: object) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return f"{value} is not a finite number"
    if isinstance(value, int) and not -MAX_INTEGER <= value < MAX_INTEGER:
        return "an integer of more than 64 bits"
    if isinstance(value, str):
        if "\0" in value:
            return "a NUL character"
        try:
            value.encode()
        except UnicodeEncodeError:
            return "text that is not UTF-8"
    return ""


def _value(text: str) -> object:
    try:
        value: object = tomllib.loads(f"value = {text}").get("value") if "\n" not in text else text
    except tomllib.TOMLDecodeError:
        return text
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{clip(text)}: {clip(str(error).partition(';')[0])}") from error
    # No setting is a date: `name=2024-01-01` is a name.
    return text if isinstance(value, datetime.date | datetime.time) else value


def _item(items: list[Any], number: str, key: str) -> Any:
    if not (number.isascii() and number.isdecimal()) or len(number) > 9 or int(number) >= len(items):
        raise ValueError(
            f"{clip(key)}: {clip(number)!r} is not one of the {len(items)} items (0 to {len(items) - 1})"
        )
    return items[int(number)]
