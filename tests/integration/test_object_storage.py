"""Every stage on object storage: an S3 server that checks signatures, an MLflow server beside it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow_server
import pytest
import ray
from faulty_s3 import KEYS, Proxy, proxy, sometimes
from pipeline_runs import TINY, finish, result
from wfdb_writer import write_csn

from supreme import config, manifest, storage
from supreme.config import Recipe
from supreme.evaluation.stage import EVALUATION
from supreme.manifest import Stage
from supreme.reporting.page import REPORT
from supreme.reports.result import LABELS
from supreme.runtime import session
from supreme.settings.data import Source
from supreme.shards import build, plan
from supreme.shards.read import ShardDataset
from supreme.shards.result import SHARDS
from supreme.training.run.summary import PRETRAIN

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1200)]

WRONG = KEYS | {"AWS_SECRET_ACCESS_KEY": "staple-incorrect-donkey"}
RECORDS = 36


@pytest.fixture(scope="module")
def between(lake: str) -> Iterator[Proxy]:
    with proxy(lake) as made, pytest.MonkeyPatch.context() as here:
        for name, value in (KEYS | {"AWS_MAX_ATTEMPTS": "5"}).items():
            here.setenv(name, value)
        yield made


@pytest.fixture
def store(between: Proxy) -> Iterator[Proxy]:
    between.forget()
    yield between
    between.plan = lambda request: ""


def at(store: Proxy, path: str) -> str:
    return f"s3://lake/{path}?endpoint_override={store.address}&scheme=http&region=us-east-1"


@pytest.fixture(scope="module")
def raw(between: Proxy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """WFDB records in a local folder, and the same below `lake/raw`."""
    folder = tmp_path_factory.mktemp("raw") / "csn"
    write_csn(folder, RECORDS)
    for name in storage.list_files(str(folder)):
        storage.write_bytes(at(between, f"raw/csn/{name}"), storage.read_bytes(str(folder / name)))
    return folder


def recipe(root: str) -> Recipe:
    return config.parse(
        {"name": "t", "root": root, "shards": {"records_per_shard": 8, "row_group_size": 4}, "seed": 1}
    )


def hashes(made: manifest.Manifest) -> dict[str, str]:
    return {name: entry.sha256 for name, entry in made.files.items()}


@pytest.fixture(scope="module")
def cluster(between: Proxy) -> Iterator[dict[str, str]]:
    """Ray for the tests, beside what somebody else's has left; what a job's environment needs to join it."""
    with tempfile.TemporaryDirectory(dir="/tmp") as usual, pytest.MonkeyPatch.context() as here:
        here.setenv("RAY_TMPDIR", usual)
        (Path(usual) / "ray").mkdir()
        (Path(usual) / "ray" / "ray_current_cluster").write_text("192.0.2.99:6379")
        with session.ray_session():
            joins = {"RAY_ADDRESS": ray.get_runtime_context().gcs_address}
            yield joins | {name: os.environ[name] for name in ("RAY_AUTH_MODE",) if name in os.environ}
        assert os.listdir(usual) == ["ray"], "a session leaves nothing"
        assert os.environ["RAY_TMPDIR"] == usual


@pytest.fixture(scope="module")
def built_locally(cluster: dict[str, str], raw: Path) -> manifest.Manifest:
    return build.build(recipe(str(raw.parent / "runs")), Source(kind="csn", uri=str(raw)))


def test_a_worker_that_looks_for_the_cluster_finds_its_own(cluster: dict[str, str]) -> None:
    @ray.remote
    def found() -> str | None:
        from ray._private import services

        return services.get_ray_address_from_environment("auto", None)

    assert ray.get(found.remote()) == cluster["RAY_ADDRESS"]


def test_shards_made_through_a_failing_network_are_the_same_bytes(
    store: Proxy, built_locally: manifest.Manifest, raw: Path
) -> None:
    source = Source(kind="csn", uri=at(store, "raw/csn"))
    store.plan = sometimes(3, **{"503 SlowDown": 0.1, "503 SlowDownRead": 0.1, "cut": 0.05})
    made = build.build(recipe(at(store, "faulty")), source)
    faults = [fault for fault, _ in store.faults]
    assert faults.count("cut") > 3
    assert len(faults) > 0.15 * len(store.requests) > 20
    assert made.result == built_locally.result
    assert (made.result.records, made.result.rejected) == (RECORDS, 0)
    assert hashes(made) == hashes(built_locally)
    shards = ShardDataset.open(plan.folder_of(recipe(at(store, "faulty")), source))
    for name, entry in made.files.items():
        assert storage.sha256(storage.read_bytes(storage.join(shards.folder, name))) == entry.sha256
    assert len(shards.table(["record_id"])) == RECORDS


def test_a_store_that_stays_away_ends_the_build_and_the_same_command_resumes_it(
    store: Proxy, built_locally: manifest.Manifest
) -> None:
    source, wanted = Source(kind="csn", uri=at(store, "raw/csn")), recipe(at(store, "resumed"))
    folder = plan.folder_of(wanted, source)
    store.plan = lambda request: "503 SlowDown" if request.path.endswith("JS00020.dat") else ""
    with pytest.raises(storage.Unavailable, match=r"s3://lake/raw/.*JS00020\.dat at http.*same command"):
        build.build(wanted, source)
    assert manifest.read(folder, SHARDS) is None
    finished = storage.list_files(storage.join(folder, "parts"))
    assert 0 < len(finished) < len(built_locally.files)
    store.plan = lambda request: ""
    store.forget()
    assert hashes(build.build(wanted, source)) == hashes(built_locally)
    read = [request.path for request in store.requests if request.path.endswith(".dat")]
    assert 0 < len(read) < RECORDS, "what was finished is not read again"
    store.forget()
    assert hashes(build.build(wanted, source)) == hashes(built_locally)
    assert {request.method for request in store.requests} <= {"GET", "HEAD"}, "nothing is left to do"


@pytest.fixture
def tracking_uri(tmp_path: Path) -> Iterator[str]:
    with mlflow_server.running(tmp_path, f"sqlite:///{tmp_path}/server.db", f"{tmp_path}/files") as address:
        yield address


def test_the_whole_way_on_object_storage(store: Proxy, cluster: dict[str, str], tracking_uri: str) -> None:
    store.plan = sometimes(5, **{"503 SlowDown": 0.03, "cut": 0.02})
    root = at(store, "runs")
    wanted = [
        *TINY,
        "training.epochs=1",
        "training.workers=1",
        f"root={root}",
        f"tracking.uri={tracking_uri}",
    ]
    done = finish("pipeline", *wanted, **cluster)
    found = result(done)
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in done.stderr + done.stdout
    assert found["promoted"]
    assert {fault for fault, _ in store.faults} == {"503 SlowDown", "cut"}
    stages: dict[str, Stage[Any]] = {"shards/simulated": SHARDS, "labels": LABELS, "pretrain": PRETRAIN}
    folders = {storage.join(root, "smoke", name): stage for name, stage in stages.items()}
    folders |= {storage.join(root, "smoke", "report"): REPORT, found["folder"]: EVALUATION}
    for folder, stage in folders.items():
        made = manifest.require(folder, stage)
        assert made.files
        for name, entry in made.files.items():
            assert storage.sha256(storage.read_bytes(storage.join(folder, name))) == entry.sha256, name
    assert storage.read_bytes(found["report"]).startswith(b"<!")
    assert len(ShardDataset.open(storage.join(root, "smoke", "shards/simulated")).table(["record_id"])) == 160


def test_wrong_keys_are_one_line_that_names_what_was_asked(store: Proxy) -> None:
    done = finish("shard", *TINY, f"root={at(store, 'runs')}", "name=other", **WRONG)
    assert done.returncode == 1
    assert "s3://lake/runs/other" in done.stderr
    assert "credentials" in done.stderr
    assert "Traceback" not in done.stderr
    for secret in (WRONG["AWS_SECRET_ACCESS_KEY"], KEYS["AWS_SECRET_ACCESS_KEY"]):
        assert secret not in done.stderr + done.stdout


def test_a_root_on_object_storage_needs_a_tracking_server(store: Proxy) -> None:
    done = finish("pipeline", *TINY, f"root={at(store, 'runs')}")
    assert done.returncode == 2
    assert "tracking.uri" in done.stderr
