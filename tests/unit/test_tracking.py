from __future__ import annotations

import errno
import logging
import os
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, nullcontext
from pathlib import Path

import mlflow
import pytest

from supreme import config, storage, tracking
from supreme.settings.tracking import Tracking
from supreme.training.run import history
from supreme.training.run.history import Point

pytestmark = pytest.mark.unit

PARAMS = {"seed": 1, "model": {"width": 8}, "sources": [{"kind": "simulated"}, {"kind": "ptbxl"}], "none": []}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("root"))


@pytest.fixture(scope="module")
def store(root: str) -> str:
    return tracking.open_store(Tracking(), root)


@pytest.fixture
def run(store: str, tmp_path: Path) -> tracking.StageRun:
    return tracking.start_or_resume(store, "tests", str(tmp_path / "stage"), "pretrain", PARAMS)


def logged(run: tracking.TrackingRun, metric: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in run.client.get_metric_history(run.run_id, metric)]


def python(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parents[2],
        env=os.environ,
    )


def test_the_embedded_store_is_a_sqlite_file_with_artifacts_beside_it(
    store: str, root: str, run: tracking.TrackingRun
) -> None:
    assert store == f"sqlite:///{root}/mlflow.db"
    run.log_dict({"a": 1}, "recipe.json")
    assert list((Path(root) / "mlartifacts").rglob("recipe.json"))
    assert tracking.open_store(Tracking(uri=store), "elsewhere") == store


def test_a_relative_root_is_the_same_store_from_every_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert tracking.open_store(Tracking(), "runs") == f"sqlite:///{tmp_path}/runs/mlflow.db"


def test_processes_may_meet_a_fresh_store_at_once(tmp_path: Path) -> None:
    code = (
        "import sys; from supreme import config, tracking;"
        "store = tracking.open_store(config.Tracking(), sys.argv[1]);"
        "run = tracking.start_or_resume(store, 'race', f'{sys.argv[1]}/{sys.argv[2]}', 'run', {'a': 1});"
        "run.finish()"
    )
    started = [python(code, str(tmp_path), str(number)) for number in range(3)]
    for process in started:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name("race")
    assert len(client.search_runs([experiment.experiment_id])) == 3


def test_a_store_on_a_read_only_disk_is_read_and_a_new_one_is_refused(
    store: str, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_path = Path.open

    def read_only(self: Path, mode: str = "r", *more: object, **options: object) -> object:
        if mode != "r":
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return open_path(self, mode, *more, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", read_only)
    assert tracking.open_store(Tracking(), root) == store
    with pytest.raises(
        storage.StorageError, match=r"new/mlflow\.db: Read-only file system; mount it for writ"
    ):
        tracking.open_store(Tracking(), f"{root}/new")


def test_killed_while_the_tables_are_made_the_store_is_made_again(tmp_path: Path) -> None:
    code = "import sys; from supreme import config, tracking;"
    code += "tracking.open_store(config.Tracking(), sys.argv[1])"
    process = python(code, str(tmp_path))
    while not any(file.stat().st_size for file in tmp_path.glob("mlflow.db*")):
        assert process.poll() is None
        time.sleep(0.002)
    process.kill()
    process.communicate()
    store = tracking.open_store(Tracking(), str(tmp_path))
    tracking.start_or_resume(store, "tests", str(tmp_path / "stage"), "pretrain", PARAMS).finish()
    assert not list(tmp_path.glob("*.partial"))


def test_a_killed_stage_goes_on_in_its_run_without_logging_a_step_twice(store: str, tmp_path: Path) -> None:
    folder = str(tmp_path / "stage")
    first = tracking.start_or_resume(store, "tests", folder, "pretrain", PARAMS)
    first.log_points([Point(step, 1.5, {"loss": 1 / step, "step_ms": 5.0}) for step in (64, 128, 192)])
    first.log_metrics({"validation_macro_auroc": 0.7}, 128)
    again = tracking.start_or_resume(store, "tests", folder, "pretrain", PARAMS)
    assert again.run_id == first.run_id
    again.log_points([Point(step, 2.5, {"loss": 9.0}) for step in (128, 192, 256, 256)])  # from step 128 on
    again.log_metrics({"validation_macro_auroc": 0.8}, 256)
    assert logged(again, "loss") == [(64, 1 / 64), (128, 1 / 128), (192, 1 / 192), (256, 9.0)]
    assert logged(again, "validation_macro_auroc") == [(128, 0.7), (256, 0.8)]
    assert again.last_steps() == {"loss": 256, "step_ms": 192, "validation_macro_auroc": 256}
    times = [point.timestamp for point in again.client.get_metric_history(again.run_id, "loss")]
    assert times == [1500, 1500, 1500, 2500]


def test_a_finished_run_is_running_again_when_resumed(store: str, tmp_path: Path) -> None:
    run = tracking.start_or_resume(store, "tests", str(tmp_path), "pretrain", {})
    run.finish("KILLED")
    assert run.client.get_run(run.run_id).info.status == "KILLED"
    tracking.start_or_resume(store, "tests", str(tmp_path), "pretrain", {})
    assert run.client.get_run(run.run_id).info.status == "RUNNING"


def test_a_stage_that_was_tracked_elsewhere_gets_a_new_run(
    store: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("supreme"), "propagate", True)
    storage.write_json(str(tmp_path / tracking.RUN_FILE), {"run_id": "0" * 32})
    run = tracking.start_or_resume(store, "tests", str(tmp_path), "pretrain", {})
    assert run.run_id != "0" * 32
    assert storage.read_json(str(tmp_path / tracking.RUN_FILE))["run_id"] == run.run_id
    assert "is not on this tracking store" in caplog.text


def test_another_process_writes_to_the_same_run(run: tracking.TrackingRun) -> None:
    code = (
        "import sys; from supreme.tracking import TrackingRun; run = TrackingRun.attach(*sys.argv[1:]);"
        "run.log_metrics({'loss': 5.0}, 10); run.log_metrics({'loss': 3.0}, 20)"
    )
    run.log_metrics({"loss": 4.0}, 10)
    process = python(code, run.uri, run.run_id)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert logged(run, "loss") == [(10, 4.0), (20, 3.0)]


def test_parameters_are_flat_cut_and_free_of_secrets(
    run: tracking.TrackingRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "correct-horse")
    run.log_params(
        {
            "long": "x" * 10_000,
            "uri": "http://me:swordfish@host/x",
            "api_token": "abcdef",
            "said": "the correct-horse",
        }
    )
    run.set_tags({"where": "http://me:swordfish@host/x", "/abs/shards": 1, "s3://b/x?scheme=http": 2})
    data = run.client.get_run(run.run_id).data
    assert data.params["sources.1.kind"] == "ptbxl"
    assert data.params["model.width"] == "8"
    assert len(data.params["long"]) == 500
    assert (data.tags["abs/shards"], data.tags["s3:/b/x_scheme_http"]) == ("1", "2")
    logged = str(data.params) + str(data.tags)
    for secret in ("swordfish", "abcdef", "correct-horse"):
        assert secret not in logged


def test_more_parameters_and_metrics_than_a_batch_holds(run: tracking.TrackingRun) -> None:
    run.log_params({f"p{number}": number for number in range(250)})
    run.log_metrics({f"m{number}": number for number in range(1100)}, 1)
    data = run.client.get_run(run.run_id).data
    assert {f"p{number}" for number in range(250)} <= data.params.keys()
    assert len(data.metrics) == 1100


def test_tags_tell_the_code_and_the_parent(run: tracking.StageRun, store: str, tmp_path: Path) -> None:
    child = tracking.start_or_resume(
        store, "tests", str(tmp_path / "trial"), "trial", {}, {"data_digest": "abc"}, parent=run
    )
    tags = child.client.get_run(child.run_id).data.tags
    assert tags["mlflow.parentRunId"] == run.run_id
    assert tags["data_digest"] == "abc"
    checkout = Path(tracking.__file__).resolve().parents[1]
    if (checkout / ".git").exists():
        head = subprocess.run(
            ["git", "-C", str(checkout), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        )
        assert tags["mlflow.source.git.commit"] == head.stdout.strip()


def test_artifacts_keep_their_names(run: tracking.TrackingRun, tmp_path: Path) -> None:
    storage.write_json(str(tmp_path / "manifest.json"), {"a": 1})
    run.log_file(str(tmp_path / "manifest.json"), "inputs")
    run.log_dict({"b": 2}, "recipe.json")
    run.log_text("<svg/>", "figures/loss.svg")
    found = [
        item.path
        for folder in ("", "inputs", "figures")
        for item in run.client.list_artifacts(run.run_id, folder)
    ]
    assert {"inputs/manifest.json", "recipe.json", "figures/loss.svg"} <= set(found)


@pytest.mark.parametrize(
    ("error", "status"), [(None, "FINISHED"), (ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")]
)
def test_the_status_tells_how_a_run_ended(
    run: tracking.StageRun, error: type[BaseException] | None, status: str
) -> None:
    if error is None:
        with tracking.closing(run):
            pass
    else:
        with pytest.raises(error), tracking.closing(run):
            raise error
    assert run.client.get_run(run.run_id).info.status == status


@pytest.mark.parametrize(
    ("error", "status"), [(None, "RUNNING"), (ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")]
)
def test_nested_runs_are_finished_with_their_parent_where_the_block_breaks_off(
    run: tracking.StageRun, tmp_path: Path, error: type[BaseException] | None, status: str
) -> None:
    nested = tracking.start_or_resume(run.uri, "tests", str(tmp_path / "trial"), "trial", {}, parent=run)
    with nullcontext() if error is None else pytest.raises(error), tracking.closing_early(run, nested):
        if error:
            raise error
    assert [one.client.get_run(one.run_id).info.status for one in (run, nested)] == [status] * 2


def test_a_locked_database_is_waited_for_by_nobody(tmp_path: Path) -> None:
    store = tracking.open_store(Tracking(), str(tmp_path))
    folder = str(tmp_path / "stage")
    run = tracking.start_or_resume(store, "tests", folder, "pretrain", PARAMS)
    lines = [history.Report(64, 1.5, {"loss": 0.5})]
    history.write(folder, lines)
    with closing(sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        began = time.monotonic()
        run.report(lines)
        assert time.monotonic() - began < 0.2
        run.finish(wait_s=0.2)
        assert time.monotonic() - began < 2
        assert tracking.is_behind(folder)
        other.execute("COMMIT")
    run.finish()
    assert logged(run, "loss") == [(64, 0.5)]
    assert not tracking.is_behind(folder)
    assert run.client.get_run(run.run_id).info.status == "FINISHED"


def test_killed_before_its_run_was_noted_a_stage_has_one_run(store: str, tmp_path: Path) -> None:
    folder = str(tmp_path / "stage")
    run = tracking.start_or_resume(store, "tests", folder, "pretrain", PARAMS)
    note = f"{folder}/{tracking.RUN_FILE}"
    key = storage.read_json(note)["key"]
    storage.write_json(note, {"run_id": "", "key": key})
    experiment = run.client.get_run(run.run_id).info.experiment_id
    run.client.create_run(experiment, tags={"supreme.stage_key": key})  # a request repeated by the client
    assert tracking.start_or_resume(store, "tests", folder, "pretrain", PARAMS).run_id == run.run_id
    same = run.client.search_runs([experiment], f"tags.`supreme.stage_key` = '{key}'")
    assert [one.info.run_id for one in same] == [run.run_id]


def test_a_deleted_experiment_is_said_with_the_remedy(store: str, tmp_path: Path) -> None:
    run = tracking.start_or_resume(store, "gone", str(tmp_path / "a"), "run", {})
    run.client.delete_experiment(run.client.get_experiment_by_name("gone").experiment_id)
    with pytest.raises(config.ConfigError, match="restore it"):
        tracking.start_or_resume(store, "gone", str(tmp_path / "b"), "run", {})


def test_the_environment_names_a_store_where_the_recipe_does_not(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    assert tracking.open_store(Tracking(), "s3://bucket/runs") == store
    own = f"sqlite:///{tmp_path}/own.db"
    assert tracking.open_store(Tracking(uri=own), "runs") == own
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "mlruns")
    with pytest.raises(config.ConfigError, match="MLFLOW_TRACKING_URI: a path is no tracking store"):
        tracking.open_store(Tracking(), "runs")


def test_object_storage_needs_a_server() -> None:
    with pytest.raises(config.ConfigError, match="tracking server"):
        tracking.open_store(Tracking(), "s3://bucket/runs")


@pytest.mark.parametrize("uri", ["runs/mlruns", "file:///tmp/mlruns", "databricks://x", "postgresql://h/db"])
def test_other_kinds_of_store_are_refused(uri: str) -> None:
    with pytest.raises(config.ConfigError, match="is no tracking store"):
        tracking.open_store(Tracking(uri=uri), "runs")


@pytest.mark.parametrize("listening", [False, True], ids=["closed port", "never answers"])
def test_an_unreachable_server_is_said_at_once_with_its_address(listening: bool) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        if listening:
            taken.listen()
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        start = time.monotonic()
        with pytest.raises(config.ConfigError, match=f"tracking server {address} does not answer"):
            tracking.open_store(Tracking(uri=address), "runs")
        assert time.monotonic() - start < 4


def test_a_login_in_the_uri_is_refused_without_repeating_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:swordfish@127.0.0.1:5000")
    with pytest.raises(config.ConfigError, match="MLFLOW_TRACKING_PASSWORD in the environment") as caught:
        tracking.open_store(Tracking(), "runs")
    assert "swordfish" not in str(caught.value)
    assert caught.value.__cause__ is None
