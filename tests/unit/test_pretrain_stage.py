"""The pre-training stage opens each input once, and goes to the workers with them."""

from __future__ import annotations

import pickle
import shutil
from collections import Counter
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import lone_worker
import pytest
import training_data
from pyarrow import NativeFile
from test_objectives import Words

from supreme import config, manifest, storage
from supreme.reports.result import LABELS
from supreme.shards.result import SHARDS
from supreme.training.data.sources import shard_folders
from supreme.training.run import driver, stage, worker_setup
from supreme.training.run.stage import PretrainStage

pytestmark = pytest.mark.unit


@pytest.fixture
def recipe(tmp_path: Path) -> config.Recipe:
    """Two shard folders with the labels of both."""
    one = training_data.recipe(tmp_path, workers=1, precision="fp32")
    training_data.write(one)
    sources = [{"kind": "simulated"}, {"kind": "simulated", "name": "second"}]
    both = config.parse(one.model_dump() | {"sources": sources})
    first, second = shard_folders(both)
    shutil.copytree(first, second)
    labels = both.folder("labels")
    written = manifest.require(labels, LABELS)
    digests = {both.stage_of(folder): manifest.require(folder, SHARDS).digest() for folder in (first, second)}
    request = manifest.Request(stage="label", config={}, inputs=digests)
    manifest.publish(labels, LABELS, request, written.result, written.files)
    return both


def count_reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    reads: Counter[str] = Counter()
    read_bytes, open_file = storage.read_bytes, storage.open_file

    def counting_read(uri: str, limit: int | None = None) -> bytes:
        reads["/".join(uri.split("/")[-2:])] += 1
        return read_bytes(uri, limit)

    def counting_open(uri: str) -> AbstractContextManager[NativeFile]:
        reads["/".join(uri.split("/")[-2:])] += 1
        return open_file(uri)

    monkeypatch.setattr(storage, "read_bytes", counting_read)
    monkeypatch.setattr(storage, "open_file", counting_open)
    return reads


def test_every_manifest_is_read_once_when_training_begins(
    recipe: config.Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the driver; a worker reads none, and the label table once."""
    monkeypatch.setattr(driver, "open_encoder", lambda text: Words())
    monkeypatch.setattr(stage, "open_encoder", lambda text: Words())
    lone_worker.prepare(monkeypatch)
    reads = count_reads(monkeypatch)
    opened = PretrainStage.open(recipe)
    assert training_data.begin(opened) is None
    opened.check()
    driver.embed_queries(opened)
    manifests = ("simulated/manifest.json", "second/manifest.json", "labels/manifest.json")
    assert {name: reads[name] for name in manifests} == dict.fromkeys(manifests, 1)
    assert reads["labels/labels.parquet"] == 1
    reads.clear()
    there = pickle.loads(pickle.dumps(opened))
    run, _ = worker_setup.open_run(there)
    assert there.request == opened.request
    assert run.order.records == 2 * training_data.SPLITS["train"]
    assert {name: count for name, count in reads.items() if "manifest.json" in name} == {}
    assert reads["labels/labels.parquet"] == 1


def test_a_trial_shares_the_inputs_and_has_its_own_request(recipe: config.Recipe, tmp_path: Path) -> None:
    opened = PretrainStage.open(recipe)
    training = recipe.training.model_copy(update={"loss": "focal"})
    trial = opened.trial(recipe.model_copy(update={"training": training}), str(tmp_path / "trial"))
    assert trial.inputs is opened.inputs
    assert trial.request.inputs == opened.request.inputs
    assert trial.request.config["training"]["loss"] == "focal"
    moved = replace(opened, recipe=recipe.model_copy(update={"root": "elsewhere"}))
    assert moved.request == opened.request, "a moved root is the same stage"


def test_a_plan_waits_for_unfinished_stages(recipe: config.Recipe, tmp_path: Path) -> None:
    complete = stage.plan(recipe)
    assert isinstance(complete, stage.TrainingPlan)
    assert (complete.records, complete.entities) == (600, len(training_data.ENTITIES))
    Path(recipe.folder("labels"), manifest.MANIFEST).unlink()
    waiting = stage.plan(recipe)
    assert isinstance(waiting, stage.Waiting)
    assert waiting.waits_for == [recipe.folder("labels")]
