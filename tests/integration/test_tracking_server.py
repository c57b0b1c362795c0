"""A real tracking server that is killed, silent, refusing or forgets to answer: training does not notice."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import cloudpickle
import pytest
from benchmarks.object_store import free_ports
from faulty_s3 import Proxy, proxy
from mlflow.exceptions import MlflowException

from supreme import config, storage, tracking
from supreme.settings.tracking import Tracking
from supreme.tracking import stage
from supreme.training.run import history

pytestmark = pytest.mark.slow

PARAMS = {"seed": 7, "model": {"width": 8}}
SECRET = "correct-horse-battery"


@dataclass
class Server:
    """`mlflow server` on one backend store; started again it has the same address."""

    folder: Path
    address: str = field(default_factory=lambda: f"127.0.0.1:{free_ports(1)[0]}")
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        host, port = self.address.split(":")
        options = (
            f"--host {host} --port {port} --workers 1 --backend-store-uri sqlite:///{self.folder}/server.db"
        )
        options += f" --artifacts-destination {self.folder}/files"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *options.split()],
            env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self.folder,
            start_new_session=True,
        )
        wait_until(self.answers, 180)

    def answers(self) -> bool:
        assert self.process
        assert self.process.poll() is None, "mlflow server ended"
        try:
            return bool(urlopen(f"http://{self.address}/health", timeout=5).read())
        except OSError:
            return False

    def send(self, number: signal.Signals) -> None:
        """To the server and its workers."""
        assert self.process
        os.killpg(self.process.pid, number)
        if number == signal.SIGKILL:
            self.process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("server"))
    try:
        made.start()
        yield made
    finally:
        made.send(signal.SIGKILL)


@pytest.fixture(scope="module")
def between(server: Server) -> Iterator[Proxy]:
    with proxy(server.address) as made:
        yield made


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, between: Proxy) -> None:
    """Retries as quick as a test needs them."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", SECRET)
    monkeypatch.setattr(logging.getLogger("supreme"), "propagate", True)
    caplog.set_level(logging.INFO, "supreme")
    between.plan = lambda request: ""
    between.forget()


@dataclass
class Stage:
    """What a stage and its controller do: report after report, each of them into the folder first."""

    folder: Path
    uri: str
    lines: list[history.Report] = field(default_factory=list)
    slowest_s: float = 0.0

    def begin(self, **extra: Any) -> tracking.StageRun:
        uri = tracking.open_store(Tracking(uri=self.uri), "", str(self.folder))
        run = tracking.start_or_resume(uri, "tests", str(self.folder), "pretrain", PARAMS, **extra)
        return cloudpickle.loads(cloudpickle.dumps(run))  # as it comes to the controller

    def report(self, run: tracking.StageRun, count: int = 1) -> None:
        for _ in range(count):
            seen = 100 * (len(self.lines) + 1)
            curve = [
                history.Point(samples, 1.7e9 + samples, {"step_loss": 1 / samples})
                for samples in (seen - 50, seen)
            ]
            self.lines.append(history.Report(seen, 1.7e9 + seen, {"loss": 2 / seen}, tuple(curve)))
            history.write(str(self.folder), self.lines)
            began = time.monotonic()
            run.report(list(self.lines))
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)

    def check(self, run: tracking.StageRun) -> None:
        """The server has every point of ``metrics.jsonl`` once, in order, at its own time."""
        expected: dict[str, list[tuple[int, float, int]]] = {}
        for point in history.points(history.read(str(self.folder))):
            for name, value in point.values.items():
                moment = (point.samples_seen, value, round(1000 * point.unix_time_s))
                expected.setdefault(name, []).append(moment)
        assert {name: logged(run, name) for name in expected} == expected
        assert expected.keys() == run.last_steps().keys()


def logged(run: tracking.StageRun, name: str) -> list[tuple[int, float, int]]:
    points = run.client.get_metric_history(run.run_id, name)
    return [(point.step, point.value, point.timestamp) for point in points]


def check_complete(run: tracking.StageRun, status: str = "FINISHED") -> None:
    found = run.client.get_run(run.run_id)
    assert found.info.status == status
    assert (found.data.params["model.width"], found.data.tags["data"]) == ("8", "abc")
    names = {item.path for item in run.client.list_artifacts(run.run_id)}
    assert names == {"recipe.json", "metrics.jsonl"}
    assert not tracking.is_behind(run.folder)
    key = storage.read_json(f"{run.folder}/run.json")["key"]
    same = run.client.search_runs([found.info.experiment_id], f"tags.`supreme.stage_key` = '{key}'")
    assert [one.info.run_id for one in same] == [run.run_id]


def wait_until(true: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def idle(run: tracking.StageRun) -> bool:
    return run._attempt is None or not run._attempt.is_alive()


def test_killed_and_started_again_the_server_has_every_report_once(server: Server, tmp_path: Path) -> None:
    made = Stage(tmp_path, f"http://{server.address}")
    run = made.begin(tags={"data": "abc"})
    made.report(run, 3)
    wait_until(lambda: run.last_step("loss") == 300)
    server.send(signal.SIGKILL)
    made.report(run, 3)
    run = made.begin(tags={"data": "abc"})  # and the stage is killed, too
    made.report(run)
    began = time.monotonic()
    run.finish(wait_s=3)
    assert time.monotonic() - began < 10
    assert tracking.is_behind(run.folder)
    server.start()
    run = made.begin(tags={"data": "abc"})
    made.report(run)
    run.finish()
    made.check(run)
    check_complete(run)
    assert made.slowest_s < 1


def test_a_silent_server_costs_a_report_nothing(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = Stage(tmp_path, f"http://{server.address}")
    run = made.begin(tags={"data": "abc"})
    made.report(run, 2)
    wait_until(lambda: run.last_step("loss") == 200)
    wait_until(lambda: idle(run))
    server.send(signal.SIGSTOP)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
            made.report(run, 3)
            wait_until(lambda: idle(run))
            made.report(run, 3)
            wait_until(lambda: idle(run))
    finally:
        server.send(signal.SIGCONT)
    made.report(run)
    wait_until(lambda: run.last_step("loss") == 900)
    run.finish()
    made.check(run)
    check_complete(run)
    assert made.slowest_s < 1
    assert caplog.text.count("left out until it is back") == 1
    assert caplog.text.count("is back and has everything") == 1


def test_a_batch_whose_answer_was_lost_is_not_there_twice(
    between: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Stage(tmp_path, f"http://{between.address}")
    run = made.begin(tags={"data": "abc"})
    between.plan = lambda request: "cut" if "log-batch" in request.path else ""
    made.report(run, 4)
    wait_until(lambda: idle(run))
    assert any(fault == "cut" for fault, _ in between.faults)
    between.plan = lambda request: ""
    made.report(run, 2)
    # The server gets twice, at the same time, what it had taken.
    twice = cloudpickle.loads(cloudpickle.dumps(run))
    monkeypatch.setattr(tracking.TrackingRun, "last_steps", lambda self: {})
    twice.report(list(made.lines))
    run.finish()
    wait_until(lambda: idle(twice))
    monkeypatch.undo()
    made.check(run)


def test_what_is_refused_is_kept_and_told_once_without_secrets(
    between: Proxy, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = Stage(tmp_path, f"http://{between.address}")
    run = made.begin(tags={"data": "abc"})
    for fault in ("403 Expired", "401 Expired", "503 Busy", "reset"):
        between.plan = lambda request, fault=fault: fault
        for _ in range(2):
            made.report(run)
            wait_until(lambda: idle(run))
    run.finish(wait_s=5)
    assert caplog.text.count("left out until it is back") == 1
    assert caplog.text.count("the same command, run again when the server is back") == 1
    assert "lacks metrics, artifacts, status FINISHED" in caplog.text
    assert SECRET not in caplog.text
    assert tracking.is_behind(run.folder)
    between.plan = lambda request: ""
    run.finish()
    made.check(run)
    check_complete(run)


def test_a_new_run_whose_answer_was_lost_is_found_again(between: Proxy, tmp_path: Path) -> None:
    made = Stage(tmp_path, f"http://{between.address}")
    between.plan = lambda request: "cut" if "runs/create" in request.path else ""
    with pytest.raises(MlflowException, match="runs/create"):
        made.begin(tags={"data": "abc"})
    assert len(between.faults) == 1
    between.plan = lambda request: ""
    run = made.begin(tags={"data": "abc"})
    made.report(run)
    run.finish()
    check_complete(run)


def test_without_a_server_a_new_run_is_refused_and_one_that_was_begun_goes_on(
    between: Proxy, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    begun, fresh = (
        Stage(tmp_path / "a", f"http://{between.address}"),
        Stage(tmp_path / "b", f"http://{between.address}"),
    )
    run_id = begun.begin(tags={"data": "abc"}).run_id
    between.plan = lambda request: "503 Busy"
    with pytest.raises(config.ConfigError, match=r"does not answer .*start it, correct tracking\.uri"):
        fresh.begin()
    run = begun.begin(tags={"data": "abc"})
    assert run.run_id == run_id
    assert "its run goes on without it" in caplog.text
    begun.report(run, 2)
    between.plan = lambda request: ""
    wait_until(lambda: idle(run))
    begun.report(run)
    wait_until(lambda: run.last_step("loss") == 300)
    assert run.client.get_run(run_id).info.status == "RUNNING"
    run.finish()
    begun.check(run)


def test_the_status_of_a_stopped_trial_is_filled_in_later(
    between: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"http://{between.address}"
    parent = Stage(tmp_path, uri).begin(tags={"data": "abc"})
    trials = [Stage(tmp_path / name, uri) for name in "ab"]
    runs = [trial.begin(tags={"data": "abc"}, parent=parent) for trial in trials]
    between.plan = lambda request: "hang"
    for trial, run in zip(trials, runs, strict=True):
        trial.report(run, 2)
    parent.link.patience_s = 2
    monkeypatch.setattr(stage, "ABORT_WAIT_S", 0.1)
    for run in runs:
        run.link = parent.link  # as in the job, where nothing is sent to another process
        began = time.monotonic()
        run.finish("KILLED")
    assert time.monotonic() - began < 2.5, "the server is waited for once"
    assert all(map(tracking.is_behind, [run.folder for run in runs]))
    between.plan = lambda request: ""
    again = [trial.begin(tags={"data": "abc"}, parent=parent) for trial in trials]
    for run, trial in zip(again, trials, strict=True):
        run.finish("KILLED")
        trial.check(run)
        check_complete(run, "KILLED")
        assert run.client.get_run(run.run_id).data.tags["mlflow.parentRunId"] == parent.run_id
