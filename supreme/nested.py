"""Nested dictionaries, as TOML and JSON give them: flattened, compared, changed by ``key.sub=value``."""

from __future__ import annotations

import tomllib
from typing import Any


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"a": {"b": 1}}`` to ``{"a.b": 1}``."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def difference(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Lines ``key: old -> new`` for two nested configurations."""
    left, right = flatten(old), flatten(new)
    keys = sorted(left.keys() | right.keys())
    return [f"{k}: {left.get(k)!r} -> {right.get(k)!r}" for k in keys if left.get(k) != right.get(k)]


def override(values: dict[str, Any], change: str) -> None:
    """Apply ``key.sub=value`` in place; the value is TOML, or anything else a string.

    Raises:
        ValueError: no such item, or a key below something that has none.
    """
    key, separator, text = change.partition("=")
    if not separator or not key:
        raise ValueError(f"{change!r} is not key=value")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *parents, last = key.split(".")
    target: Any = values
    for parent in parents:
        target = _item(target, parent, key) if isinstance(target, list) else target.setdefault(parent, {})
        if not isinstance(target, dict | list):
            raise ValueError(f"{key}: {parent!r} has no keys below it")
    if isinstance(target, list):
        _item(target, last, key)
        target[int(last)] = value
    else:
        target[last] = value


def _item(items: list[Any], number: str, key: str) -> Any:
    if not number.isdecimal() or int(number) >= len(items):
        raise ValueError(f"{key}: {number!r} is not one of the {len(items)} items (0 to {len(items) - 1})")
    return items[int(number)]
