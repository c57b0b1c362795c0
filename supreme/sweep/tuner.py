"""Pre-training runs as Ray Tune trials; ASHA stops weak ones early.

Each trial has its own folder and goes on from its own checkpoints. A sweep that was killed is run again: its
trials first repeat their earlier reports to the scheduler, so that Tune's own state, which is pickled, is
never read back.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import ray.tune
from ray.tune.integration.ray_train import TuneReportCallback
from ray.tune.schedulers import ASHAScheduler

from supreme import log, storage
from supreme.runtime import observability
from supreme.storage.errors import AGAIN
from supreme.sweep.trials import RUNGS, Trial, ranked
from supreme.training.learner.validation import METRIC
from supreme.training.run import driver, history
from supreme.training.run.failures import describe_failure
from supreme.training.run.stage import PretrainStage

#: A trial's own process only waits for its workers: with a whole CPU each, trials can wait for each other.
TRIAL_CPUS = 0.01

#: They log tracebacks: a trial's error is told once, by the job.
_QUIET = (
    *("ray.tune.execution.tune_controller", "ray.tune.execution.experiment_state", "ray.tune.tune"),
    *("ray.train._internal.syncer", "ray.tune.logger.tensorboardx"),
)

logger = log.get("sweep")


def run(
    stage: PretrainStage, folder: str, trials: Sequence[Trial], reporters: Mapping[str, driver.Reporter]
) -> None:
    """Run all trials on the inputs of ``stage``; needs a Ray session.

    Args:
        folder: of the sweep.
        reporters: by name of the trial.

    Raises:
        StorageError: the storage failed all trials.
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
        run_config=ray.tune.RunConfig(
            name="trials",
            storage_path=path,
            storage_filesystem=system,
            verbose=0,
            callbacks=[_TrialStates()],
        ),
    )
    errors = _fit(tuner, folder)
    for error in errors:
        logger.error("a trial failed: %s", describe_failure(error))
    ranking = ranked(trials)
    for trial, outcome in ranking:
        logger.info("%s: %s", trial.name, outcome.model_dump())
    if not ranking[0][1].completed:
        raise _reason(errors)


class _TrialStates(ray.tune.Callback):
    """Counts the trials of each state for the metrics endpoint."""

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Called by Tune after every event."""
        states = Counter(str(trial.status) for trial in trials)
        for state in ("PENDING", "RUNNING", "TERMINATED", "ERROR"):
            observability.put("supreme_trials", states[state], state=state)


def _fit(tuner: ray.tune.Tuner, folder: str) -> list[Exception]:
    """What the trials that failed have raised."""
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        results = tuner.fit()
    except Exception as error:
        # Tune keeps the errors of trials in files, which a full disk cuts off, and reads them at the end.
        if type(error).__name__ not in ("EOFError", "UnpicklingError"):
            raise
        return [storage.Unavailable(f"{folder}: trials failed, as on a full disk: make room, then {AGAIN}")]
    return [getattr(error, "cause", None) or error for error in results.errors]


def _reason(errors: Sequence[Exception]) -> Exception:
    """What to raise when no trial came to its end."""
    of_storage = [error for error in errors if isinstance(error, storage.StorageError)]
    first = describe_failure(errors[0]) if errors else "none"
    return (
        of_storage[0] if of_storage else RuntimeError(f"no trial came to its end; the first error: {first}")
    )


def _train_trial(stage: PretrainStage, report: driver.Reporter) -> None:
    """In the trial's process: repeat the reports of before a restart, then train on."""
    log.configure()
    log.bind(stage.recipe.name, "sweep")
    for earlier in history.read(stage.folder):
        ray.tune.report(earlier.point.line())
    driver.train(stage, report=report, callbacks=[TuneReportCallback()])
