"""The audit of the label stage as one self-contained HTML page, for a human to read."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from supreme import config, manifest, storage
from supreme.reporting.html import template
from supreme.reports import audit
from supreme.reports.audit_figures import Audit, SampleStatement
from supreme.reports.result import LABELS
from supreme.reports.spread import Spread, in_process

PAGE, FIGURES = "audit.html", "audit.json"
_STRENGTH = ("absent", "uncertain", "present")


def write(recipe: config.Recipe, shard_folders: Sequence[str], spread: Spread = in_process) -> str:
    """Write `audit.html` and its figures `audit.json` beside a finished label stage; URI of the page.

    A page of the same labels, samples and comparison is left as it is.

    Raises:
        ConfigError: the label stage, or the one of `labels.compare_with`, is not finished.
    """
    folder = recipe.folder("labels")
    page, figures = storage.join(folder, PAGE), storage.join(folder, FIGURES)
    request = audit.request(recipe, manifest.require(folder, LABELS))
    if not (storage.exists(page) and storage.read_json(figures).get("request") == request.model_dump()):
        content = audit.measure(recipe, shard_folders, folder, spread)
        storage.write_json(figures, content.to_json())
        storage.write_bytes(page, render(content).encode())
    return page


def render(content: Audit) -> str:
    """The page of the figures that `audit.measure` gives."""
    mentioned = [row for row in content.entities if row.present or row.uncertain or row.absent]
    return template("audit.html").render(
        content=content,
        mentioned=mentioned,
        silent=[row for row in content.entities if row not in mentioned],
        most=max([1, *(row.present for row in content.entities)]),
        names={row.id: row.name for row in content.entities},
        samples=[
            MarkedSample(
                sample.record_id, sample.codes, sample.labels, [_marked(row) for row in sample.statements]
            )
            for sample in content.samples
        ],
        how=("synonym", "neighbour", "new", "rare"),
    )


class MarkedPiece(NamedTuple):
    """A stretch of a statement, with the strongest assertion of the mentions that cover it, or ""."""

    text: str
    assertion: str
    title: str


class MarkedStatement(NamedTuple):
    """A statement in pieces; ``nothing`` if no entity was found in it."""

    pieces: list[MarkedPiece]
    corrected: bool
    nothing: bool


class MarkedSample(NamedTuple):
    """A sample report as the page shows it."""

    record_id: str
    codes: list[str]
    labels: dict[str, tuple[str, ...]]
    statements: list[MarkedStatement]


def _marked(statement: SampleStatement) -> MarkedStatement:
    text, mentions = statement.text, statement.mentions
    cuts = {0, len(text), *(at for start, end, *_ in mentions for at in (start, end))}
    edges = sorted(at for at in cuts if at <= len(text))
    pieces = []
    for start, end in pairwise(edges):
        over = [mention for mention in mentions if mention[0] <= start and end <= mention[1]]
        strongest = max((mention[3] for mention in over), key=_STRENGTH.index, default="")
        titles = [_title(*mention[2:]) for mention in over]
        pieces.append(MarkedPiece(text[start:end], strongest, "; ".join(titles)))
    return MarkedStatement(pieces, statement.corrected, not mentions)


def _title(entity: str, assertion: str, cue: str) -> str:
    return f"{entity}: {assertion}" + (f" ({cue})" if cue else "")
