"""What was decided about the champion of a registered model: a history that only grows.

Every decision is an MLflow run of its own, whose artifact `decision.json` holds the evidence, and a numbered
tag of the registered model, which names the run. Both are written under the lock of the model, before an
alias moves, and neither is written twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from supreme import config, log
from supreme.registry.versions import registered_model
from supreme.tracking import server
from supreme.tracking.logged import redacted_file
from supreme.tracking.source import source_tags, submitter
from supreme.tracking.store import experiment_id

EVIDENCE = "decision.json"
_TAG = "supreme.decision."
_MAX_REASON = 2000
Action = Literal["promote", "rollback"]


@dataclass(frozen=True)
class DecisionNote:
    """Why something is decided, as it goes into the history."""

    reason: str
    recipe: str = ""
    evidence: str = "{}"
    """The artifact: a JSON document."""
    experiment: str = "supreme"
    """Of the run that keeps the evidence."""


class HistoryEntry(BaseModel):
    """One decision."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    number: int
    action: Action
    version: int
    """The version that was to become the champion."""
    champion: int | None
    """The champion before."""
    moved: bool
    """Whether the alias `champion` moved to `version`."""
    reason: str
    by: str
    """`user@host`."""
    at: str
    """ISO 8601, UTC."""
    recipe: str
    run_id: str
    """MLflow run with the evidence."""

    def line(self) -> str:
        """For people, in one line."""
        what = {
            ("promote", True): f"version {self.version} promoted",
            ("promote", False): f"version {self.version} not promoted",
        }.get((self.action, self.moved), f"rolled back to version {self.version}")
        before = "no champion before" if self.champion is None else f"champion before: {self.champion}"
        return f"{self.number}. {self.at} {self.by}: {what} ({before}): {self.reason}"


def read(model: str, tracking_uri: str | None) -> list[HistoryEntry]:
    """All decisions about a registered model, oldest first.

    Raises:
        ConfigError: there is no such model, or somebody has changed an entry.
    """
    tags = registered_model(model, tracking_uri).tags
    entries = []
    for name in sorted(tag for tag in tags if tag.startswith(_TAG)):
        try:
            entries.append(HistoryEntry.model_validate_json(tags[name]))
        except ValidationError:
            raise config.ConfigError(
                f"the tag {name} of the registered model {model} was changed: restore or delete it"
            ) from None
    return entries


def clean(reason: str) -> str:
    """A reason as the history keeps it: without secrets and not too long."""
    return log.redact(reason)[:_MAX_REASON]


def append(
    model: str,
    action: Action,
    version: int,
    champion: int | None,
    note: DecisionNote,
    *,
    moved: bool,
    tracking_uri: str | None,
) -> HistoryEntry:
    """Add a decision; call it under the lock of the model."""
    client = server.connect(tracking_uri)
    title = f"{action} {model}/{version}"
    run = client.create_run(
        experiment_id(client, note.experiment),
        run_name=title,
        tags=source_tags() | {"supreme.stage": action, "supreme.decision": "moved" if moved else "not moved"},
    )
    run_id = str(run.info.run_id)
    client.log_text(run_id, redacted_file(EVIDENCE, note.evidence.encode()).decode(), EVIDENCE)
    client.set_terminated(run_id)
    earlier = read(model, tracking_uri)
    entry = HistoryEntry(
        number=max((one.number for one in earlier), default=0) + 1,
        action=action,
        version=version,
        champion=champion,
        moved=moved,
        reason=clean(note.reason),
        by=submitter(),
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        recipe=note.recipe,
        run_id=run_id,
    )
    client.set_registered_model_tag(model, f"{_TAG}{entry.number:06d}", entry.model_dump_json())
    log.get("registry").info("%s: %s", model, entry.line())
    return entry


def reigns(entries: Sequence[HistoryEntry]) -> list[int]:
    """The versions that a rollback goes back through, the present champion last.

    A promotion puts its version on top, a rollback takes off what is above the version it went back to.
    """
    stack: list[int] = []
    for entry in entries:
        if not entry.moved:
            continue
        if entry.action == "rollback" and entry.version in stack:
            while stack[-1] != entry.version:
                stack.pop()
        elif not stack or stack[-1] != entry.version:
            stack.append(entry.version)
    return stack
