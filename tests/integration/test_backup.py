"""A backup of MLflow's PostgreSQL and artifacts brings everything back; a damaged one is refused."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import backup
import postgres_server
import pytest
from faulty_s3 import KEYS
from mlflow import MlflowClient

from supreme import storage

pytestmark = pytest.mark.slow

WEIGHTS = bytes(range(256)) * 40_000


@pytest.fixture(scope="module", autouse=True)
def postgres() -> Iterator[None]:
    with postgres_server.running():
        yield


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of an empty database, named anew: MLflow remembers where it has made tables."""
    name = f"mlflow_{time.monotonic_ns()}"
    monkeypatch.setenv("PGDATABASE", name)
    return postgres_server.create_database(name)


@pytest.fixture
def bucket(lake: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A prefix of the S3 server's own for each test, as a pattern."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    return f"s3://lake/{tmp_path.name}/{{}}?endpoint_override={lake}&scheme=http&region=us-east-1"


def _fill(database: str, artifacts: str) -> tuple[str, str]:
    """A run with a metric, a version with an alias, an artifact; its run id and version."""
    client = MlflowClient(tracking_uri=database, registry_uri=database)
    experiment = client.create_experiment("supreme", artifact_location="s3://lake/artifacts")
    run = client.create_run(experiment)
    for step in range(50):
        client.log_metric(run.info.run_id, "loss", 1 / (1 + step), step=step)
    client.create_registered_model("supreme-ecg")
    source = f"s3://lake/artifacts/{run.info.run_id}"
    version = client.create_model_version("supreme-ecg", source, run.info.run_id)
    client.set_registered_model_alias("supreme-ecg", "champion", version.version)
    storage.write_bytes(storage.join(artifacts, run.info.run_id, "model.safetensors"), WEIGHTS)
    return run.info.run_id, version.version


def _lose_everything() -> None:
    name = os.environ["PGDATABASE"]
    postgres_server.sql(f"DROP DATABASE {name} WITH (FORCE)")
    postgres_server.create_database(name)


def test_what_was_lost_comes_back(
    database: str, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
    artifacts, again = bucket.format("mlflow"), bucket.format("restored")
    run_id, version = _fill(database, artifacts)
    assert backup.main(["save", f"{tmp_path}/backup", artifacts]) == 0
    _lose_everything()
    assert backup.main(["check", f"{tmp_path}/backup"]) == 0
    assert backup.main(["restore", f"{tmp_path}/backup", again]) == 0
    client = MlflowClient(tracking_uri=database, registry_uri=database)
    points = client.get_metric_history(run_id, "loss")
    assert [(point.step, point.value) for point in points] == [(n, 1 / (1 + n)) for n in range(50)]
    assert client.get_model_version_by_alias("supreme-ecg", "champion").version == version
    assert storage.read_bytes(storage.join(again, run_id, "model.safetensors")) == WEIGHTS
    # It works on: the sequences of the tables are those of before.
    following = client.create_model_version("supreme-ecg", "s3://x/y", run_id)
    assert int(following.version) == int(version) + 1


def test_nothing_is_overwritten_or_restored_from_a_damaged_backup(
    database: str, bucket: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    artifacts, folder = bucket.format("mlflow"), f"{tmp_path}/backup"
    _fill(database, artifacts)
    assert backup.main(["save", folder, artifacts]) == 0
    assert backup.main(["save", folder, artifacts]) == 1
    assert "not empty" in capfd.readouterr().err
    assert backup.main(["restore", folder, artifacts]) == 1
    assert "not empty" in capfd.readouterr().err
    # The tables are still there: refused by PostgreSQL, and nothing is copied.
    assert backup.main(["restore", folder, bucket.format("other")]) == 1
    assert storage.list_files(bucket.format("other")) == []
    [file] = Path(folder).rglob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    assert backup.main(["check", folder]) == 1
    assert "model.safetensors has changed" in capfd.readouterr().err
    (Path(folder) / "backup.json").unlink()
    assert backup.main(["check", folder]) == 1
    assert "no finished backup" in capfd.readouterr().err


def test_usage_and_a_server_that_is_away(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert backup.main([]) == 2
    assert backup.main(["save", "only-one"]) == 2
    if shutil.which("pg_dump"):
        monkeypatch.setenv("PGHOST", "127.0.0.1")
        monkeypatch.setenv("PGPORT", "1")
        assert backup.main(["save", f"{tmp_path}/new", f"{tmp_path}/artifacts"]) == 1
        assert not (tmp_path / "new").exists()
