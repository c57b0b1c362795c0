"""The page of a sweep: its winner, figures, and the table of all trials."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from supreme import storage
from supreme.config import Recipe
from supreme.reporting import html, sweep_figures
from supreme.reporting.sweep_figures import Coordinates, TrialCurve
from supreme.sweep import search, space, table
from supreme.sweep.summary import PAGE, SweepResult, TrialOutcome
from supreme.training.learner.validation import METRIC
from supreme.training.run import history


@dataclass(frozen=True)
class TrialRow:
    """One line of the table."""

    outcome: TrialOutcome
    cells: tuple[tuple[str, bool], ...]
    """Value of each key, and whether the trial changes it."""


def write(recipe: Recipe, folder: str, result: SweepResult) -> None:
    """Write ``sweep.html`` into the sweep's folder."""
    storage.write_bytes(storage.join(folder, PAGE), page(recipe, folder, result).encode())


def page(recipe: Recipe, folder: str, result: SweepResult) -> str:
    """The page as one self-contained HTML document."""
    keys, outcomes = table.keys(result), list(result.trials.values())
    short = [outcome for outcome in outcomes if not outcome.full and outcome.value is not None]
    trials = list(_curves(folder, result))
    records = [outcome for outcome in outcomes if not outcome.full]
    shares = search.importance(recipe, sorted(records, key=lambda outcome: outcome.number))
    axes = [
        Coordinates(key, [table.value_in(recipe, key, outcome) for outcome in short], _is_log(recipe, key))
        for key in keys
    ]
    return html.template("sweep.html").render(
        recipe=recipe.name,
        folder=folder,
        result=result,
        changes=space.describe(result.changes),
        keys=space.short_keys(keys),
        rows=[_row(recipe, keys, outcome) for outcome in outcomes],
        history=sweep_figures.history(outcomes, result.recipe_value),
        curves=sweep_figures.curves(trials) if trials else "",
        parallel=sweep_figures.parallel(axes, short) if keys and len(short) > 1 else "",
        importance=sweep_figures.importance(shares) if shares else "",
        min_trials=search.MIN_TRIALS,
    )


def _curves(folder: str, result: SweepResult) -> Iterator[TrialCurve]:
    for outcome in result.trials.values():
        reports = history.read(storage.join(folder, outcome.name))
        points = [(one.samples_seen, one.metrics[METRIC]) for one in reports if METRIC in one.metrics]
        if points:
            samples, values = zip(*points, strict=True)
            yield TrialCurve(outcome, samples, values, outcome.name == result.best)


def _row(recipe: Recipe, keys: list[str], outcome: TrialOutcome) -> TrialRow:
    cells = ((space.shown(table.value_in(recipe, key, outcome)), key in outcome.changes) for key in keys)
    return TrialRow(outcome, tuple(cells))


def _is_log(recipe: Recipe, key: str) -> bool:
    dimension = recipe.sweep.space.get(key)
    return dimension is not None and dimension.log
