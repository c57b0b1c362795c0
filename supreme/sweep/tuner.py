"""Pre-training runs as Ray Tune trials; ASHA stops weak ones early.

Each trial has its own folder and goes on from its own checkpoints. A sweep that was killed is run again: its
trials first repeat their earlier reports to the scheduler, so that Tune's own state, which is pickled, is
never read back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import ray.tune
from ray.tune.integration.ray_train import TuneReportCallback
from ray.tune.schedulers import ASHAScheduler

from supreme import log, storage
from supreme.sweep.trials import RUNGS, Trial, ranked
from supreme.training.learner.validation import METRIC
from supreme.training.run import driver, history
from supreme.training.run.stage import PretrainStage

#: A trial's own process only waits for its workers: with a whole CPU each, trials can wait for each other.
TRIAL_CPUS = 0.01

logger = log.get("sweep")


def run(
    stage: PretrainStage, folder: str, trials: Sequence[Trial], reporters: Mapping[str, driver.Reporter]
) -> None:
    """Run all trials on the inputs of ``stage``; needs a Ray session.

    Args:
        folder: of the sweep.
        reporters: by name of the trial.

    Raises:
        RuntimeError: no trial came to its end.
    """
    system, path = storage.filesystem(storage.join(folder, "tune"))
    by_name = {trial.name: trial for trial in trials}

    def trainable(parameters: dict[str, Any]) -> None:
        trial = by_name[parameters["trial"]]
        _train_trial(stage.trial(trial.recipe, trial.folder), reporters[trial.name])

    sweep = stage.recipe.sweep
    total = stage.plan().records * sweep.epochs
    tuner = ray.tune.Tuner(
        ray.tune.with_resources(trainable, {"CPU": TRIAL_CPUS}),
        param_space={"trial": ray.tune.grid_search(list(by_name))},
        tune_config=ray.tune.TuneConfig(
            metric=METRIC,
            mode="max",
            max_concurrent_trials=sweep.concurrent,
            # Counted in records: Tune's own count of reports starts anew with every restart.
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
    ranking = ranked(trials)
    for trial, outcome in ranking:
        logger.info("%s: %s", trial.name, outcome.model_dump())
    if not ranking[0][1].completed:
        raise RuntimeError(f"no trial came to its end; the first error: {next(iter(results.errors), None)}")


def _train_trial(stage: PretrainStage, report: driver.Reporter) -> None:
    """In the trial's process: repeat the reports of before a restart, then train on."""
    log.configure()
    for earlier in history.read(stage.folder):
        ray.tune.report(earlier.point.line())
    driver.train(stage, report=report, callbacks=[TuneReportCallback()])
