"""`jobs/pretrain.py` killed with everything it started, and run again, ends with the same bits."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import training_data
from mlflow import MlflowClient
from training_data import Trained

from supreme import config, manifest, storage
from supreme.training.run.summary import PRETRAIN

pytestmark = [pytest.mark.ray, pytest.mark.slow]

DEADLINE_S = 240


def kill_after_checkpoint(made: config.Recipe, folder: Path) -> int:
    """Kill the job's process group once two checkpoints are reported; the number of reports then."""
    process = training_data.start_job("pretrain", made, folder)
    deadline = time.monotonic() + DEADLINE_S
    while len(training_data.reports(made)) < 2:
        assert process.poll() is None, (folder / "pretrain.log").read_text()[-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return len(training_data.reports(made))


def test_killed_and_run_again_the_weights_are_bit_identical(
    undisturbed_training: Trained, tmp_path: Path
) -> None:
    made, whole = training_data.long_recipe(tmp_path), undisturbed_training.result
    assert kill_after_checkpoint(made, tmp_path) < training_data.REPORTS - 4, (
        "it was killed too late to prove anything"
    )
    folder = made.folder("pretrain")
    assert manifest.read(folder, PRETRAIN) is None
    run_before = storage.read_json(f"{folder}/run.json")["run_id"]
    killed = finish_without_controller(made, tmp_path)
    assert killed["weights_sha256"] == whole["weights_sha256"]
    bundles = [storage.sha256(Path(r["bundle"], "model.safetensors").read_bytes()) for r in (whole, killed)]
    assert bundles[0] == bundles[1]
    assert killed["selection"] == whole["selection"]
    assert killed["run_id"] == run_before
    check_history(made, run_before)


def finish_without_controller(made: config.Recipe, folder: Path) -> dict[str, Any]:
    """The result of the job, whose controller is killed on the way: what a node without memory may choose."""
    process = training_data.start_job("pretrain", made, folder)
    deadline = time.monotonic() + DEADLINE_S
    while len(training_data.reports(made)) < 6:
        assert process.poll() is None, (folder / "pretrain.log").read_text()[-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(_controller(process.pid, deadline), signal.SIGKILL)
    assert process.wait(DEADLINE_S) == 0, (folder / "pretrain.log").read_text()[-3000:]
    log = (folder / "pretrain.log").read_text()
    assert log.count("controller of training: its process was killed, or crashed; going on") == 1
    result: dict[str, Any] = json.loads((folder / "pretrain.json").read_text())
    return result


def _controller(session: int, deadline: float) -> int:
    """The process of a job's controller. Its title is away for a moment whenever Ray writes it anew."""
    while time.monotonic() < deadline:
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                command = (entry / "cmdline").read_bytes()
                if b"ray::TrainController" in command and os.getsid(int(entry.name)) == session:
                    return int(entry.name)
            except OSError:  # the process has ended
                continue
        time.sleep(0.005)
    raise AssertionError("no controller of the training")


def check_history(made: config.Recipe, run_id: str) -> None:
    """The tracking store has every report once, in order, without a gap."""
    client = MlflowClient(tracking_uri=f"sqlite:///{made.root}/mlflow.db")
    points = [point.step for point in client.get_metric_history(run_id, "validation_macro_auroc")]
    assert points == [line["samples_seen"] for line in training_data.reports(made)] == sorted(set(points))
    assert len(points) == training_data.REPORTS
    assert client.get_run(run_id).info.status == "FINISHED"
