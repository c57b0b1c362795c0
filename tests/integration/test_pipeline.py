"""The command line of the pipeline as its users meet it: right use, wrong use, nothing done by a plan."""

from __future__ import annotations

import json
import shutil
import socket
import time
from pathlib import Path

import pytest
from pipeline_runs import TINY, Finished, arguments, finish, result, snapshot

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1200)]

STAGES = ["shard", "label", "pretrain", "register", "evaluate", "promote", "report"]


def test_the_result_names_what_the_next_job_needs(finished_pipeline: Finished) -> None:
    found = finished_pipeline.result
    for key in ("labels", "bundle", "results", "report"):
        assert Path(found[key]).exists(), key
    assert found["model_uri"] == "models:/supreme-ecg-smoke/1"
    assert {"run_id", "weights_sha256", "version", "alias", "macro_auroc", "seconds"} <= found.keys()


def test_bad_records_are_listed_and_the_rest_is_evaluated(finished_pipeline: Finished) -> None:
    found = finished_pipeline.result
    made = found["shards"]["csn"]
    assert (made["records"], made["rejected"]) == (22, 2)
    evaluated = json.loads(Path(found["results"]).read_text())["datasets"]
    assert evaluated["csn"]["protocols"]["zero_shot"]["records"] == 22
    # What the model was trained on is left out and counted.
    simulated = evaluated["simulated"]
    assert simulated["splits"] == ["test"]
    assert simulated["left_out"]["by_key"] + simulated["protocols"]["zero_shot"]["records"] == 160
    assert found["left_out"] == {"simulated": simulated["left_out"]["by_key"], "csn": 0, "pooled": 0}
    assert found["reason"].startswith("first champion; macro AUROC")


def test_another_configuration_is_refused_with_the_difference(finished_pipeline: Finished) -> None:
    root = finished_pipeline.root
    before = snapshot(root)
    done = finish("pipeline", *arguments(root, finished_pipeline.real, "training.learning_rate=0.5"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "training.learning_rate: 0.002 -> 0.5" in done.stderr
    assert "name=" in done.stderr
    assert "--new" in done.stderr
    assert "Traceback" not in done.stderr
    assert snapshot(root) == before


def test_a_moved_root_is_still_finished_and_new_starts_afresh(
    finished_pipeline: Finished, tmp_path: Path
) -> None:
    root = tmp_path / "moved"
    shutil.copytree(finished_pipeline.root, root)
    before = snapshot(root / "smoke")
    label = [*TINY, f"root={root}", "shards.max_rejected_fraction=0.1"]
    again = result(finish("label", *label))
    assert again["labels"] == str(root / "smoke" / "labels")
    assert snapshot(root / "smoke") == before
    refused = finish("label", *label, "labels.min_count=4")
    assert refused.returncode == 2
    assert "labels.min_count: 5 -> 4" in refused.stderr
    result(finish("label", "--new", *label, "labels.min_count=4"))
    after = snapshot(root / "smoke")
    changed = {name.split("/")[0] for name, stamp in after.items() if stamp != before[name]}
    assert changed == {"labels"}


def test_a_plan_writes_nothing(tmp_path: Path, finished_pipeline: Finished) -> None:
    real = finished_pipeline.real
    plan = result(finish("pipeline", *arguments(tmp_path / "none", real), "--dry-run"))["plan"]
    assert list(plan) == STAGES
    assert (plan["shard"]["records"], plan["shard"]["shards"] > 1) == (160 + 24, True)
    assert plan["shard"]["bytes"] > 0
    assert not list(tmp_path.iterdir())
    before = snapshot(finished_pipeline.root)
    plan = result(finish("pipeline", *arguments(finished_pipeline.root, real), "--dry-run"))["plan"]
    assert all(source["finished"] for source in plan["shard"]["sources"])
    assert plan["pretrain"]["steps"] > 0
    assert snapshot(finished_pipeline.root) == before


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("training.epoch=3", "unknown key 'training.epoch'; nearest valid key: 'training.epochs'"),
        ("training.epochs=-1", "training.epochs: Input should be greater than 0"),
        ("real={root}/nowhere", "nowhere is not a folder"),
        ("real={root}/empty", "no data set found in"),
        ("labels.held_out=['atrial_fibrilation']", "'atrial_fibrillation'"),
    ],
)
def test_wrong_use_is_said_in_a_line(tmp_path: Path, wrong: str, said: str) -> None:
    (tmp_path / "empty").mkdir()
    done = finish("pipeline", *TINY, f"root={tmp_path / 'runs'}", wrong.format(root=tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_tracking_server_that_is_down_is_said_before_any_work(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
        wanted = [*TINY, f"root={tmp_path / 'runs'}", f"tracking.uri={address}"]
        started = time.monotonic()
        done = finish("pipeline", *wanted)
        took_s = time.monotonic() - started
    assert done.returncode == 2
    assert f"tracking server {address} does not answer" in done.stderr
    assert not (tmp_path / "runs").exists()
    # Ten on a machine that does nothing else, most of it imports.
    assert took_s < 30
