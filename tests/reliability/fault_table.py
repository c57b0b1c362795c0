"""Disturb every stage in every way that platforms do, and print what happens as a Markdown table.

python tests/reliability/fault_table.py [--only STAGE FAULT] [--folder FOLDER]

A cell starts the real job, disturbs it, notes its exit code and last message, and runs the same command again
without the disturbance. Needs root, which mounts a small disk. The outcomes stay in ``FOLDER/cells.jsonl``.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(CHECKOUT), str(CHECKOUT / "tests"), str(CHECKOUT / "jobs")]

import pipeline_runs  # noqa: E402
from benchmarks.object_store import free_ports  # noqa: E402
from fault_stages import DEADLINE_S, STAGES, Workshop, ended  # noqa: E402
from faulty_s3 import BIN, Proxy, proxy, server  # noqa: E402
from wfdb_writer import write_csn  # noqa: E402

#: A server that is away is given up soon.
HASTE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "3"}


@dataclass(frozen=True)
class Outcome:
    """One cell of the table."""

    stage: str
    fault: str
    codes: tuple[int, ...]
    """Exit codes of the disturbed jobs, negative for a signal; 99: it hung."""
    seconds: float
    message: str
    has_traceback: bool
    rerun: int
    """Exit code of the same command, run again."""
    is_equal: bool
    """Whether its results are those of an undisturbed run."""
    foreign_kept: bool
    left: tuple[str, ...]
    """Processes that outlived the job."""


Disturb = Callable[[Workshop, str, subprocess.Popen[bytes]], None]


def wait_until_under_way(workshop: Workshop, stage: str, process: subprocess.Popen[bytes]) -> None:
    """Until it has something to lose, or has ended."""
    start, case = time.monotonic(), STAGES[stage]
    seconds = workshop.finished[stage].seconds
    while process.poll() is None and time.monotonic() - start < DEADLINE_S:
        with suppress(FileNotFoundError):
            if case.is_under_way is None and time.monotonic() - start > 0.45 * seconds:
                return
            if case.is_under_way is not None and case.is_under_way(workshop.stage_folder):
                return
        time.sleep(0.005)


def send(number: signal.Signals) -> Disturb:
    """A signal to the process group, as a terminal, a batch system and the kernel send it."""

    def disturb(workshop: Workshop, stage: str, process: subprocess.Popen[bytes]) -> None:
        wait_until_under_way(workshop, stage, process)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)

    return disturb


def fill_disk(workshop: Workshop, stage: str, process: subprocess.Popen[bytes]) -> None:
    """Somebody else's file takes all that is free."""
    if STAGES[stage].is_under_way is not None:
        wait_until_under_way(workshop, stage, process)
    with suppress(OSError), (workshop.root / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(1 << 16))


def run_cell(workshop: Workshop, stage: str, fault: str, between: Proxy | None) -> Outcome:
    """Disturb a stage, and run it again."""
    log = workshop.folder / "logs" / f"{stage}-{fault}.log"
    log.parent.mkdir(exist_ok=True)
    for file in (log, log.with_suffix(".json"), log.with_suffix(".again")):
        file.unlink(missing_ok=True)
    marker = f"{stage}-{fault}-{time.time_ns()}"
    environment = {"SUPREME_TEST": marker, **HASTE}
    with workshop.restored(stage):
        start, damaged = time.monotonic(), damage(workshop, stage) if fault == "damaged input" else {}
        if fault == "memory":
            environment |= {"RAY_memory_usage_threshold": "0.01", "RAY_memory_monitor_refresh_ms": "100"}
        if fault == "read-only":
            subprocess.run(["mount", "-o", "remount,ro", workshop.root], check=True)
        if between is not None:
            # Alive when the job looks for it, and gone right after.
            between.plan = lambda request: "" if "/health" in request.path else TRACKING[fault]
        count = 2 if fault == "two at once" else 1
        jobs = [workshop.start(stage, log, **environment) for _ in range(count)]
        if fault in DISTURB:
            DISTURB[fault](workshop, stage, jobs[0])
        codes = tuple(ended(job) for job in jobs)
        seconds = time.monotonic() - start
        left = tuple(line[:60] for line in pipeline_runs.processes_with(f"SUPREME_TEST={marker}", 20))
        subprocess.run(["mount", "-o", "remount,rw,size=256m", workshop.root], check=True)
        (workshop.root / "filler").unlink(missing_ok=True)
        if between is not None:
            between.plan = lambda request: ""
        for file, content in damaged.items():
            file.write_bytes(content)
        text, again = log.read_text(errors="replace"), log.with_suffix(".again")
        rerun = workshop.run(stage, again)
        foreign_kept = all(file.exists() for file in workshop.foreign_files(stage))
        is_equal = workshop.is_equal(stage, again)
        return outcome_of(stage, fault, codes, seconds, text, rerun, is_equal, foreign_kept, left)


def outcome_of(
    stage: str,
    fault: str,
    codes: tuple[int, ...],
    seconds: float,
    text: str,
    rerun: int,
    is_equal: bool,
    foreign_kept: bool = True,
    left: tuple[str, ...] = (),
) -> Outcome:
    """A cell; ``text`` is all that the disturbed job wrote."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("{")]
    message, has_traceback = "\n".join(lines[-2:])[-600:], "Traceback (most recent call last)" in text
    return Outcome(
        stage, fault, codes, round(seconds, 1), message, has_traceback, rerun, is_equal, foreign_kept, left
    )


DISTURB: dict[str, Disturb] = {
    "SIGKILL": send(signal.SIGKILL),
    "SIGTERM": send(signal.SIGTERM),
    "Ctrl-C": send(signal.SIGINT),
    "disk full": fill_disk,
}
#: Of the proxy before the server.
TRACKING = {"tracking down": "reset", "tracking stalls": "hang", "tracking 500": "500 InternalError"}
FAULTS = (*DISTURB, "read-only", *TRACKING, "damaged input", "two at once", "memory")


def damage(workshop: Workshop, stage: str) -> dict[Path, bytes]:
    """Change one bit in an input of the stage; the file and what it held."""
    pattern = STAGES[stage].damaged
    inputs = workshop.folder / "ecgs" if stage == "predict" else workshop.stage_folder
    file = min(inputs.glob(pattern))
    before = file.read_bytes()
    content = bytearray(before)
    content[len(content) // 2] ^= 0x10
    file.write_bytes(content)
    return {file: before}


@contextmanager
def tracking_server(folder: Path) -> Iterator[Proxy]:
    """A proxy in front of an MLflow server, both always at the same address."""
    database, files = folder / "server.db", folder / "server-files"
    ports = folder / "ports"
    if not ports.exists():
        ports.write_text(" ".join(map(str, free_ports(2))))
    upstream, port = map(int, ports.read_text().split())
    command = [str(BIN / "mlflow"), "server", "--host=127.0.0.1", f"--port={upstream}", "--workers=1"]
    command += [f"--backend-store-uri=sqlite:///{database}", f"--artifacts-destination={files}"]
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    with (
        server(command, f"http://127.0.0.1:{upstream}/health", folder / "server.log"),
        proxy(f"127.0.0.1:{upstream}", port) as between,
    ):
        yield between


def cells(only: list[str] | None) -> list[tuple[str, str]]:
    """Stage and fault of every cell that makes sense."""
    every = [(stage, fault) for fault in FAULTS for stage in STAGES]
    every = [
        (stage, fault)
        for stage, fault in every
        if (fault not in TRACKING or STAGES[stage].uses_tracking)
        and (fault != "memory" or STAGES[stage].uses_ray)
        and (fault != "damaged input" or STAGES[stage].damaged)
    ]
    if not only:
        return every
    return [cell for cell in every if all(word in ("all", own) for word, own in zip(only, cell, strict=True))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs=2, metavar=("STAGE", "FAULT"), help='one cell; "all" for any')
    parser.add_argument("--folder", type=Path, default=Path("/tmp/fault-table"))
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    if not (folder / "ecgs").exists():
        write_csn(folder / "ecgs", 600)  # enough for workers to score them
    selected = cells(arguments.only)
    local = [cell for cell in selected if cell[1] not in TRACKING]
    with (folder / "cells.jsonl").open("a") as output, ExitStack() as stack:
        for group, between in ((local, None), ([cell for cell in selected if cell not in local], True)):
            if not group:
                continue
            proxy = stack.enter_context(tracking_server(folder)) if between else None
            workshop = Workshop(folder, f"http://{proxy.address}" if proxy else "")
            for stage, fault in group:
                workshop.prepare(stage)
                outcome = run_cell(workshop, stage, fault, proxy)
                output.write(json.dumps(asdict(outcome)) + "\n")
                output.flush()
                print(outcome, flush=True)


if __name__ == "__main__":
    main()
