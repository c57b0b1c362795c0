"""`jobs/pretrain.py` killed with everything it started, and run again, ends with the same bits."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
import training_data
from mlflow import MlflowClient

from supreme import manifest, storage

pytestmark = [pytest.mark.ray, pytest.mark.slow]

DEADLINE_S = 240


def finish(made: training_data.config.Recipe, folder: Path) -> dict[str, object]:
    process = training_data.start_job("pretrain", made, folder)
    assert process.wait(DEADLINE_S) == 0, (folder / "pretrain.log").read_text()[-3000:]
    return json.loads((folder / "pretrain.json").read_text())


def kill_after_checkpoint(made: training_data.config.Recipe, folder: Path) -> int:
    """Kill the job's process group once two checkpoints are reported; the number of reports then."""
    process = training_data.start_job("pretrain", made, folder)
    metrics = Path(made.folder("pretrain")) / "metrics.jsonl"
    deadline = time.monotonic() + DEADLINE_S
    while not (metrics.exists() and metrics.read_text().count("\n") >= 2):
        assert process.poll() is None, (folder / "pretrain.log").read_text()[-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return metrics.read_text().count("\n")


def test_killed_and_run_again_the_weights_are_bit_identical(tmp_path: Path) -> None:
    recipes = {}
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        recipes[name] = training_data.recipe(tmp_path / name, epochs=12, checkpoint_every=0.5)
        training_data.write(recipes[name])
    whole = finish(recipes["whole"], tmp_path / "whole")
    reported = kill_after_checkpoint(recipes["killed"], tmp_path / "killed")
    assert reported < 20, "it was killed too late to prove anything"
    folder = recipes["killed"].folder("pretrain")
    assert manifest.read(folder) is None
    run_before = storage.read_json(f"{folder}/run.json")["run_id"]
    killed = finish(recipes["killed"], tmp_path / "killed")
    assert killed["weights_sha256"] == whole["weights_sha256"]
    bundles = [
        storage.sha256(Path(r, "model.safetensors").read_bytes()) for r in (whole["bundle"], killed["bundle"])
    ]
    assert bundles[0] == bundles[1]
    assert killed["selection"] == whole["selection"]
    assert killed["run_id"] == run_before
    check_history(recipes["killed"], run_before, folder)
    started = time.monotonic()
    assert finish(recipes["killed"], tmp_path / "killed") == killed
    assert time.monotonic() - started < 60


def check_history(made: training_data.config.Recipe, run_id: str, folder: str) -> None:
    """The tracking store has every report once, in order, without a gap."""
    client = MlflowClient(tracking_uri=f"sqlite:///{made.root}/mlflow.db")
    points = [point.step for point in client.get_metric_history(run_id, "validation_macro_auroc")]
    lines = [json.loads(line) for line in Path(folder, "metrics.jsonl").read_text().splitlines()]
    assert points == [line["samples_seen"] for line in lines] == sorted(set(points))
    assert len(points) == 24
    assert client.get_run(run_id).info.status == "FINISHED"
