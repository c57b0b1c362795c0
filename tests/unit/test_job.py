"""The command line that all jobs share: the result is the last line, the exit code says what went wrong."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from supreme import log, redaction
from supreme.config import ConfigError, Recipe
from supreme.runtime import cli, session
from supreme.runtime.cli import Options
from supreme.runtime.environment import ENVIRONMENT
from supreme.storage import Unavailable

pytestmark = pytest.mark.unit


def call(run: cli.Run, *arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(run, "a job", ["--config", "smoke", *arguments])
    return int(ended.value.code or 0)


def echo(recipe: Recipe, options: Options) -> dict[str, Any]:
    print("something on the way")
    return {"seed": recipe.seed, "root": recipe.root, "dry_run": options.dry_run, "new": options.new}


def test_the_result_is_the_last_line_and_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "new" / "result.json"
    assert call(echo, "seed=5", "--result-file", str(file), "--new", f"root={tmp_path}") == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert json.loads(last) == {"seed": 5, "root": str(tmp_path), "dry_run": False, "new": True}
    assert file.read_text() == last + "\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--dry-run", "seed=5", "root=a"),
        ("seed=5", "--dry-run", "root=a"),
        ("seed=5", "root=a", "--dry-run"),
    ],
)
def test_switches_and_overrides_stand_in_any_order(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(echo, *arguments) == 0
    expected = {"seed": 5, "root": "a", "dry_run": True, "new": False}
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == expected


@pytest.mark.parametrize("arguments", [("--nonsense",), ("sead=1",), ("seed=x",), ("seed",)])
def test_wrong_usage_ends_with_2_and_runs_nothing(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[Recipe] = []
    assert call(lambda recipe, options: ran.append(recipe) or {}, *arguments) == 2
    assert not ran
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("error", "code"), [(ConfigError, 2), (RuntimeError, 1), (KeyError, 1)])
def test_a_failure_is_one_line_without_secrets_and_a_code(
    error: type[Exception],
    code: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "correct-horse-battery")
    file = tmp_path / "result.json"

    def fail(recipe: Recipe, options: Options) -> dict[str, Any]:
        raise error("no bucket for correct-horse-battery")

    assert call(fail, "--result-file", str(file)) == code
    shown = capsys.readouterr()
    assert "no bucket for" in shown.err
    assert "correct-horse-battery" not in shown.err
    assert "Traceback" not in shown.err
    assert (shown.out, file.exists()) == ("", False)


class FromWorker(Unavailable):
    """As Ray raises a worker's error: its text is a traceback, the error itself is the cause."""

    def __init__(self) -> None:
        super().__init__("ray::map()\n  File ...\nUnavailable: s3://lake/x")
        self.cause = Unavailable(
            "s3://lake/x: 503; run the same command again\nFailed to apply UDF transform"
        )


def test_storage_that_failed_a_worker_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def fail(recipe: Recipe, options: Options) -> dict[str, Any]:
        raise FromWorker

    assert call(fail) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.endswith("job: Unavailable: s3://lake/x: 503; run the same command again")


def test_ray_is_started_again_when_the_machine_was_too_busy(capsys: pytest.CaptureFixture[str]) -> None:
    late = Exception("The current node timed out during startup. This could happen because ...")
    tries: list[Exception | None] = [late, late, None]

    def start() -> None:
        if error := tries.pop(0):
            raise error

    log.configure()
    session.start_patiently(start, waits_s=(0, 0))
    assert not tries
    assert capsys.readouterr().err.count("Ray did not start in time") == 2
    tries += [late, late, late]
    with pytest.raises(Exception, match="timed out during startup"):
        session.start_patiently(start, waits_s=(0, 0))
    tries += [ConnectionError("no cluster at RAY_ADDRESS"), None]
    with pytest.raises(ConnectionError):
        session.start_patiently(start)
    assert len(tries) == 1


def test_the_address_of_a_dashboard_is_no_cluster_to_join(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8265")

    def start(*_: Any) -> dict[str, Any]:
        with session.ray_session():
            raise AssertionError("it was joined")

    assert call(start) == 2


def test_the_environment_of_a_job_is_a_default_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "7")
    monkeypatch.delenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", raising=False)
    seen: dict[str, str | None] = {}

    def look(recipe: Recipe, options: Options) -> dict[str, Any]:
        import os

        seen.update({name: os.environ.get(name) for name in ENVIRONMENT})
        return {}

    assert call(look) == 0
    assert seen["RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"] == "7"
    assert seen["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"


def test_a_wrong_key_is_said_without_starting_ray_or_torch() -> None:
    code = "import sys; from supreme.runtime import cli;"
    code += "print([name for name in ('ray', 'torch', 'mlflow') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


INTERRUPTED = """
import sys, time
from supreme.runtime import cli
def run(recipe, options):
    try:
        print("up", flush=True)
        time.sleep(600)
    finally:
        print("closing", flush=True)
        time.sleep(1)
        print("closed", flush=True)
cli.main(run, "a job", ["--config", "smoke"])
"""


@pytest.mark.parametrize("ended_by", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_end_alike_and_let_the_job_close(ended_by: signal.Signals) -> None:
    command = ["env", "--default-signal=INT,TERM", sys.executable, "-c", INTERRUPTED]
    job = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert job.stdout
    for expected, sent in (("up\n", ended_by), ("closing\n", signal.SIGTERM)):
        assert job.stdout.readline() == expected
        if sent == ended_by or ended_by == signal.SIGTERM:  # a batch system sends it again
            job.send_signal(sent)
    out, err = job.communicate(timeout=60)
    assert out == "closed\n"
    assert job.returncode == 128 + ended_by
    assert err.splitlines()[-1].endswith("job: interrupted: the same command goes on from what is done")
    assert "Traceback" not in err


@dataclasses.dataclass(frozen=True)
class Scores:
    auroc: float
    folder: Path
    headers: dict[str, str]


def test_a_typed_result_is_strict_json_without_secrets(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VENDOR", "correct-horse")
    monkeypatch.setenv(redaction.VARIABLES, "")

    def score(recipe: Recipe, options: Options) -> Scores:
        log.get("x").info("asked with correct-horse")
        return Scores(float("nan"), Path("a/correct-horse"), {"Authorization": "Bearer x"})

    file = tmp_path / "result.json"
    assert call(score, "llm.key_env=VENDOR", "--result-file", str(file)) == 0
    shown = capsys.readouterr()
    expected = {"auroc": None, "folder": "a/***", "headers": {"Authorization": "***"}}
    assert json.loads(shown.out.splitlines()[-1]) == expected == json.loads(file.read_text())
    assert "correct-horse" not in shown.err


def test_a_secret_in_wrong_usage_is_not_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(echo, "--token=hunter22hunter") == 2
    assert call(echo, "tracking.password=hunter22hunter") == 2
    assert call(echo, "llm.url=http://me:hunter22hunter@ho st") == 2
    assert "hunter22" not in capsys.readouterr().err


def test_a_node_out_of_memory_is_told_in_a_line() -> None:
    import ray.exceptions

    error = ray.exceptions.OutOfMemoryError("1 worker(s) were killed due to the node\n" + "PID MEM\n" * 50)
    said = cli._summary(error)
    assert said == (
        "a node ran out of memory: 1 worker(s) were killed due to the node; the same command continues"
    )
