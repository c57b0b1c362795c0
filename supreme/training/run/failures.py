"""Training workers and controllers that died: one line about them, and what is retried.

Ray logs tens of lines about each, in every process that noticed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

import ray.exceptions
import ray.train

from supreme import log, storage

#: Raised by `trainer.fit()` where the process of the controller is gone: it is no worker, so Ray gives up.
CONTROLLER_GONE = (ray.exceptions.RayActorError, ray.exceptions.OutOfMemoryError)
#: Of Ray's own monitor; it also names the system's, among the things that may have killed a process.
_MEMORY = ("NODE_OUT_OF_MEMORY", "running low on memory")
_REMEDY = "give the node more memory, or lower training.batch_size or training.workers"

#: Before the controller is started again: what took the memory may give it back.
WAIT_S = 5.0

logger = log.get("pretrain")


class ControllerLost(RuntimeError):
    """The controller of training is gone, more often than `training.max_failures` allows."""


class WorkersLost(ray.train.WorkerGroupError):
    """Training workers are gone, more often than `training.max_failures` allows."""

    def __str__(self) -> str:
        return (
            f"{describe_failures(self.worker_failures)}; the same command goes on from the latest checkpoint"
        )


def start_again(error: Exception, failures: int, max_failures: int) -> None:
    """Say that the controller is gone for the ``failures``-th time, and wait.

    Raises:
        ControllerLost: that is too often.
    """
    why = describe_failure(error)
    if failures > max_failures:
        remedy = f": {_REMEDY}" if "memory" in why else ""
        raise ControllerLost(
            f"controller of training: {why}, {failures} times{remedy}; the same command goes on from the "
            "latest checkpoint"
        ) from None
    time.sleep(failures * WAIT_S)
    # Only now: a trial that is stopped loses its controller too, and its own process ends within the wait.
    logger.warning("controller of training: %s; going on from the latest checkpoint", why)


def shortened(error: ray.train.WorkerGroupError) -> Exception:
    """The error in a line where the storage failed or the workers did nothing wrong; otherwise as it was."""
    for failure in error.worker_failures.values():
        if of_storage := storage_error(failure):
            return of_storage
    if any(map(_is_loss, error.worker_failures.values())):
        return WorkersLost("", error.worker_failures)
    return error


def storage_error(failure: BaseException) -> storage.StorageError | None:
    """What the storage said to a worker, or to a task that reads for it."""
    cause = _cause(failure)
    return cause if isinstance(cause, storage.StorageError) else None


def describe_failures(worker_failures: Mapping[int, Exception]) -> str:
    """A line: the workers that are gone, or else what those that failed raised."""
    lost = {rank: error for rank, error in worker_failures.items() if _is_loss(error)}
    reasons = {rank: describe_failure(error) for rank, error in sorted((lost or worker_failures).items())}
    remedy = f": {_REMEDY}" if any("memory" in why for why in reasons.values()) else ""
    return "; ".join(f"training worker {rank}: {why}" for rank, why in reasons.items()) + remedy


def describe_failure(error: BaseException) -> str:
    """Why a process is gone, or the first line of what it raised."""
    cause = _cause(error)
    text = str(cause)
    if _is_loss(error):
        if isinstance(cause, ray.exceptions.OutOfMemoryError) or any(word in text for word in _MEMORY):
            return "killed, as its node ran out of memory"
        if "node has died" in text:
            return "lost with its node"
        if isinstance(cause, ray.exceptions.ActorUnavailableError):
            return "it does not answer"
        return "its process was killed, or crashed"
    return f"{type(cause).__name__}: {[*text.splitlines(), ''][0]}"


def quieten_worker() -> None:
    """In a worker: no traceback when another one is gone; what it raised itself is told by the job."""
    logging.getLogger("ray.train.v2._internal.util").setLevel(logging.CRITICAL)


def quieten_controller() -> None:
    """In the controller: no traceback about the clean end of workers that are gone, nor about what the job
    tells itself."""
    logging.getLogger("ray.train.v2._internal.callbacks.backend_setup").setLevel(logging.ERROR)
    logging.getLogger("ray.train.v2._internal.execution.controller.controller").setLevel(logging.CRITICAL)


def _is_loss(error: BaseException) -> bool:
    return isinstance(_cause(error), ray.exceptions.RayError) and not isinstance(
        _cause(error), ray.exceptions.RayTaskError
    )


def _cause(error: BaseException) -> BaseException:
    """What Ray Train wraps."""
    for name in ("health_check_failure", "_base_exc"):
        error = getattr(error, name, error)
    of_task = getattr(error, "cause", None)
    return of_task if isinstance(of_task, storage.StorageError) else error
