"""The trials of a sweep and how far each came."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

from supreme import config, storage
from supreme.sweep.summary import TrialOutcome
from supreme.training.learner.validation import METRIC
from supreme.training.run import history, result, stage

#: Reports of a trial, evenly over its epochs: the points at which it may be stopped.
RUNGS = 4


@dataclass(frozen=True)
class Trial:
    """One combination, and how far it came."""

    name: str
    recipe: config.Recipe
    folder: str
    completed: bool = False
    value: float = -math.inf
    """`validation.METRIC` of the weights that it leaves."""
    samples_seen: int = 0

    def values(self) -> dict[str, Any]:
        return self.recipe.model_dump(mode="json")

    def outcome(self) -> TrialOutcome:
        value = self.value if math.isfinite(self.value) else None
        return TrialOutcome(completed=self.completed, value=value, samples_seen=self.samples_seen)


def trials(recipe: config.Recipe) -> list[Trial]:
    """The combinations of objectives, encoders and losses, the first ``sweep.trials`` of them.

    Raises:
        ConfigError: an objective is unknown, or has no macro AUROC to be compared by.
    """
    found, asked = [], recipe.sweep
    objectives = asked.objectives or (recipe.training.objective,)
    for objective, encoder, loss in itertools.product(objectives, asked.encoders, asked.losses):
        if objective == "simclr":
            raise config.ConfigError(
                "sweep.objectives: simclr answers no queries, so nothing ranks its trials"
            )
        if objective == "merl" and loss != asked.losses[0]:
            continue
        changed = recipe.model_dump(mode="json")
        changed["training"]["objective"] = objective
        changed["model"]["encoder"], changed["training"]["loss"] = encoder, loss
        changed["training"]["epochs"] = asked.epochs
        changed["training"]["checkpoint_every"] = asked.epochs / RUNGS
        parts: list[str] = [objective] if asked.objectives else []
        parts += [encoder.replace(":", "-")] + ([] if objective == "merl" else [loss])
        name = "-".join(parts)
        folder = stage.absolute(storage.join(recipe.folder("sweep"), name))
        found.append(Trial(name, config.parse(changed), folder))
    return found[: recipe.sweep.trials]


def ended(recipe: config.Recipe) -> list[Trial]:
    """How far each trial came, best first."""
    found = [_ended(trial) for trial in trials(recipe)]
    return sorted(found, key=lambda trial: (trial.completed, trial.value), reverse=True)


def _ended(trial: Trial) -> Trial:
    lines = history.read(trial.folder) or [{}]
    return Trial(
        trial.name,
        trial.recipe,
        trial.folder,
        result.is_trained(trial.folder),
        result.chosen(trial.recipe, lines).get(METRIC, -math.inf),
        lines[-1].get("samples_seen", 0),
    )
