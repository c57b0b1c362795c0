"""``run.json`` in a stage folder: the run that the stage belongs to."""

from __future__ import annotations

import uuid
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from supreme import storage
from supreme.storage.documents import read_document

RUN_FILE = "run.json"
_REMEDY = "delete this file, and the stage continues in a new MLflow run"


class RunNote(BaseModel):
    """The MLflow run of a stage folder."""

    model_config = ConfigDict(frozen=True)

    run_id: str = ""
    """Empty until there is a run."""
    key: str = Field(default_factory=lambda: uuid.uuid4().hex)
    """Tag of the run, known before there is one."""
    complete: bool = True
    """Whether the tracking server has everything."""


def read(folder: str) -> RunNote | None:
    """The note of a stage folder, if it has one.

    Raises:
        ConfigError: the file is damaged; the message names it and the remedy.
    """
    uri = storage.join(folder, RUN_FILE)
    return read_document(uri, RunNote, remedy=_REMEDY) if storage.exists(uri) else None


def write(folder: str, **changes: Any) -> RunNote:
    """Change fields of the note, which is created where there is none."""
    note = (read(folder) or RunNote()).model_copy(update=changes)
    storage.write_json(storage.join(folder, RUN_FILE), note.model_dump(mode="json"))
    return note


def is_started(folder: str) -> bool:
    """Whether a stage folder has a run."""
    note = read(folder)
    return note is not None and bool(note.run_id)


def is_behind(folder: str) -> bool:
    """Whether the run of a stage folder lacks something on the tracking server."""
    note = read(folder)
    return note is not None and not note.complete
