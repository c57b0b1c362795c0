"""What is told of training workers that are gone is a line that says why."""

from __future__ import annotations

import pytest
import ray.exceptions
import ray.train
from ray.train.v2._internal.exceptions import UserExceptionWithTraceback, WorkerHealthCheckFailedError

from supreme import storage
from supreme.training.run import failures

pytestmark = pytest.mark.unit

#: As Ray 2.60 puts it.
KILLED = """The actor died unexpectedly before finishing this task.
	class_name: RayTrainWorker
The actor is dead because its worker process has died. Worker exit type: {} Worker exit detail: {}"""
CRASHED = (
    "Worker unexpectedly exits. Some common causes include: (1) the process was killed by the OOM killer"
)
MEMORY = "Task was killed due to the node running low on memory."
NODE = "The actor died because its node has died. Node Id: b5c7e9"


def dead(text: str) -> Exception:
    error = ray.exceptions.RayActorError("", text)
    return WorkerHealthCheckFailedError("A worker health check failed.", failure=error)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (dead(KILLED.format("SYSTEM_ERROR", CRASHED)), "its process was killed, or crashed"),
        (dead(KILLED.format("NODE_OUT_OF_MEMORY", MEMORY)), "killed, as its node ran out of memory"),
        (ray.exceptions.OutOfMemoryError("..."), "killed, as its node ran out of memory"),
        (dead(NODE), "lost with its node"),
        (ray.exceptions.ActorUnavailableError("RPC error", None), "it does not answer"),
        (UserExceptionWithTraceback(ValueError("one\ntwo"), "Traceback ..."), "ValueError: one"),
    ],
)
def test_the_reason_is_a_line(error: Exception, reason: str) -> None:
    assert failures.describe_failure(error) == reason


def test_those_that_noticed_are_not_told_besides_the_one_that_is_gone() -> None:
    noticed = UserExceptionWithTraceback(RuntimeError("Connection reset by peer"), "Traceback ...")
    lost = {1: dead(KILLED.format("NODE_OUT_OF_MEMORY", MEMORY)), 0: noticed}
    assert failures.describe_failures(lost).startswith(
        "training worker 1: killed, as its node ran out of memory: give"
    )
    error = failures.shortened(ray.train.WorkerGroupError("100 lines\n" * 100, lost))
    assert isinstance(error, ray.train.WorkerGroupError)
    assert str(error).count("\n") == 0
    assert str(error).endswith("the same command goes on from the latest checkpoint")


def test_a_full_disk_is_told_as_the_storage_tells_it() -> None:
    full = storage.Unavailable("runs/x: No space left on device: 0 free in runs; make room")
    noticed = UserExceptionWithTraceback(RuntimeError("Connection reset by peer"), "Traceback ...")
    failed = {0: noticed, 1: UserExceptionWithTraceback(full, "Traceback ...")}
    error = failures.shortened(ray.train.WorkerGroupError("100 lines\n" * 100, failed))
    assert (type(error), str(error)) == (storage.Unavailable, str(full))
    # Or to a task of Ray Data that reads for the worker.
    of_task = ray.exceptions.RayTaskError("read", "Traceback ...\n" * 100, full).as_instanceof_cause()
    error = failures.shortened(ray.train.WorkerGroupError("100 lines\n" * 100, {0: of_task}))
    assert (type(error), str(error)) == (storage.Unavailable, str(full))
    assert failures.describe_failures({0: of_task}) == f"training worker 0: Unavailable: {full}"


def test_a_mistake_in_the_loop_keeps_its_traceback() -> None:
    mistake = UserExceptionWithTraceback(ValueError("wrong"), "Traceback: line 7")
    error = ray.train.WorkerGroupError("[Rank 0] Traceback: line 7", {0: mistake})
    assert failures.shortened(error) is error
    assert failures.describe_failures({0: mistake}) == "training worker 0: ValueError: wrong"


def test_a_controller_without_memory_is_started_again_so_often_and_then_told_in_a_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    error = ray.exceptions.OutOfMemoryError("1 worker(s) were killed\n" + "and how Ray counts\n" * 100)
    for failures_so_far in (1, 2):
        failures.start_again(error, failures_so_far, max_failures=2)
    assert waits == [failures.WAIT_S, 2 * failures.WAIT_S]
    with pytest.raises(
        failures.ControllerLost, match=r"ran out of memory, 3 times: give .* goes on from"
    ) as lost:
        failures.start_again(error, 3, max_failures=2)
    assert "\n" not in str(lost.value)
