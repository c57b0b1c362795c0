"""Pre-training runs as Ray Tune trials: Tune starts and stops their processes, and starts lost ones again.

Each trial has its own folder and goes on from its own checkpoints; what was decided is in the sweep's ledger,
so that Tune's own state, which is pickled, is never read back.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import ray.train
import ray.tune
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.integration.ray_train import TuneReportCallback
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from supreme import log, storage
from supreme.config import Recipe
from supreme.runtime import observability
from supreme.storage.errors import AGAIN
from supreme.sweep import ledger, trials
from supreme.sweep.gate import Gate
from supreme.sweep.halving import Halving
from supreme.sweep.queue import TrialQueue
from supreme.sweep.trials import Trial
from supreme.training.learner.validation import METRIC
from supreme.training.run import driver, history
from supreme.training.run.failures import describe_failure, describe_failures, storage_error
from supreme.training.run.stage import PretrainStage

#: A trial's own process only waits for its workers: with a whole CPU each, trials can wait for each other.
TRIAL_CPUS = 0.01
_NAME, _PROGRESS = "trial", "progress"

#: They log tracebacks, and miss files that are not written: a trial's end is told once, by the job.
_QUIET = (
    "ray.tune.analysis.experiment_analysis",
    *("ray.tune.execution.tune_controller", "ray.tune.execution.experiment_state", "ray.tune.tune"),
    *("ray.train._internal.syncer", "ray.tune.trainable.function_trainable", "ray.tune.trainable.trainable"),
)

logger = log.get("sweep")

#: From a trial's folder to what takes its reports, in the trial's process.
OpenReporter = Callable[[str], driver.Reporter]


def run(stage: PretrainStage, folder: str, queue: TrialQueue, open_reporter: OpenReporter) -> None:
    """Run the trials of the queue on the inputs of ``stage``; needs a Ray session.

    Args:
        folder: of the sweep.
    """
    system, path = storage.filesystem(storage.join(folder, "tune"))
    recipe = stage.recipe

    def trainable(parameters: dict[str, str]) -> None:
        [record] = [one for one in ledger.read(folder) if one.name == parameters[_NAME]]
        trial = trials.trial(recipe, record)
        _train_trial(stage.trial(trial.recipe, trial.folder, trial.name), trial, open_reporter, gate)

    gate = Gate.create()
    queue.admit = gate.admit
    scheduler = _Scheduler(stage, queue)
    tuner = ray.tune.Tuner(
        ray.tune.with_resources(trainable, {"CPU": TRIAL_CPUS}),
        tune_config=ray.tune.TuneConfig(
            num_samples=-1,
            search_alg=_Suggestions(queue),
            scheduler=scheduler,
            max_concurrent_trials=recipe.sweep.concurrent + _ahead(recipe),
            trial_name_creator=lambda trial: str(trial.config[_NAME]),
            trial_dirname_creator=lambda trial: str(trial.config[_NAME]),
        ),
        run_config=ray.tune.RunConfig(
            name="trials",
            storage_path=path,
            storage_filesystem=system,
            verbose=0,
            # What a trial itself raises is noted and not raised: only lost processes are left.
            failure_config=ray.tune.FailureConfig(max_failures=recipe.training.max_failures),
            callbacks=[_Endings(queue, scheduler), _TrialStates()],
        ),
    )
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        tuner.fit()
    except Exception as error:
        # Tune keeps the errors of trials in files, which a full disk cuts off, and reads them at the end.
        if type(error).__name__ not in ("EOFError", "UnpicklingError"):
            raise
        raise storage.Unavailable(
            f"{folder}: trials failed, as on a full disk: make room, then {AGAIN}"
        ) from None


class _TrialStates(ray.tune.Callback):
    """Counts the trials of each state for the metrics endpoint."""

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Called by Tune after every event."""
        states = Counter(str(trial.status) for trial in trials)
        for state in ("PENDING", "RUNNING", "TERMINATED", "ERROR"):
            observability.put("supreme_trials", states[state], state=state)


def _ahead(recipe: Recipe) -> int:
    """Trials that may start their processes before their turn: one, where there is room for its workers."""
    training = recipe.training
    have = ray.cluster_resources().get("GPU" if training.gpu else "CPU", 0.0)
    workers = (recipe.sweep.concurrent + 1) * training.workers
    need = workers * training.gpu_share if training.gpu else workers + 1  # Ray Data's
    return int(need <= have)


class _Suggestions(Searcher):
    """The trials of the queue, as Tune asks for them."""

    def __init__(self, queue: TrialQueue) -> None:
        super().__init__()
        self.queue = queue

    def set_search_properties(self, *_: Any, **__: Any) -> bool:
        return True

    def suggest(self, trial_id: str) -> Any:
        """The next trial; None to be asked again later."""
        trial = self.queue.next()
        if trial:
            return {_NAME: trial.name}
        return None if self.queue.running else Searcher.FINISHED

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """`_Endings` hears of it as well, and of why."""

    def save(self, checkpoint_path: str) -> None:
        """The ledger is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """The ledger is the state."""


class _Scheduler(FIFOScheduler):
    """Stops short trials by successive halving, where the recipe says so; never trial 0."""

    def __init__(self, stage: PretrainStage, queue: TrialQueue) -> None:
        super().__init__()
        self.queue, self.halving = queue, Halving()
        self.reasons: dict[str, str] = {}
        for record in queue.records.values():
            if record.status in ("finished", "stopped") and not record.full:
                trial = trials.trial(stage.recipe, record)
                samples = stage.trial(trial.recipe, trial.folder, trial.name).plan().samples
                reports = history.read(trial.folder)
                points = [(one.samples_seen / samples, one.metrics.get(METRIC)) for one in reports]
                self.halving.replay(record.name, points)

    def on_trial_result(self, tune_controller: Any, trial: TuneTrial, result: Any) -> str:
        """Stop or go on, after a report."""
        record = self.queue.records[trial.config[_NAME]]
        if record.full or _PROGRESS not in result:
            return str(TrialScheduler.CONTINUE)
        reason = self.halving.judge(record.name, result[_PROGRESS], result.get(METRIC))
        if not reason or record.number == 0 or self.queue.recipe.sweep.scheduler == "none":
            return str(TrialScheduler.CONTINUE)
        self.reasons[record.name] = reason
        return str(TrialScheduler.STOP)


class _Endings(ray.tune.Callback):
    """Tells the queue how each trial ended."""

    def __init__(self, queue: TrialQueue, scheduler: _Scheduler) -> None:
        self.queue, self.scheduler = queue, scheduler

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: TuneTrial, **_: Any) -> None:
        """It came to its end, was stopped, or noted its failure."""
        name = str(trial.config[_NAME])
        self.queue.finish(name, stopped=self.scheduler.reasons.get(name, ""))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: TuneTrial, **_: Any) -> None:
        """Its process was lost more often than allowed, or could not even note its failure."""
        self.queue.finish(str(trial.config[_NAME]), lost=_why_lost(trial))


def _why_lost(trial: TuneTrial) -> str:
    """What Tune noted of the end of a trial's process."""
    try:
        error = trial.get_pickled_error()
    except Exception as damaged:  # a full disk cuts such a file off
        logger.debug("%s: %s", trial, damaged)
        error = None
    return describe_failure(getattr(error, "cause", None) or error) if error else "its process was lost"


class _Progress(TuneReportCallback):
    """In the controller of training: send Tune what the scheduler judges by, and nothing more."""

    def __init__(self, samples: int) -> None:
        super().__init__()
        self.samples = samples

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        """Called by Ray after every report of the workers."""
        super().after_report(run_context, [_judged(metrics[0], self.samples)], None)


def _judged(line: dict[str, Any], samples: int) -> dict[str, float]:
    value = {METRIC: line[METRIC]} if METRIC in line else {}
    return {_PROGRESS: line["samples_seen"] / samples, **value}


def _train_trial(stage: PretrainStage, trial: Trial, open_reporter: OpenReporter, gate: Gate) -> None:
    """In the trial's process: repeat the reports of before a restart, then train on; note a failure."""
    log.configure(label=stage.label)
    log.bind(stage.recipe.name, "sweep")
    try:
        samples = stage.plan().samples
        for earlier in history.read(stage.folder):
            ray.tune.report(_judged(earlier.point.line(), samples))
        if not trials.is_finished(trial):
            driver.train_weights(
                stage,
                report=open_reporter(stage.folder),
                callbacks=[_Progress(samples)],
                turn=partial(gate.wait, trial.name),
            )
    except Exception as error:
        reason, of_storage = _reason(error)
        trials.write_failure(trial, reason, of_storage=of_storage)


def _reason(error: Exception) -> tuple[str, bool]:
    """Why training failed, in a line, and whether the storage failed it."""
    if of_storage := storage_error(error):
        return str(of_storage).splitlines()[0], True
    failures = getattr(error, "worker_failures", None)
    if isinstance(error, ray.train.WorkerGroupError) and failures:
        return describe_failures(failures), False
    return describe_failure(error), False
