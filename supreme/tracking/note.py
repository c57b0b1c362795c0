"""``run.json`` in a stage folder: the run that the stage belongs to."""

from __future__ import annotations

import uuid
from typing import Any

from supreme import storage

RUN_FILE = "run.json"


def read(folder: str) -> dict[str, Any]:
    """``run_id`` (empty until there is a run), ``key`` (known before), ``complete``; or nothing."""
    uri = storage.join(folder, RUN_FILE)
    return dict(storage.read_json(uri)) if storage.exists(uri) else {}


def write(folder: str, **changes: Any) -> dict[str, Any]:
    note = {"run_id": "", "key": uuid.uuid4().hex} | read(folder) | changes
    storage.write_json(storage.join(folder, RUN_FILE), note)
    return note


def is_begun(folder: str) -> bool:
    return bool(read(folder).get("run_id"))


def is_behind(folder: str) -> bool:
    """Whether the run of a stage folder lacks something on the tracking server."""
    return not read(folder).get("complete", True)
