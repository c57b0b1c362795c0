"""Train in one resumable Ray Train run: from opened shards and labels to the released EMA weights.

Tracking and bundles come later in the order of the package: `supreme.pretraining` passes in a reporter, and
writes the bundle from the `TrainedModel` that is returned.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ray.train

from supreme import config, log, storage
from supreme.objectives.make import OBJECTIVES
from supreme.text import open_encoder
from supreme.training.data.queries import Queries
from supreme.training.data.reports import Reports
from supreme.training.data.sources import absolute
from supreme.training.learner.finite import TrainingStopped
from supreme.training.run import history
from supreme.training.run.failures import (
    CONTROLLER_GONE,
    describe_failures,
    quieten_controller,
    start_again,
    storage_error,
)
from supreme.training.run.history import Report
from supreme.training.run.ray_trainer import Trainer, fit, scaling
from supreme.training.run.result import TrainedModel, is_trained, latest_state, load_trained, release
from supreme.training.run.stage import QUERIES, REPORTS, PretrainStage
from supreme.training.run.worker_setup import train_loop

RAY_FOLDER, RUN_NAME = "ray", "run"

#: Called at every report with all reports so far, in the controller process; it must not block.
Reporter = Callable[[Sequence[Report]], None]

logger = log.get("pretrain")


def train(
    stage: PretrainStage,
    *,
    report: Reporter,
    callbacks: Sequence[ray.train.UserCallback] = (),
    name: str = RUN_NAME,
) -> TrainedModel:
    """Train into the stage's folder, and read the model back. Raises as `train_weights`."""
    if is_trained(stage.folder):
        trained = load_trained(stage)
        history.write(stage.folder, trained.state.reports)  # it may have been damaged since
        return trained
    train_weights(stage, report=report, callbacks=callbacks, name=name)
    return load_trained(stage)


def train_weights(
    stage: PretrainStage,
    *,
    report: Reporter,
    callbacks: Sequence[ray.train.UserCallback] = (),
    name: str = RUN_NAME,
    turn: Callable[[], None] = lambda: None,
) -> None:
    """Train into the stage's folder, from the latest checkpoint there; needs a Ray session.

    A driver that is killed or terminated (SIGTERM) leaves that checkpoint: run again, at most
    ``training.checkpoint_every`` is repeated.

    Args:
        turn: called by every worker when it is ready; training begins when it returns.

    Raises:
        ConfigError: too few records, no validation records, or a checkpoint of another configuration.
        TrainingStopped: a loss or gradient is not finite.
    """
    plan = stage.check()
    embed_queries(stage)
    counts = plan.model_dump(exclude={"folder"})
    logger.info("training: %s", ", ".join(f"{name} {count:,}" for name, count in counts.items()))
    failures = 0
    while (state := latest_state(stage)) is None or not state.ended:
        recorder = _Recorder(report, stage, state.reports if state else [])
        try:
            _fit(stage, name, [recorder, *callbacks], turn)
        except CONTROLLER_GONE as error:
            failures += 1
            start_again(error, failures, stage.recipe.training.max_failures)
        else:
            state = latest_state(stage)
            assert state is not None
            assert state.ended
    release(stage, state)


def embed_queries(stage: PretrainStage) -> None:
    """Write what the workers read into the folder: the embedded queries of the vocabulary; for a zero-shot
    objective also the names of held-out entities, and the reports of all records for one that reads them.
    """
    recipe, inputs = stage.recipe, stage.inputs
    cache = absolute(storage.join(recipe.root, "embeddings"))
    objective, encoder = OBJECTIVES[recipe.training.objective], open_encoder(recipe.text)
    unseen = inputs.unseen if objective.zero_shot else ()
    white = stage.start.whitening() if stage.start else None
    queries = Queries.embed(inputs.vocabulary, encoder, recipe.text.whitening_shrinkage, cache, unseen, white)
    queries.write(storage.join(stage.folder, QUERIES))
    if objective.reads_reports:
        # A cache of their own: every run reads that of the queries, and reports may be many.
        own = storage.join(cache, "reports")
        reports = Reports.embed(inputs.train.shards, encoder, queries.whitening, own)
        reports.write(storage.join(stage.folder, REPORTS))


class _Recorder(ray.train.UserCallback):
    """In the controller: pass every report on and keep ``metrics.jsonl`` complete, also across restarts."""

    def __init__(self, report: Reporter, stage: PretrainStage, reports: Sequence[Report]) -> None:
        self.report, self.reports = report, list(reports)
        self.folder, self.label, self.name = stage.folder, stage.label, stage.recipe.name

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        """Called by Ray after every report of the workers."""
        self._configure_process()
        latest = Report.from_line(metrics[0])
        earlier = [report for report in self.reports if report.samples_seen < latest.samples_seen]
        self.reports = [*earlier, latest]
        try:
            history.write(self.folder, self.reports)
        except storage.StorageError:
            quieten_controller()  # the job tells it
            raise
        self.report(self.reports)

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Called by Ray when workers have failed."""
        quieten_controller()
        # Raised from here an exception ends the run; otherwise Ray would retry what must fail again.
        for error in worker_exceptions.values():
            cause = getattr(error, "_base_exc", error)
            if isinstance(cause, TrainingStopped | config.ConfigError):
                raise cause
            damage = storage_error(error)
            if damage and not isinstance(damage, storage.Unavailable):
                raise damage
        self._configure_process()
        logger.warning("%s", describe_failures(worker_exceptions))

    def _configure_process(self) -> None:
        log.configure(label=self.label)  # it is Ray's
        log.bind(self.name, "sweep" if self.label else "pretrain")


def _fit(
    stage: PretrainStage, name: str, callbacks: list[ray.train.UserCallback], turn: Callable[[], None]
) -> None:
    training = stage.recipe.training
    system, path = storage.filesystem(storage.join(stage.folder, RAY_FOLDER))
    loop = train_loop

    def worker_loop() -> None:
        loop(stage, turn)

    trainer = Trainer(
        worker_loop,
        scaling_config=scaling(training),
        run_config=ray.train.RunConfig(
            name=name,
            storage_path=path,
            storage_filesystem=system,
            failure_config=ray.train.FailureConfig(max_failures=training.max_failures),
            callbacks=callbacks,  # type: ignore[arg-type]
            logging_config=ray.train.LoggingConfig(log_level="WARNING"),  # type: ignore[call-arg]
        ),
    )
    fit(trainer)
