"""The Ray session of a job: the cluster of RAY_ADDRESS or a local one."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from supreme import config, log
from supreme.runtime import leftovers, observability
from supreme.runtime.interrupt import catch_sigterm, is_terminated
from supreme.runtime.token import keep_token_private


@contextlib.contextmanager
def ray_session() -> Iterator[None]:
    """The cluster of RAY_ADDRESS (set by `ray job submit`), the session that already runs, or an own one.

    Raises:
        ConfigError: RAY_ADDRESS is that of a dashboard.
    """
    import ray

    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS", "")
    if address.startswith("http"):
        raise config.ConfigError(
            f"RAY_ADDRESS={address} takes jobs: `ray job submit --working-dir . -- python jobs/...`; "
            "to run on this machine alone, unset RAY_ADDRESS"
        )
    with contextlib.ExitStack() as stack:
        local: dict[str, Any] = {}
        if not address:
            stack.enter_context(_own_folder())
            keep_token_private()
            # Training workers, Ray Data and a sweep's trials each need a logical CPU, also on a laptop.
            cpus = max(8, os.cpu_count() or 1)
            local = {"address": "local", "num_cpus": cpus, "include_dashboard": False}
        start_patiently(partial(ray.init, logging_level=logging.WARNING, log_to_driver=True, **local))
        stack.callback(lambda: None if is_terminated() else ray.shutdown())
        catch_sigterm()
        if local:
            _name_cluster(ray.get_runtime_context().gcs_address)
        quieten_ray_data()
        observability.put("supreme_job_running", 1.0)
        yield


def quieten_ray_data() -> None:
    """Its execution plans are not for people, and the error of a task is told once: by the job."""
    logging.getLogger("ray.data._internal.execution.streaming_executor").setLevel(logging.WARNING)
    logging.getLogger("ray.data._internal.execution.streaming_executor_state").setLevel(logging.CRITICAL)
    logging.getLogger("ray.data.exceptions").setLevel(logging.CRITICAL)
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)


@contextlib.contextmanager
def _own_folder() -> Iterator[None]:
    """A folder for Ray's files while the block runs; its path is short, because sockets are made in it."""
    before = os.environ.get("RAY_TMPDIR")
    parent = Path(before or "/tmp")
    leftovers.remove(parent)
    with (
        tempfile.TemporaryDirectory(prefix=leftovers.PREFIX, dir=parent, ignore_cleanup_errors=True) as own,
        leftovers.claimed(Path(own)),
    ):
        os.environ["RAY_TMPDIR"] = own
        try:
            yield
        finally:
            del os.environ["RAY_TMPDIR"]
            os.environ |= {"RAY_TMPDIR": before} if before else {}


def _name_cluster(address: str) -> None:
    """Leave the address where Ray Train's watchers look for "the" cluster.

    They would find that of another Ray on this machine, not find the training there, and end it.
    """
    Path(os.environ["RAY_TMPDIR"], "ray", "ray_current_cluster").write_text(address)


def start_patiently(start: Callable[[], object], waits_s: Sequence[float] = (5, 20)) -> None:
    """Start Ray, again after a while where a busy machine did not within the 30 s that Ray allows itself."""
    for wait_s in waits_s:
        try:
            start()
            return
        except Exception as error:
            if "timed out during startup" not in str(error):
                raise
            log.get("job").warning("Ray did not start in time; again in %.0f s", wait_s)
        time.sleep(wait_s)
    start()
