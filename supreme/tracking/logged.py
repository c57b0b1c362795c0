"""What goes to the tracking server: names that MLflow takes, and texts and documents without secrets."""

from __future__ import annotations

import json
import posixpath
import re
from typing import Any

from supreme import log
from supreme.redaction import redact_values

#: MLflow refuses longer names and values.
MAX_KEY = 250
MAX_VALUE = 500

_TEXT = (".txt", ".md", ".html", ".svg", ".csv", ".tex", ".toml", ".yaml", ".yml", ".log", ".xml")


def safe_name(name: str) -> str:
    """A name of a metric, parameter or tag that MLflow takes: without brackets, commas, leading slashes."""
    safe = posixpath.normpath(re.sub(r"[^/\w.\- :]", "_", name)).lstrip("/.")
    return safe[:MAX_KEY] or "_"


def safe_value(value: Any, key: str) -> str:
    """A value of a parameter or tag as text, without secrets and not too long."""
    text = str(redacted(value, key))
    return text if len(text) <= MAX_VALUE else f"{text[: MAX_VALUE - 3]}..."


def redacted(value: Any, key: str = "") -> Any:
    """A value, or a nested document, without what is secret by its key or its look."""
    return redact_values({key: value}).popitem()[1]


def redacted_file(name: str, content: bytes) -> bytes:
    """The content of a text or JSON file without secrets; that of any other file as it is."""
    if name.endswith(".json"):
        return _redacted_json(content, indent=2)
    if name.endswith(".jsonl"):
        return b"".join(_redacted_json(line, indent=None) for line in content.splitlines(keepends=True))
    if name.endswith(_TEXT):
        return log.redact(content.decode(errors="replace")).encode()
    return content


def _redacted_json(content: bytes, indent: int | None) -> bytes:
    """As it is, to the byte, where there is nothing to hide."""
    try:
        document = json.loads(content)
    except ValueError:
        return log.redact(content.decode(errors="replace")).encode()
    clean = redacted(document)
    if clean == document:
        return content
    return (json.dumps(clean, indent=indent, sort_keys=True, ensure_ascii=False) + "\n").encode()
