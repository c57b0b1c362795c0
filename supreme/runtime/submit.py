"""Submit a job to a cluster: checked before anything is sent, followed to its end, with its exit code."""

from __future__ import annotations

import argparse
import asyncio
import os
import shlex
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import urlsplit

from supreme import config, log
from supreme.config import ConfigError
from supreme.runtime import origin
from supreme.runtime.token import check_token

if TYPE_CHECKING:
    from ray.dashboard.modules.job.sdk import JobSubmissionClient

#: Of the working directory, which Ray sends to the cluster.
MAX_BYTES = 500 * 10**6
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_TOLD_AFTER_S = 15.0
_POLL_S = 0.5

logger = log.get("submit")


@dataclass(frozen=True)
class Submission:
    """What is asked of the cluster."""

    address: str
    entrypoint: str
    folder: Path
    """The working directory."""
    origin: origin.Origin
    detach: bool


def main(argv: list[str] | None = None) -> NoReturn:
    """Parse the command line, check, submit and follow; exits with the job's own code, or 2 if refused."""
    log.configure()
    try:
        submission = prepare(argv)
        sys.exit(submit(submission))
    except ConfigError as error:
        logger.error("%s", error)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def prepare(argv: list[str] | None = None) -> Submission:
    """Read the command line and check what can be checked from here.

    Raises:
        ConfigError: no such job, a wrong recipe, no address, no token, or too large a working directory.
    """
    parser = argparse.ArgumentParser(prog="cluster/submit.sh", description=__doc__)
    parser.add_argument("--detach", action="store_true", help="do not wait for the end of the job")
    parser.add_argument("--without-token", action="store_true", help="the cluster really asks for none")
    parser.add_argument("job", help="a file in jobs/, without ending")
    # The rest is the job's.
    own, rest = parser.parse_known_args(argv)
    folder = Path.cwd()
    check_job(folder, own.job, rest)
    address = check_address(os.environ.get("RAY_API_SERVER_ADDRESS") or os.environ.get("RAY_ADDRESS", ""))
    if not own.without_token:
        check_token(f"{address} (or, if it really asks for none, give --without-token)")
    check_size(folder)
    entrypoint = shlex.join(["python", f"jobs/{own.job}.py", *rest])
    return Submission(address, entrypoint, folder, origin.here(folder), own.detach)


def check_job(folder: Path, job: str, arguments: list[str]) -> None:
    """Read the job's command line as the job will.

    Raises:
        ConfigError: no such job, an invalid recipe, or a root that only the job's copy of this folder has.
    """
    jobs = sorted(path.stem for path in (folder / "jobs").glob("*.py"))
    if job not in jobs:
        raise ConfigError(f"no job {job!r}: choose from {', '.join(jobs)}")
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--config", default="demo")
    parser.add_argument("--result-file")
    known, rest = parser.parse_known_args(arguments)
    recipe = config.load(known.config, [one for one in rest if not one.startswith("-")])
    if not recipe.root.startswith(("/", "s3://", "file:///", "~")):
        raise ConfigError(
            f"root={recipe.root}: a job runs in a copy of this folder, so give root as s3://... or as an "
            "absolute path that all hosts share"
        )


def check_address(address: str) -> str:
    """The address of a job server.

    Raises:
        ConfigError: there is none, or it is none.
    """
    if not address:
        raise ConfigError("RAY_ADDRESS is not set: run `source cluster/local.sh`, or give http://HOST:8265")
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"RAY_ADDRESS={address} is no job server: give it as http://HOST:8265")
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        logger.warning(
            f"{address}: the token is sent unencrypted: use https or a tunnel outside your network"
        )
    return address


def check_size(folder: Path) -> None:
    """Refuse a working directory that is not code.

    Raises:
        ConfigError: it holds more than :data:`MAX_BYTES`; the message names the largest files.
    """
    sizes = {path: path.lstat().st_size for path in _sent(folder)}
    if (total := sum(sizes.values())) > MAX_BYTES:
        largest = sorted(sizes, key=lambda path: -sizes[path])[:3]
        examples = ", ".join(f"{path.relative_to(folder)} ({sizes[path] / 1e6:,.0f} MB)" for path in largest)
        raise ConfigError(
            f"the working directory holds {total / 1e6:,.0f} MB, and at most {MAX_BYTES / 1e6:,.0f} MB are "
            f"sent: move data away, or name it in .gitignore; the largest: {examples}"
        )


def _sent(folder: Path) -> Iterator[Path]:
    """The files that Ray sends: those that git does not ignore, where there is git."""
    names = origin.files_of_git(folder)
    if names is not None:
        yield from (path for name in names if (path := folder / name).is_file())
        return
    yield from (path for path in folder.rglob("*") if path.is_file())


def submit(submission: Submission) -> int:
    """Send the job, show its log to the end, and return its exit code (0 at once if detached).

    Raises:
        ConfigError: nobody answers, the token is wrong, or the cluster runs another version of Ray.
        KeyboardInterrupt: Ctrl-C; the job goes on, and the message says how to stop it.
    """
    client = _connect(submission.address)
    source = submission.origin
    job_id = client.submit_job(
        entrypoint=submission.entrypoint,
        submission_id=f"{submission.entrypoint.split()[1][5:-3]}-{uuid.uuid4().hex[:8]}",
        runtime_env={
            "working_dir": str(submission.folder),
            "excludes": [".git", ".venv"],
            "env_vars": {origin.VARIABLE: source.model_dump_json()},
        },
        metadata={name: str(value) for name, value in source.model_dump().items()},
    )
    logger.info(f"{job_id}: submitted; `ray job stop {job_id}` stops it, the same command goes on")
    if submission.detach:
        return 0
    try:
        return asyncio.run(_follow(client, job_id))
    except KeyboardInterrupt:
        logger.warning(
            f"{job_id} goes on: `ray job logs --follow {job_id}` shows it, `ray job stop {job_id}`"
        )
        raise


def _connect(address: str) -> JobSubmissionClient:
    import ray
    from ray.dashboard.modules.job.sdk import JobSubmissionClient
    from ray.exceptions import AuthenticationError

    refused = ConfigError(f"{address} refuses the token: give that of this cluster")
    try:
        client = JobSubmissionClient(address)
        answer = client._do_request("GET", "/api/version")
    except AuthenticationError as error:
        raise refused from error
    except (RuntimeError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"{address} does not answer ({reason}): is the cluster up?") from error
    there = answer.json().get("ray_version", "") if answer.status_code == 200 else ""
    if there != ray.__version__:
        raise ConfigError(
            f"{address} runs Ray {there or 'of an unknown version'}, and here is {ray.__version__}: "
            "install the same on both sides (constraints.txt)"
        )
    return client


async def _follow(client: JobSubmissionClient, job_id: str) -> int:
    await _until_it_runs(client, job_id)
    async for lines in client.tail_job_logs(job_id):
        print(lines, end="", flush=True)
    while (info := client.get_job_info(job_id)).status in ("PENDING", "RUNNING"):
        await asyncio.sleep(_POLL_S)
    code = info.driver_exit_code
    if info.status == "STOPPED":
        logger.warning(f"{job_id} was stopped: the same command goes on")
        return 143
    if code is None or code < 0:
        logger.error(f"{job_id}: {info.message or 'its process is gone'}")
    return 0 if info.status == "SUCCEEDED" else (code if code and code > 0 else 1)


async def _until_it_runs(client: JobSubmissionClient, job_id: str) -> None:
    """Say what a job that does not start is waiting for."""
    told_at = time.monotonic() + _TOLD_AFTER_S
    while (info := client.get_job_info(job_id)).status == "PENDING":
        if time.monotonic() > told_at:
            logger.info(f"{job_id} waits: {info.message or 'for a host with room'}")
            told_at = time.monotonic() + 4 * _TOLD_AFTER_S
        await asyncio.sleep(_POLL_S)


if __name__ == "__main__":
    main()
