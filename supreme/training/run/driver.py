"""The pre-training stage: from shards and labels to averaged weights, in one resumable Ray Train run.

The tracking store and the bundle come later in the order of the package, so the job hands them in: a reporter
that is called with (metrics, samples seen), and what it does with the `Trained` that comes back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ray.train

from supreme import config, log, manifest, storage
from supreme.objectives.make import OBJECTIVES
from supreme.reports.label_table import read_unseen, read_vocabulary
from supreme.text import open_encoder
from supreme.training.data.queries import Queries
from supreme.training.data.reports import Reports
from supreme.training.data.sources import shard_folders
from supreme.training.learner.learner import TrainingStopped
from supreme.training.run import checkpoint as checkpoints
from supreme.training.run import history
from supreme.training.run.failures import CONTROLLER_GONE, quieten_controller, reason, told
from supreme.training.run.ray_trainer import Trainer, fitted, scaling
from supreme.training.run.result import (
    QUERIES,
    REPORTS,
    WEIGHTS,
    Trained,
    _latest,
    _released,
    is_trained,
    load_trained,
)
from supreme.training.run.stage import _identity, absolute, check
from supreme.training.run.worker import train_loop

RAY_FOLDER, RUN_NAME = "ray", "run"

#: Called at every report with the whole history so far; is sent to the controller process and must not wait.
Reporter = Callable[[Sequence[history.Line]], None]

logger = log.get("pretrain")


def train(
    recipe: config.Recipe,
    asked: manifest.Request,
    folder: str,
    *,
    report: Reporter,
    callbacks: list[ray.train.UserCallback] | None = None,
    name: str = RUN_NAME,
) -> Trained:
    """Train into ``folder``, going on from the latest checkpoint there; needs a Ray session.

    A driver that is killed, or told to end (SIGTERM), leaves that checkpoint: run again, at most
    ``training.checkpoint_every`` is done anew.

    Raises:
        ConfigError: too few records, no validation records, or a checkpoint of another configuration.
        TrainingStopped: a loss or gradient is not finite.
    """
    folder = absolute(folder)
    if is_trained(folder):
        return load_trained(recipe, asked, folder)
    began = check(recipe)
    embed_queries(recipe, folder)
    logger.info("training: %s", ", ".join(f"{k} {v:,}" for k, v in began.items() if k != "folder"))
    failures = 0
    while (state := _latest(asked, folder)) is None or not state.ended:
        recorder = _Recorder(report, folder, state.reports if state else [])
        try:
            _fit(recipe, asked, folder, name, [recorder, *(callbacks or [])])
        except CONTROLLER_GONE as error:
            failures += 1
            if failures > recipe.training.max_failures:
                raise
            logger.warning(
                "the controller of training: %s; going on from the latest checkpoint", reason(error)
            )
    history.write(folder, state.reports)
    storage.write_bytes(storage.join(folder, WEIGHTS), _released(recipe, asked, folder, state))
    storage.write_bytes(storage.join(folder, checkpoints.STATE), state.model_dump_json(indent=1).encode())
    return load_trained(recipe, asked, folder)


def embed_queries(recipe: config.Recipe, folder: str) -> None:
    """Write what the workers read into ``folder``: the embedded queries of the vocabulary, the names of
    held-out entities for a zero-shot objective, and for one that learns from reports those of all records.
    """
    cache, labels = absolute(storage.join(recipe.root, "embeddings")), recipe.folder("labels")
    objective = OBJECTIVES[recipe.training.objective]
    vocabulary, encoder = read_vocabulary(labels), open_encoder(recipe.text)
    unseen = read_unseen(labels) if objective.zero_shot else ()
    queries = Queries.embed(vocabulary, encoder, recipe.text.whitening_shrinkage, cache, unseen)
    queries.write(storage.join(folder, QUERIES))
    if objective.reads_reports:
        # Apart from the queries' cache: every run reads that one, and reports may be many.
        own = storage.join(cache, "reports")
        reports = Reports.embed(shard_folders(recipe), encoder, queries.whitening, own)
        reports.write(storage.join(folder, REPORTS))


class _Recorder(ray.train.UserCallback):
    """In the controller: hand every report on and keep ``metrics.jsonl`` whole, also across restarts."""

    def __init__(self, report: Reporter, folder: str, lines: Sequence[history.Line]) -> None:
        self.report, self.folder, self.lines = report, folder, list(lines)

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        log.configure()  # this process is Ray's
        mine = metrics[0]
        self.lines = [line for line in self.lines if line["samples_seen"] < mine["samples_seen"]] + [mine]
        history.write(self.folder, self.lines)
        self.report(self.lines)

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        # An exception from here ends the run; otherwise Ray would retry what is bound to fail again.
        for error in worker_exceptions.values():
            cause = getattr(error, "_base_exc", error)
            if isinstance(cause, TrainingStopped | config.ConfigError):
                raise cause
        log.configure()
        quieten_controller()
        logger.warning("%s", told(worker_exceptions))


def _fit(
    recipe: config.Recipe,
    asked: manifest.Request,
    folder: str,
    name: str,
    callbacks: list[ray.train.UserCallback],
) -> None:
    training = recipe.training
    system, path = storage.filesystem(storage.join(folder, RAY_FOLDER))
    trainer = Trainer(
        train_loop,
        train_loop_config=loop_config(recipe, asked, folder),
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
    fitted(trainer)


def loop_config(recipe: config.Recipe, asked: manifest.Request, folder: str) -> dict[str, Any]:
    """What `supreme.training.run.worker.open_run` is told on every worker."""
    return {
        "recipe": recipe.model_dump(mode="json"),
        "request": _identity(asked),
        "shards": [absolute(shards) for shards in shard_folders(recipe)],
        "labels": absolute(recipe.folder("labels")),
        "queries": storage.join(folder, QUERIES),
        "reports": storage.join(folder, REPORTS),
        "folder": folder,
    }
