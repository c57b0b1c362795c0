"""JSON and YAML of a bundle, read so that no content of a file raises anything but `BundleError`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable
from typing import Any

import yaml

from supreme.inference.bundle.layout import REMEDY, BundleError

_MAX_DEPTH = 20


def read_json(content: bytes, where: str) -> Any:
    """The value of a JSON file in UTF-8: finite numbers, every key once, at most 20 levels deep.

    Args:
        where: the file, for the message.

    Raises:
        BundleError: it is anything else.
    """
    try:
        if not content.strip(b"\0 \t\r\n"):
            raise ValueError("it is empty" if not content else "it holds no text")
        text = content.decode()
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_not_finite)
        _check_depth(value)
        if "\\u" in text:  # half of a surrogate pair is no text, and nothing can print or encode it
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{where} cannot be read ({first_line(error)}): {REMEDY}") from None


def read_yaml(content: bytes, where: str) -> dict[str, Any]:
    """The mapping in a YAML file, every scalar as text; no anchors, every key once, at most 20 levels deep.

    Args:
        where: the file, for the message.

    Raises:
        BundleError: it is anything else.
    """
    try:
        value = _Loader(content).get_single_data()
        if not isinstance(value, dict):
            raise ValueError("it is empty" if not content else "it holds no keys")
        return value
    except (ValueError, TypeError, RecursionError, yaml.YAMLError) as error:
        raise BundleError(f"{where} cannot be read ({first_line(error)}): {REMEDY}") from None


def first_line(error: Exception) -> str:
    """What an error says, on one line of bounded length."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:297]}..."


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"key {twice[:100]!r} is there twice")
    return values


def _not_finite(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _check_depth(value: Any) -> None:
    level, depth = [value], 0
    while level:
        if depth > _MAX_DEPTH:
            raise ValueError(f"it is nested more than {_MAX_DEPTH} levels deep")
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below += [child for child in item.values() if isinstance(child, dict | list)]
            elif isinstance(item, list):
                below += [child for child in item if isinstance(child, dict | list)]
        level, depth = below, depth + 1


class _Loader(yaml.BaseLoader):
    """Makes strings, lists and dictionaries only; refuses aliases, depth, and keys that are there twice."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self.depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise ValueError("it holds an alias")
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise ValueError(f"it is nested more than {_MAX_DEPTH} levels deep")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        values: dict[Hashable, Any] = super().construct_mapping(node, deep)
        if len(values) < len(node.value):
            raise ValueError("a key is there twice")
        return values
