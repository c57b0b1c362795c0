"""The table of a sweep: one line a trial, with the keys that differ as columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from pydantic import JsonValue

from supreme.config import Recipe
from supreme.nested import clip
from supreme.sweep import space
from supreme.sweep.summary import SweepResult, TrialOutcome


class Tracked(TypedDict):
    """Of the sweep's own MLflow run."""

    tags: dict[str, str]
    metrics: dict[str, float]


def keys(result: SweepResult) -> list[str]:
    """Dotted keys in which trials differ from the recipe."""
    return list(dict.fromkeys(key for outcome in result.trials.values() for key in outcome.changes))


def text(recipe: Recipe, result: SweepResult) -> str:
    """For a terminal."""
    names = keys(result)
    head = ["trial", *space.short_keys(names), "macro AUROC", "place", "ECGs", "s", "status"]
    rows = [head, *(_row(recipe, names, outcome) for outcome in result.trials.values())]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    changes = space.describe(result.changes) or "the recipe as it is"
    value = "" if result.value is None else f" {result.value:.4f}"
    what = result.model_uri or "best trial, not registered (sweep.finalists=0)"
    return "\n".join([*lines, f"winner: {result.best} ({changes}){value}; {what}"])


def value_in(recipe: Recipe, key: str, outcome: TrialOutcome) -> JsonValue:
    """The value of a key in a trial, the recipe's where the trial leaves it."""
    return outcome.changes.get(key, space.value_of(recipe, key))


def tracked(result: SweepResult) -> Tracked:
    """Best value, winner and its changed keys."""
    metrics = {"best_value": result.value, "recipe_value": result.recipe_value}
    return {
        "tags": {
            "supreme.winner": result.best,
            "supreme.winner_changes": space.describe(result.changes) or "the recipe itself",
            "supreme.winner_model": result.model_uri,
        },
        "metrics": {name: value for name, value in metrics.items() if value is not None},
    }


def _row(recipe: Recipe, names: Sequence[str], outcome: TrialOutcome) -> list[str]:
    values = [space.shown(value_in(recipe, key, outcome)) for key in names]
    value = "" if outcome.value is None else f"{outcome.value:.4f}"
    place = "" if outcome.place is None else str(outcome.place)
    status = f"{outcome.status}: {clip(outcome.reason)}" if outcome.status == "failed" else outcome.status
    return [
        outcome.name,
        *values,
        value,
        place,
        f"{outcome.samples_seen:,}",
        f"{outcome.seconds:.0f}",
        status,
    ]
