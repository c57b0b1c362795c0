"""The scoring engine on Ray: the numbers of one process, and after kills those of an undisturbed run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import evaluation_data
import numpy as np
import pytest
import tiny_bundle
from evaluation_data import CONDITIONS, write_shards

from supreme.evaluation.bundle_scorer import BundleScorer, Query
from supreme.evaluation.outputs import Outputs, collect
from supreme.evaluation.shard_reader import ShardReader
from supreme.inference import engine_on_ray
from supreme.inference.query_model import EcgQueryModel
from supreme.runtime.session import ray_session
from supreme.shards.read import ShardDataset

pytestmark = pytest.mark.ray

RECORDS = 640


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> ShardDataset:
    folder = str(tmp_path_factory.mktemp("shards"))
    ids = {"train": [f"t{i:03d}" for i in range(RECORDS - 100)], "test": [f"u{i:03d}" for i in range(100)]}
    write_shards(folder, "planted", CONDITIONS, ids)
    return ShardDataset.open(folder)


@pytest.fixture(scope="module")
def session() -> Iterator[None]:
    with ray_session():
        yield


def score(shards: ShardDataset, bundle: Path, uri: Path) -> Outputs:
    reader = ShardReader.of(shards, np.ones(RECORDS, bool))
    model = EcgQueryModel.from_bundle(str(bundle), quality_checked=True)
    queries = (Query(("atrial fibrillation?",)), Query(("lbbb",)))
    return collect(reader, BundleScorer.of(model, str(bundle), None, (queries,)), str(uri), "planted")


def test_ray_gives_the_bits_of_one_process(
    session: None, shards: ShardDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_on_ray, "FEW_RECORDS", RECORDS)
    assert engine_on_ray.is_worth_it(RECORDS)
    tiny_bundle.write(tmp_path / "bundle")
    on_ray = score(shards, tmp_path / "bundle", tmp_path / "ray.parquet")
    monkeypatch.setattr(engine_on_ray, "FEW_RECORDS", RECORDS + 1)
    here = score(shards, tmp_path / "bundle", tmp_path / "here.parquet")
    assert on_ray.record_ids == here.record_ids
    np.testing.assert_array_equal(on_ray.values, here.values)
    assert not list(tmp_path.glob("*.parts"))


@pytest.mark.slow
def test_an_evaluation_that_is_killed_twice_scores_no_record_twice(tmp_path: Path) -> None:
    recipe = evaluation_data.recipe(tmp_path, sources=(), evaluation=evaluation_data.quick(tmp_path))
    numbers = [f"A{i:04d}" for i in range(RECORDS)]
    for folder in ("shards", "evaluation_shards"):
        write_shards(recipe.folder(f"{folder}/cpsc2018"), "cpsc2018", evaluation_data.CPSC, {"test": numbers})
        copy = recipe.folder(f"{folder}/cpsc_2018")
        write_shards(copy, "cpsc_2018", evaluation_data.CPSC_SNOMED, {"test": numbers[:30]}, seed=2)
    tiny_bundle.write(tmp_path / "bundle")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    (tmp_path / "runs").rename(whole)
    subprocess.run(["cp", "-r", str(whole), str(killed)], check=True)
    expected = _results(whole, tmp_path)
    finished: dict[str, int] = {}
    for _ in range(2):
        process = _start(killed, tmp_path)
        while not (parts := _parts(killed, finished)) and process.poll() is None:
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        finished |= parts
    assert finished
    assert _results(killed, tmp_path, finished) == expected


def _start(root: Path, folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "jobs/evaluate.py", f"root={root}", "name=e", f"real={folder}/real"]
    command += [f"evaluation.model_uri={folder}/bundle", "evaluation.bootstrap=0", "shards.rate_hz=50"]
    command += ["shards.duration_s=4", "shards.row_group_size=16", "sources=[]"]
    return subprocess.Popen(command, start_new_session=True, stderr=(folder / "log").open("ab"))


def _parts(root: Path, known: dict[str, int]) -> dict[str, int]:
    parts = {str(path): path.stat().st_mtime_ns for path in root.rglob("outputs/*.parts/*.parquet")}
    return {name: when for name, when in parts.items() if name not in known}


def _results(root: Path, folder: Path, finished: dict[str, int] | None = None) -> bytes:
    process = _start(root, folder)
    while process.poll() is None:
        for name, when in (finished or {}).items():
            path = Path(name)
            assert not path.exists() or path.stat().st_mtime_ns == when, "a finished part was written again"
        time.sleep(0.05)
    assert process.returncode == 0, (folder / "log").read_text()[-3000:]
    [results] = root.rglob("results.json")
    return results.read_bytes()
