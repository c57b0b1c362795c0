"""`jobs/pretrain.py` on a busy machine: its workers stand still at planted points, and say where they are.

In the folder of the run: ``rank-<n>`` holds the host of a worker, ``attempts`` the records seen at each
start, and ``at-<point>`` is there once the worker of rank 0 stands at a point of its second report.
"""

from __future__ import annotations

import itertools
import os
import random
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from supreme.training.run.stage import PretrainStage

#: From the second report to its checkpoint, in order; "model" and "state" are before these files are written.
POINTS = ("reported", "snapshot", "model", "state", "published")
SAMPLES, HOLD_S = 320, 2.0


def delayed_loop(stage: PretrainStage, _: object) -> None:
    """The training loop of one worker."""
    from ray.data._internal.arrow_block import ArrowBlockAccessor

    from supreme import storage
    from supreme.training.run import checkpoint, worker, worker_setup

    folder, numbers = Path(stage.folder), itertools.count()
    run, state = worker_setup.open_run(stage)
    is_held = run.rank == 0 and state.samples_seen < SAMPLES

    def hold(point: str) -> None:
        if is_held and not (folder / f"at-{point}").exists():
            (folder / f"at-{point}").touch()
            time.sleep(HOLD_S)

    def slowly(function: Callable[..., Any]) -> Callable[..., Any]:
        """What is formatted in several threads is not ready in turn."""

        def slow(*arguments: Any) -> Any:
            time.sleep(random.choice([0.0, 0.0, 0.1]))
            return function(*arguments)

        return slow

    report, snapshot, write_bytes = worker.WorkerRun._report, checkpoint.Snapshot.of, storage.write_bytes

    def held_report(self: Any, before: Any, *arguments: Any, **more: Any) -> Any:
        reported = report(self, before, *arguments, **more)
        if reported.samples_seen == SAMPLES:
            hold("reported")
        return reported

    def held_snapshot(learner: Any) -> Any:
        made = snapshot(learner)
        if next(numbers) + 1 == 2:
            hold("snapshot")
        return made

    def held_write(uri: str, content: bytes) -> None:
        is_second = f"/{SAMPLES:012d}-" in uri
        if is_second and uri.endswith(checkpoint.MODEL):
            hold("model")
        if is_second and uri.endswith(checkpoint.STATE):
            hold("state")
        write_bytes(uri, content)
        if is_second and uri.endswith(checkpoint.STATE):
            hold("published")

    ArrowBlockAccessor.to_arrow = slowly(ArrowBlockAccessor.to_arrow)  # type: ignore[method-assign]
    worker.WorkerRun._report = held_report  # type: ignore[method-assign]
    checkpoint.Snapshot.of = staticmethod(held_snapshot)  # type: ignore[method-assign,assignment]
    storage.write_bytes = held_write
    (folder / f"rank-{run.rank}").write_text(socket.gethostname())
    if run.rank == 0:
        with (folder / "attempts").open("a") as attempts:
            attempts.write(f"{state.samples_seen}\n")
    run.train(state)


if __name__ == "__main__":
    sys.path[:0] = [os.getcwd(), f"{os.getcwd()}/jobs"]
    import delayed_pretrain
    import pretrain
    from ray import cloudpickle

    from supreme.runtime.cli import main
    from supreme.training.run import driver

    cloudpickle.register_pickle_by_value(delayed_pretrain)
    driver.train_loop = delayed_pretrain.delayed_loop
    main(pretrain.run, __doc__ or "")
