"""The run of a stage folder: a copy, on the tracking server, of what the folder holds.

Nothing is kept apart for a server that is away: the folder's ``metrics.jsonl`` is the whole history, so every
report brings the server up to date from what it has, and so does the end of the stage, or the same command
later. Training never waits for it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode

from supreme import log, manifest, storage
from supreme.runtime import observability
from supreme.tracking import note
from supreme.tracking.logged import safe_value
from supreme.tracking.run import TrackingRun
from supreme.tracking.server import Attempt, reason, worded
from supreme.tracking.source import dataset_inputs, source_tags
from supreme.tracking.store import experiment_id
from supreme.training.run import history

#: How long a stage waits for a server at its start, at its end, and after an error or an interrupt.
START_WAIT_S, END_WAIT_S, ABORT_WAIT_S = 5.0, 75.0, 5.0
_KEY_TAG = "supreme.stage_key"

Status = Literal["FINISHED", "FAILED", "KILLED"]

logger = log.get("tracking")


@dataclass
class Link:
    """What a process knows of the server.

    The runs of a sweep share it, so that a server which is away is told and waited for once.
    """

    away: bool = False
    patience_s: float = END_WAIT_S

    def tell(self, failure: str) -> None:
        """Say it once when the server is away, and when it is back."""
        if failure and not self.away:
            logger.warning("the tracking server is left out until it is back: %s", failure)
        elif self.away and not failure:
            logger.info("the tracking server is back and has everything")
        self.away = bool(failure)
        observability.put("supreme_tracking_up", 0.0 if failure else 1.0)


@dataclass
class StageRun(TrackingRun):
    """The run of a stage folder; it raises nothing once it is begun. It may be sent to other processes."""

    folder: str
    params: dict[str, Any] = field(repr=False)
    tags: dict[str, Any] = field(repr=False)
    inputs: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Stage -> digest of the data that is read; that of the parent for a nested run."""
    link: Link = field(default_factory=Link, repr=False)
    _described: bool = field(default=False, repr=False)
    _lines: Sequence[history.Report] = field(default=(), repr=False)
    _sent: int = field(default=-1, repr=False)
    """`samples_seen` of the last line that the server is known to have."""
    _attempt: Attempt | None = field(default=None, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_attempt": None}

    def describe(self) -> None:
        """Status, tags, data, parameters and the recipe; raises what goes wrong."""
        self.client.update_run(self.run_id, status="RUNNING")
        self.set_tags(self.tags)
        if self.inputs:
            data = dataset_inputs(self.inputs, _parent_folder(self.folder), "training")
            self.client.log_inputs(self.run_id, data)
        self.log_params(self.params)
        self.log_dict(self.params, "recipe.json")
        self._described = True

    def report(self, lines: Sequence[history.Report]) -> None:
        """Bring the server up to date with the whole history so far; returns at once."""
        self._lines = lines
        if self._attempt is None or not self._attempt.is_alive():
            self._attempt = Attempt(self._catch_up_and_tell)

    def finish(
        self,
        status: Status = "FINISHED",
        wait_s: float = END_WAIT_S,
        *,
        tags: Mapping[str, str] | None = None,
        metrics: Mapping[str, float] | None = None,
        files: Sequence[str] = (),
    ) -> None:
        """Bring the server up to date with the folder and set the status, or say what it lacks.

        Args:
            tags: how the stage ended.
            metrics: of the stage as a whole.
            files: names of artifacts in the folder, beside its history and request.
        """
        missing = ["metrics", "artifacts", f"status {status}"]
        if not self._described:
            missing.insert(0, "parameters")

        def complete() -> None:
            self._lines = history.read(self.folder)
            self._catch_up()
            del missing[:-2]
            self.set_tags(tags or {})
            self.log_points([history.Point(0, time.time(), dict(metrics))] if metrics else [])
            for name in (history.METRICS, manifest.REQUEST, *files):
                if storage.exists(storage.join(self.folder, name)):
                    self.log_file(storage.join(self.folder, name))
            del missing[0]
            self.client.set_terminated(self.run_id, status)
            note.write(self.folder, complete=True)

        deadline = time.monotonic() + min(wait_s, self.link.patience_s)
        if self._attempt:
            self._attempt.join(deadline - time.monotonic())
        self._attempt = Attempt(complete)
        failure = self._attempt.failure(max(1.0, deadline - time.monotonic()))
        if not failure:
            return
        self.link.patience_s = ABORT_WAIT_S  # for the next run: the server had its time
        logger.warning(
            "run %s is not complete on the tracking server: it lacks %s (%s). All of it is kept in %s; "
            "the same command, run again when the server is back, fills it in",
            *(self.run_id, ", ".join(missing), failure, self.folder),
        )

    def _catch_up_and_tell(self) -> None:
        try:
            self._catch_up()
        except Exception as error:
            self.link.tell(reason(error))
        else:
            self.link.tell("")

    def _catch_up(self) -> None:
        if not self._described:
            self.describe()
        done: object = None
        while done is not self._lines:  # which may be longer by now
            done = lines = self._lines
            new = [line for line in lines if line.samples_seen > self._sent]
            self.log_points(history.points(new))
            self._sent = max([self._sent, *(line.samples_seen for line in new)])


def start_or_resume(
    uri: str,
    experiment: str,
    folder: str,
    name: str,
    params: Mapping[str, Any],
    tags: Mapping[str, Any] | None = None,
    parent: StageRun | None = None,
) -> StageRun:
    """The run of a stage folder: the one named in its ``run.json``, or a new one.

    A new run needs the server, one that was begun goes on without it.

    Args:
        uri: from :func:`open_store`.
        folder: stage folder; a stage that is killed and started again goes on in the same run.
        params: nested parameters, normally ``recipe.model_dump(mode="json")``.
        tags: those of `supreme.tracking.source` and the name of the stage are added.
        parent: run under which this one is shown.
    """
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    link = parent.link if parent else Link()
    nested = {"mlflow.parentRunId": parent.run_id} if parent else {}
    request = manifest.read_request(folder, "delete this folder, and run the same command again")
    inputs = request.inputs if request else parent.inputs if parent else {}
    stage = {"supreme.stage": request.stage} if request else {}
    tags = {**source_tags(), **stage, **(tags or {}), **nested}
    run_id = note.write(folder, complete=False).run_id
    run = StageRun(uri, run_id, client, folder, dict(params), tags, inputs, link)
    if run.run_id:
        run._attempt = resume = Attempt(lambda: _resume(run))
        failure = resume.failure(START_WAIT_S if not link.away else 1.0)
        link.tell(failure)
        if failure or resume.result:
            logger.info("going on in run %s", run.run_id)
            return run
        logger.warning("run %s is not on this tracking store: a new one is begun", run.run_id)
    with worded(uri, "begin a run"):
        run.run_id = _create(client, experiment_id(client, experiment), name, folder)
        run.describe()
    return run


def follow(uri: str, folder: str) -> StageRun:
    """The run that another process has begun for a stage folder, to report to it from this one."""
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    run = StageRun(uri, note.write(folder).run_id, client, folder, {}, {})
    run._described = True
    return run


@contextmanager
def closing(run: StageRun) -> Iterator[StageRun]:
    """Finish the run at the end of the block: FAILED after an exception, KILLED after an interrupt."""
    with closing_early(run):
        yield run
    run.finish()


@contextmanager
def closing_early(*runs: StageRun) -> Iterator[None]:
    """Finish the runs if the block does not come to its end: FAILED after an exception, else KILLED."""
    try:
        yield
    except BaseException as error:
        for run in runs:
            run.finish("FAILED" if isinstance(error, Exception) else "KILLED", ABORT_WAIT_S)
        raise


def _create(client: MlflowClient, experiment: str, name: str, folder: str) -> str:
    """A new run's id, noted in the folder.

    Its key is noted before, so that neither a process killed here nor a request that was repeated because its
    answer was lost leaves a second run.
    """
    key = note.write(folder).key
    same_stage = f"tags.`{_KEY_TAG}` = '{key}'"
    if not client.search_runs([experiment], same_stage):
        client.create_run(experiment, run_name=safe_value(name, "name"), tags={_KEY_TAG: key})
    first, *others = client.search_runs([experiment], same_stage, order_by=["attributes.start_time"])
    for other in others:
        client.delete_run(other.info.run_id)
    note.write(folder, run_id=first.info.run_id)
    return str(first.info.run_id)


def _parent_folder(folder: str) -> str:
    """The folder of all stages, above that of one."""
    return folder.partition("?")[0].rstrip("/").rpartition("/")[0]


def _resume(run: StageRun) -> bool:
    """Whether the run is on this store, where it is then described anew."""
    try:
        if run.client.get_run(run.run_id).info.lifecycle_stage != "active":
            return False
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
            raise
        return False
    run.describe()
    return True
