"""A sweep over loss and encoder: the pre-training run as Ray Tune trials, weak ones stopped early by ASHA.

Each trial has its own folder and goes on from its own checkpoints. A sweep that was killed is simply run
again: its trials tell the scheduler first what they had reported before, so that nothing of Tune's own state,
which is pickled, is ever read back.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ray.tune
from ray.tune.integration.ray_train import TuneReportCallback
from ray.tune.schedulers import ASHAScheduler

from supreme import config, log, manifest, storage
from supreme.training import driver, history

#: Reports of a trial, evenly over its epochs: the points at which it may be stopped.
RUNGS = 4
#: A trial's own process only waits for its workers: with a whole CPU each, trials can wait for each other.
TRIAL_CPUS = 0.01

logger = log.get("sweep")


@dataclass(frozen=True)
class Trial:
    """One combination, and how far it came."""

    name: str
    recipe: config.Recipe
    folder: str
    completed: bool = False
    value: float = -math.inf
    """`driver.METRIC` of the weights that it leaves."""
    samples_seen: int = 0

    def values(self) -> dict[str, Any]:
        return self.recipe.model_dump(mode="json")

    def outcome(self) -> dict[str, Any]:
        value = self.value if math.isfinite(self.value) else None
        return {"completed": self.completed, "value": value, "samples_seen": self.samples_seen}


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
        parts = [objective] if asked.objectives else []
        parts += [encoder.replace(":", "-")] + ([] if objective == "merl" else [loss])
        name = "-".join(parts)
        folder = driver.absolute(storage.join(recipe.folder("sweep"), name))
        found.append(Trial(name, config.parse(changed), folder))
    return found[: recipe.sweep.trials]


def request(recipe: config.Recipe) -> manifest.Request:
    """What the stage is asked for: pre-training's request with the sweep's own section."""
    asked = driver.request(recipe)
    sections = asked.config | {"sweep": recipe.sweep.model_dump(mode="json")}
    return manifest.Request(stage="sweep", config=sections, inputs=asked.inputs)


def run(recipe: config.Recipe, reporters: Mapping[str, driver.Reporter]) -> None:
    """Run all trials, each reporting to its own reporter (by trial name).

    Needs a Ray session.

    Raises:
        RuntimeError: no trial came to its end.
    """
    planned = {trial.name: trial for trial in trials(recipe)}
    folder = driver.absolute(recipe.folder("sweep"))
    system, path = storage.filesystem(storage.join(folder, "tune"))

    def trainable(chosen: dict[str, Any]) -> None:
        _train_trial(planned[chosen["trial"]], reporters[chosen["trial"]])

    total = driver.plan(recipe)["records"] * recipe.sweep.epochs
    tuner = ray.tune.Tuner(
        ray.tune.with_resources(trainable, {"CPU": TRIAL_CPUS}),
        param_space={"trial": ray.tune.grid_search(list(planned))},
        tune_config=ray.tune.TuneConfig(
            metric=driver.METRIC,
            mode="max",
            max_concurrent_trials=recipe.sweep.concurrent,
            # The count of records, since Tune's own count of reports starts anew with every restart.
            scheduler=ASHAScheduler(
                time_attr="samples_seen",
                max_t=math.ceil(total) + 1,
                grace_period=max(1, math.floor(total / RUNGS) - 1),
                reduction_factor=2,
            ),
        ),
        run_config=ray.tune.RunConfig(name="trials", storage_path=path, storage_filesystem=system, verbose=0),
    )
    results = tuner.fit()
    for error in results.errors:
        logger.error("a trial failed: %s", error)
    best, *others = ended(recipe)
    for trial in (best, *others):
        logger.info("%s: %s", trial.name, trial.outcome())
    if not best.completed:
        raise RuntimeError(f"no trial came to its end; the first error: {next(iter(results.errors), None)}")


def ended(recipe: config.Recipe) -> list[Trial]:
    """How far each trial came, best first."""
    found = [_ended(trial) for trial in trials(recipe)]
    return sorted(found, key=lambda trial: (trial.completed, trial.value), reverse=True)


def _train_trial(trial: Trial, report: driver.Reporter) -> None:
    """In the trial's process: say again what was reported before a restart, then train on."""
    log.configure()
    for metrics in history.read(trial.folder):
        ray.tune.report({name: value for name, value in metrics.items() if name != "curve"})
    asked = driver.request(trial.recipe)
    driver.train(trial.recipe, asked, trial.folder, report=report, callbacks=[TuneReportCallback()])


def _ended(trial: Trial) -> Trial:
    lines = history.read(trial.folder) or [{}]
    return Trial(
        trial.name,
        trial.recipe,
        trial.folder,
        driver.is_trained(trial.folder),
        driver.chosen(trial.recipe, lines).get(driver.METRIC, -math.inf),
        lines[-1].get("samples_seen", 0),
    )
