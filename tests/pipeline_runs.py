"""Jobs as a user starts them: own processes, a recipe that is through in seconds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[1]
#: Smaller than the recipe smoke, with several shards and several checkpoints.
TINY = (
    "--config",
    "smoke",
    "sources.0.records=160",
    "shards.records_per_shard=32",
    "training.epochs=2",
    "training.checkpoint_every=0.5",
    "evaluation.bootstrap=20",
    "evaluation.plates=1",
)
#: For a machine that does many other things at once.
DEADLINE_S = 600


@dataclass(frozen=True)
class Finished:
    """A pipeline that went well."""

    root: Path
    real: Path
    result: dict[str, Any]


def arguments(root: Path, real: Path, *more: str) -> list[str]:
    """Of the pipeline with a real data set to evaluate on."""
    return [*TINY, f"root={root}", f"real={real}", "shards.max_rejected_fraction=0.1", *more]


def finished(folder: Path) -> Finished:
    """Run the pipeline once; the real data set has 24 records, one of them empty and one cut off."""
    from wfdb_writer import write_csn

    root, real, result_file = folder / "runs", folder / "real", folder / "result.json"
    headers = write_csn(real / "csn", 24)
    headers[3].with_suffix(".dat").write_bytes(b"")
    headers[5].write_text(headers[5].read_text()[:40])
    done = finish("pipeline", *arguments(root, real), "--result-file", str(result_file))
    found = result(done)
    assert result_file.read_text() == done.stdout.splitlines()[-1] + "\n"
    return Finished(root, real, found)


def environment(**more: str) -> dict[str, str]:
    """Of a job on this machine, whatever cluster, store and threads the tests themselves run with."""
    mine = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_ADDRESS", "RAY_AUTH", "MLFLOW_TR"))}
    return mine | {"OMP_NUM_THREADS": "1"} | more


def start(job: str, *arguments: str, log: Path, **more: str) -> subprocess.Popen[bytes]:
    """A job in its own process group, both outputs appended to ``log``.

    It hears Ctrl-C also where the tests themselves were started in the background, which ignores it.
    """
    with log.open("ab") as stream:
        return subprocess.Popen(
            ["env", "--default-signal=INT", sys.executable, f"jobs/{job}.py", *arguments],
            cwd=CHECKOUT,
            stdout=stream,
            stderr=stream,
            env=environment(**more),
            start_new_session=True,
        )


def finish(job: str, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """A job run to its end, whatever that is."""
    return subprocess.run(
        [sys.executable, f"jobs/{job}.py", *arguments],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        env=environment(**more),
        timeout=DEADLINE_S,
    )


def result(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The result line of a job that succeeded."""
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Name -> size and time of change of every file below a folder."""
    files = {path: path.stat() for path in sorted(folder.rglob("*")) if path.is_file()}
    return {str(path.relative_to(folder)): (s.st_size, s.st_mtime_ns) for path, s in files.items()}


def processes_with(variable: str, within_s: float = 30) -> list[str]:
    """Command lines of the processes that still have ``NAME=value`` in their environment after a while."""
    deadline = time.monotonic() + within_s
    while True:
        found = [line for path in _processes() if (line := _command_with(path, variable.encode()))]
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.2)


def _processes() -> list[Path]:
    return [
        path for path in Path("/proc").iterdir() if path.name.isdecimal() and int(path.name) != os.getpid()
    ]


def _command_with(process: Path, variable: bytes) -> str:
    try:
        if variable in (process / "environ").read_bytes().split(b"\0"):
            return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        pass  # it has ended, or is somebody else's
    return ""
