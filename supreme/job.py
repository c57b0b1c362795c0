"""What every job shares: arguments, environment, Ray session, the result line and the exit code."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from supreme import config, log, storage

#: Defaults for libraries; a variable that is already set wins.
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_USE_DATASOURCE_V2": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.3",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_DATA_RAISE_ORIGINAL_MAP_EXCEPTION": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # By default half a minute, which a busy machine does not keep.
    "RAY_raylet_start_wait_time_s": "180",
    # What Ray Data has used is freed at once. By default a second later: at a full reading speed that is
    # gigabytes, which are written to disk where they do not fit into the object store.
    "RAY_free_objects_period_milliseconds": "0",
    # Idle processes beyond the cores end. By default one stays for each logical CPU, wakes 150 times a second
    # and takes the core from a training step: of two workers on two cores, two in a hundred of it.
    "RAY_num_workers_soft_limit": str(os.cpu_count() or 1),
    "OMP_WAIT_POLICY": "PASSIVE",
    # Torch's profiler talks about itself.
    "KINETO_LOG_LEVEL": "6",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # A server that is away is waited for about a minute (by default four, sixteen where it accepts only).
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "5",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "TOKENIZERS_PARALLELISM": "false",
}


@dataclass(frozen=True)
class Options:
    """Switches of the command line that are not part of the recipe."""

    dry_run: bool = False
    new: bool = False
    profile: bool = False
    """Of `jobs/pretrain.py` alone."""


Run = Callable[[config.Recipe, Options], dict[str, Any]]


def main(
    run: Run, description: str, argv: list[str] | None = None, switches: Mapping[str, str] | None = None
) -> NoReturn:
    """Parse the command line, run, print the result as the last line of stdout, and exit.

    ``switches`` are those of `Options` that only this job has, with what they do. ``run(recipe, options)``
    returns the result (or, with ``--dry-run``, the plan) as a JSON-able dictionary.
    Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 130 interrupted (Ctrl-C).
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--config", default="demo", metavar="FILE", help="a recipe: .toml file or its name in jobs/recipes"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the plan and do nothing")
    parser.add_argument("--new", action="store_true", help="start the stage afresh instead of resuming it")
    for name, meaning in (switches or {}).items():
        parser.add_argument(f"--{name}", action="store_true", help=meaning)
    parser.add_argument("--result-file", metavar="FILE", help="also write the result there")
    parser.add_argument("overrides", nargs="*", metavar="key.sub=value")
    arguments = parser.parse_intermixed_args(argv)
    # Ray's default for an own session, which it tells at every start if it is not chosen.
    own = {} if os.environ.get("RAY_ADDRESS") else {"RAY_AUTH_MODE": "token"}
    for name, value in (ENVIRONMENT | own).items():
        os.environ.setdefault(name, value)
    log.configure()
    logger = log.get("job")
    try:
        recipe = config.load(arguments.config, arguments.overrides)
        chosen = {field.name: getattr(arguments, field.name, False) for field in fields(Options)}
        result = run(recipe, Options(**chosen))
        line = json.dumps(result, default=str)
        if arguments.result_file:
            storage.write_bytes(arguments.result_file, (line + "\n").encode())
    except KeyboardInterrupt:
        logger.error("interrupted: the same command goes on from what is done")
        sys.exit(130)
    except config.ConfigError as error:
        logger.error("%s", error)
        sys.exit(2)
    except Exception as error:
        logger.error("%s", _told(error))
        logger.debug("", exc_info=True)
        sys.exit(1)
    print(line, flush=True)
    sys.exit(0)


def _told(error: Exception) -> str:
    """Kind and message; of storage that failed a worker, without the traceback and advice that Ray adds."""
    cause = getattr(error, "cause", None) or error
    if isinstance(cause, storage.StorageError):
        return f"{type(cause).__name__}: {cause}".splitlines()[0]
    return f"{type(error).__name__}: {error}"


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
            # Training workers, Ray Data and a sweep's trials each need a logical CPU, also on a laptop.
            cpus = max(8, os.cpu_count() or 1)
            local = {"address": "local", "num_cpus": cpus, "include_dashboard": False}
        start_patiently(partial(ray.init, logging_level=logging.WARNING, log_to_driver=True, **local))
        stack.callback(ray.shutdown)
        if local:
            _name_cluster(ray.get_runtime_context().gcs_address)
        # Its execution plans are not for people, and the error of a task is told once: by the job.
        logging.getLogger("ray.data._internal.execution.streaming_executor").setLevel(logging.WARNING)
        logging.getLogger("ray.data._internal.execution.streaming_executor_state").setLevel(logging.CRITICAL)
        logging.getLogger("ray.data.exceptions").setLevel(logging.CRITICAL)
        logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)
        yield


@contextlib.contextmanager
def _own_folder() -> Iterator[None]:
    """A folder for Ray's files while the block runs; its path is short, because sockets are made in it."""
    before = os.environ.get("RAY_TMPDIR")
    with tempfile.TemporaryDirectory(prefix="ray.", dir=before or "/tmp", ignore_cleanup_errors=True) as own:
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
