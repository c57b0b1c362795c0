"""Register, promote, go back and list with `mlflow server` on PostgreSQL and S3, also when these fail."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow_server
import numpy as np
import postgres_server
import pytest
import tiny_bundle
import training_data
from faulty_s3 import KEYS, Proxy, proxy
from postgres_server import Postgres

from jobs import models, promote, register
from supreme import config, manifest, registry, tracking
from supreme.registry import history, versions
from supreme.runtime.cli import Options
from supreme.settings.data import Source
from supreme.settings.tracking import Tracking
from supreme.tracking import server as patience
from supreme.training.run.summary import PRETRAIN, WeightSelection

pytestmark = pytest.mark.slow


def wait_until(true: Callable[[], bool], seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    pytest.importorskip("psycopg2", reason="psycopg2-binary is not installed: pip install '.[server]'")
    with postgres_server.running() as server:
        yield server


@pytest.fixture(scope="module")
def between(lake: str) -> Iterator[Proxy]:
    """In front of the S3 server."""
    with proxy(lake) as between:
        yield between


@pytest.fixture(scope="module")
def store(database: Postgres, between: Proxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the tracking server."""
    address = postgres_server.create_database("mlflow")
    s3 = KEYS | {"MLFLOW_S3_ENDPOINT_URL": f"http://{between.address}", "AWS_MAX_ATTEMPTS": "1"}
    folder = tmp_path_factory.mktemp("server")
    with mlflow_server.running(folder, address, "s3://lake/mlflow", 2, **s3) as store:
        yield store


def recipe(root: Path, store: str, model: str, seed: int) -> config.Recipe:
    """A finished pre-training without labelled data: validation decides."""
    unlabelled = Source(kind="mimic_iv_ecg", uri="x")
    section = Tracking(model=model, uri=store)
    own = config.Recipe(name=f"r{seed}", root=str(root), tracking=section, sources=(unlabelled,))
    folder, request = own.folder("pretrain"), manifest.Request(stage="pretrain", config={"seed": seed})
    manifest.begin(folder, PRETRAIN, request)
    run = tracking.start_or_resume(store, "tests", folder, "pretrain", {})
    tiny_bundle.write(f"{folder}/bundle", seed, trained_on=tiny_bundle.provenance())
    selection = WeightSelection(metric="validation_macro_auroc", value=0.8, rule="the last epoch")
    result = training_data.result(selection=selection, validation_digest="v", run_id=run.run_id)
    manifest.publish(folder, PRETRAIN, request, result)
    return own


def at(store: str, model: str, alias: str) -> int | None:
    version = versions.find(f"models:/{model}@{alias}", store)
    return int(version.version) if version else None


def test_the_whole_way(store: str, tmp_path: Path) -> None:
    for seed in (1, 2):
        own = recipe(tmp_path, store, "way", seed)
        assert register.run(own, Options())["version"] == seed
        assert register.run(own, Options())["version"] == seed, "a bundle is one version"
        assert promote.run(own, Options())["promoted"]
    assert (at(store, "way", "champion"), at(store, "way", "previous")) == (2, 1)
    assert promote.run(own, Options(rollback=True))["version"] == 1
    rows = models.run(own, Options())["versions"]
    assert [(row["version"], row["aliases"]) for row in rows] == [(2, ["candidate"]), (1, ["champion"])]  # type: ignore[index]
    decisions = promote.run(own, Options(history=True))["decisions"]
    assert [one["action"] for one in decisions] == ["promote", "promote", "rollback"]  # type: ignore[attr-defined]
    ecgs = tiny_bundle.ecgs(2)
    expected = registry.load(f"{tmp_path}/r1/pretrain/bundle").score(ecgs, 100, ["atrial fibrillation?"])
    scores = registry.load("models:/way@champion", store).score(ecgs, 100, ["atrial fibrillation?"])
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-6)
    client = tracking.connect(store)
    experiment = client.get_experiment_by_name("tests").experiment_id
    logged = client.search_logged_models([experiment], "name = 'way'")
    assert sorted(one.status.name for one in logged) == ["READY", "READY"]


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failures are said after seconds."""
    monkeypatch.setattr(patience, "WAIT_S", 4.0)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


def test_object_storage_that_fails_during_an_upload_leaves_nothing_registered(
    store: str, between: Proxy, tmp_path: Path, hasty: None
) -> None:
    own = recipe(tmp_path, store, "upload", 3)
    between.plan = lambda request: (
        "503 SlowDown" if request.method in ("PUT", "POST") and "queries" in request.path else ""
    )
    try:
        with pytest.raises(tracking.TrackingError, match=r"does not serve it.*the same command again"):
            register.run(own, Options())
        assert between.faults
    finally:
        between.plan = lambda request: ""
    assert at(store, "upload", "candidate") is None
    assert versions.find("models:/upload/1", store) is None
    assert register.run(own, Options())["model_uri"] == "models:/upload/1"
    versions.verify(versions.resolve("models:/upload/1", store), store)
    client = tracking.connect(store)
    experiment = client.get_experiment_by_name("tests").experiment_id
    assert len(client.search_logged_models([experiment], "name = 'upload'")) == 1


def test_a_database_that_dies_under_a_promotion_costs_nothing(
    store: str, database: Postgres, tmp_path: Path, hasty: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in (4, 5):
        own = recipe(tmp_path, store, "database", seed)
        register.run(own, Options())
        if seed == 4:
            promote.run(own, Options())
    original = history.append

    def die(*arguments: object, **options: object) -> history.HistoryEntry:
        database.die()
        return original(*arguments, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(history, "append", die)
        try:
            with pytest.raises(tracking.TrackingError) as caught:
                promote.run(own, Options())
        finally:
            database.start()
    assert "\n" not in str(caught.value)
    wait_until(lambda: at(store, "database", "champion") == 1)
    assert len(history.read("database", store)) == 1
    monkeypatch.setattr("supreme.registry.lock.STALE_S", 2.0)
    monkeypatch.setattr(patience, "WAIT_S", 60.0)
    assert promote.run(own, Options())["promoted"]
    assert (at(store, "database", "champion"), at(store, "database", "previous")) == (2, 1)
    assert [entry.version for entry in history.read("database", store)] == [1, 2]
