"""A sweep over loss and encoder: the pre-training run as Ray Tune trials, weak ones stopped early by ASHA.

Each trial has its own folder and goes on from its own checkpoints. A sweep that was killed is simply run
again: its trials tell the scheduler first what they had reported before, so that nothing of Tune's own state,
which is pickled, is ever read back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import ray.tune
from ray.tune.integration.ray_train import TuneReportCallback
from ray.tune.schedulers import ASHAScheduler

from supreme import config, log, manifest, storage
from supreme.sweep.trials import RUNGS, Trial, ended, trials
from supreme.training.learner.validation import METRIC
from supreme.training.run import driver, history, stage

#: A trial's own process only waits for its workers: with a whole CPU each, trials can wait for each other.
TRIAL_CPUS = 0.01

logger = log.get("sweep")


def request(recipe: config.Recipe) -> manifest.Request:
    """What the stage is asked for: pre-training's request with the sweep's own section."""
    asked = stage.request(recipe)
    sections = asked.config | {"sweep": recipe.sweep.model_dump(mode="json")}
    return manifest.Request(stage="sweep", config=sections, inputs=asked.inputs)


def run(recipe: config.Recipe, reporters: Mapping[str, driver.Reporter]) -> None:
    """Run all trials, each reporting to its own reporter (by trial name).

    Needs a Ray session.

    Raises:
        RuntimeError: no trial came to its end.
    """
    planned = {trial.name: trial for trial in trials(recipe)}
    folder = stage.absolute(recipe.folder("sweep"))
    system, path = storage.filesystem(storage.join(folder, "tune"))

    def trainable(chosen: dict[str, Any]) -> None:
        _train_trial(planned[chosen["trial"]], reporters[chosen["trial"]])

    total = stage.plan(recipe)["records"] * recipe.sweep.epochs
    tuner = ray.tune.Tuner(
        ray.tune.with_resources(trainable, {"CPU": TRIAL_CPUS}),
        param_space={"trial": ray.tune.grid_search(list(planned))},
        tune_config=ray.tune.TuneConfig(
            metric=METRIC,
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


def _train_trial(trial: Trial, report: driver.Reporter) -> None:
    """In the trial's process: say again what was reported before a restart, then train on."""
    log.configure()
    for metrics in history.read(trial.folder):
        ray.tune.report({name: value for name, value in metrics.items() if name != "curve"})
    asked = stage.request(trial.recipe)
    driver.train(trial.recipe, asked, trial.folder, report=report, callbacks=[TuneReportCallback()])
