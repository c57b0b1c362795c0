"""The audit of the label stage as one self-contained HTML page, for a human to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from supreme import config, manifest, storage
from supreme.reporting.html import template
from supreme.reports import audit
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
    asked = audit.request(recipe, manifest.require(folder, LABELS))
    if not (storage.exists(page) and storage.read_json(figures)["request"] == asked):
        found = audit.measure(recipe, shard_folders, folder, spread)
        storage.write_json(figures, found)
        storage.write_bytes(page, render(found).encode())
    return page


def render(found: Mapping[str, Any]) -> str:
    """The page of the figures that `audit.measure` gives."""
    names = {row["id"]: row["name"] for row in found["entities"]}
    samples = [
        {**sample, "statements": [_marked(row) for row in sample["statements"]]}
        for sample in found["samples"]
    ]
    most = max((row["present"] for row in found["entities"]), default=0)
    mentioned = [row for row in found["entities"] if row["present"] or row["uncertain"] or row["absent"]]
    return template("audit.html").render(
        found=found,
        mentioned=mentioned,
        silent=[row for row in found["entities"] if row not in mentioned],
        most=max(most, 1),
        names=names,
        samples=samples,
        how=("synonym", "neighbour", "new", "rare"),
    )


def _marked(statement: Mapping[str, Any]) -> dict[str, Any]:
    """The statement in pieces: text, and the mentions that cover it."""
    text, mentions = statement["text"], statement["mentions"]
    cuts = {0, len(text), *(at for start, end, *_ in mentions for at in (start, end))}
    edges = sorted(at for at in cuts if at <= len(text))
    pieces = []
    for start, end in pairwise(edges):
        over = [mention for mention in mentions if mention[0] <= start and end <= mention[1]]
        strongest = max((mention[3] for mention in over), key=_STRENGTH.index, default="")
        titles = [_title(*mention[2:]) for mention in over]
        pieces.append({"text": text[start:end], "assertion": strongest, "title": "; ".join(titles)})
    return {"pieces": pieces, "corrected": statement["corrected"], "nothing": not mentions}


def _title(entity: str, assertion: str, cue: str) -> str:
    return f"{entity}: {assertion}" + (f" ({cue})" if cue else "")
