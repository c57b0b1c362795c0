"""The trials of a sweep, and how far each came."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass

from supreme import config, storage
from supreme.config import Recipe
from supreme.sweep.summary import TrialOutcome
from supreme.training.data.sources import absolute
from supreme.training.learner.validation import METRIC
from supreme.training.run import history, result

#: Reports of a trial, evenly over its epochs: the points at which it may be stopped.
RUNGS = 4


@dataclass(frozen=True)
class Trial:
    """One combination of objective, encoder and loss."""

    name: str
    recipe: Recipe
    folder: str


def trials(recipe: Recipe) -> list[Trial]:
    """The combinations of objectives, encoders and losses, the first ``sweep.trials`` of them.

    Raises:
        ConfigError: an objective is unknown, or has no macro AUROC to be compared by.
    """
    sweep = recipe.sweep
    objectives = sweep.objectives or (recipe.training.objective,)
    if "simclr" in objectives:
        raise config.ConfigError("sweep.objectives: simclr answers no queries, so nothing ranks its trials")
    combinations = [
        (objective, encoder, loss)
        for objective, encoder, loss in itertools.product(objectives, sweep.encoders, sweep.losses)
        # MERL has a loss of its own: it is tried once per encoder.
        if objective != "merl" or loss == sweep.losses[0]
    ]
    return [_trial(recipe, *combination) for combination in combinations][: sweep.trials]


def _trial(recipe: Recipe, objective: str, encoder: str, loss: str) -> Trial:
    epochs = recipe.sweep.epochs
    values = recipe.model_dump(mode="json")
    values["model"]["encoder"] = encoder
    values["training"] |= {
        "objective": objective,
        "loss": loss,
        "epochs": epochs,
        "checkpoint_every": epochs / RUNGS,
    }
    parts = [objective] if recipe.sweep.objectives else []
    parts += [encoder.replace(":", "-")] + ([] if objective == "merl" else [loss])
    name = "-".join(parts)
    folder = absolute(storage.join(recipe.folder("sweep"), name))
    return Trial(name, config.parse(values), folder)


def outcome(trial: Trial) -> TrialOutcome:
    """How far a trial came: from the files in its folder."""
    reports = history.read(trial.folder)
    if not reports:
        return TrialOutcome(completed=False, value=None, samples_seen=0)
    released = result.released_report(trial.recipe.training, reports)
    return TrialOutcome(
        completed=result.is_trained(trial.folder),
        value=released.metrics.get(METRIC),
        samples_seen=reports[-1].samples_seen,
    )


def ranked(trials: Iterable[Trial]) -> list[tuple[Trial, TrialOutcome]]:
    """Trials with their outcomes: completed ones first, by value, best first."""

    def key(pair: tuple[Trial, TrialOutcome]) -> tuple[bool, float]:
        value = pair[1].value
        return pair[1].completed, -math.inf if value is None else value

    return sorted(((trial, outcome(trial)) for trial in trials), key=key, reverse=True)
