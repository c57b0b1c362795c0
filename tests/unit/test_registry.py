from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import mlflow
import numpy as np
import pytest
import tiny_bundle
import training_data
from mlflow.exceptions import MlflowException

from jobs import register
from supreme import config, manifest, tracking
from supreme.registry import champion, history, versions
from supreme.registry.history import DecisionNote
from supreme.runtime.cli import Options
from supreme.settings.tracking import Tracking
from supreme.tracking import server as server_module
from supreme.training.run.summary import PRETRAIN, WeightSelection

pytestmark = pytest.mark.unit

QUERIES = ["atrial fibrillation?", "old inferior infarct?"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("root"))


@pytest.fixture(scope="module")
def store(root: str) -> str:
    return tracking.open_store(Tracking(), root)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Folders of the bundles of three different networks."""
    folders = [str(tmp_path_factory.mktemp("bundle")) for _ in range(3)]
    for seed, folder in enumerate(folders):
        tiny_bundle.write(folder, seed)
    return folders


@pytest.fixture
def run(store: str, tmp_path: Path) -> tracking.TrackingRun:
    return tracking.start_or_resume(store, "tests", str(tmp_path / "stage"), "pretrain", {})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real `mlflow server` on the loopback interface."""
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = f"--host 127.0.0.1 --port {port} --workers 1 --backend-store-uri sqlite:///{folder}/server.db"
    options += f" --artifacts-destination {folder}/art"
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", *options.split()],
        env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=folder,
    )
    uri = f"http://127.0.0.1:{port}"
    for _ in range(120):
        try:
            tracking.open_store(Tracking(uri=uri), "")
            break
        except config.ConfigError:
            assert process.poll() is None, "mlflow server ended"
            time.sleep(0.5)
    yield uri
    process.terminate()
    process.wait(timeout=30)


def number(uri: str, store: str) -> int:
    return int(versions.resolve(uri, store).version)


def same_answers(uri: str, folder: str, tracking_uri: str) -> None:
    ecg_mv = tiny_bundle.ecgs(2)
    expected = versions.load(folder).score(ecg_mv, 100, QUERIES)
    np.testing.assert_array_equal(versions.load(uri, tracking_uri).score(ecg_mv, 100, QUERIES), expected)


def test_a_bundle_is_registered_once(store: str, run: tracking.TrackingRun, bundles: list[str]) -> None:
    first = versions.register(
        bundles[0], run.run_id, tracking_uri=store, model="once", tags={"recipe": "demo"}
    )
    again = versions.register(bundles[0], run.run_id, tracking_uri=store, model="once")
    other = versions.register(bundles[1], run.run_id, tracking_uri=store, model="once")
    assert versions.same(first, again)
    assert (int(first.version), int(other.version)) == (1, 2)
    assert first.tags["recipe"] == "demo"
    assert first.run_id == run.run_id
    assert number("models:/once@candidate", store) == 2
    # The second bundle of the same run leaves the first one intact.
    same_answers("models:/once/1", bundles[0], store)
    same_answers("models:/once@candidate", bundles[1], store)
    assert versions.load("models:/once/1", store).score(tiny_bundle.ecgs(1), 100, QUERIES) != pytest.approx(
        versions.load("models:/once/2", store).score(tiny_bundle.ecgs(1), 100, QUERIES)
    )


def test_the_champion_before_becomes_previous(
    store: str, run: tracking.TrackingRun, bundles: list[str]
) -> None:
    registered = [versions.register(f, run.run_id, tracking_uri=store, model="heirs") for f in bundles[:2]]
    for version in [registered[0], registered[1], registered[1]]:
        champion.promote(version, tracking_uri=store, note=DecisionNote("better"))
    assert number("models:/heirs@champion", store) == 2
    assert number("models:/heirs@previous", store) == 1
    entries = history.read("heirs", store)
    assert [(one.version, one.champion, one.reason) for one in entries] == [
        (1, None, "better"),
        (2, 1, "better"),
        (2, 2, "better"),
    ]


def test_plain_pyfunc_answers_like_registry_load(
    store: str, run: tracking.TrackingRun, bundles: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    champion.promote(
        versions.register(bundles[0], run.run_id, tracking_uri=store, model="plain"),
        tracking_uri=store,
        note=DecisionNote("first"),
    )
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    ecg_mv = tiny_bundle.ecgs(2)
    loaded = mlflow.pyfunc.load_model("models:/plain@champion")
    ours = versions.load("models:/plain@champion")
    answers = loaded.predict(ecg_mv, params={"queries": QUERIES})
    np.testing.assert_array_equal(answers, ours.score(ecg_mv, 100, QUERIES))
    names = [entity.name for entity in ours.vocabulary]
    np.testing.assert_array_equal(loaded.predict(ecg_mv), ours.score(ecg_mv, 100, names))
    assert loaded.metadata.signature.inputs.inputs[0].shape == (-1, 12, 400)
    assert loaded.metadata.signature.outputs.inputs[0].shape == (-1, -1)


@pytest.mark.parametrize("shape", [(2, 12, 2000), (2, 8, 400), (12, 400)])
def test_pyfunc_refuses_another_length_or_lead_count(bundles: list[str], shape: tuple[int, ...]) -> None:
    loaded = mlflow.pyfunc.load_model(bundles[0])
    with pytest.raises(MlflowException, match="does not match expected shape"):
        loaded.predict(np.zeros(shape, np.float32), params={"queries": QUERIES})


@pytest.mark.parametrize(
    ("uri", "remedy"),
    [
        ("models:/nobody@champion", r"run jobs/promote\.py first"),
        ("models:/nobody@candidate", r"run jobs/register\.py first"),
        ("models:/nobody/7", r"run jobs/register\.py first"),
        ("models:/plain@king", r"run jobs/promote\.py first"),
        ("models:/x", "is no model: give"),
    ],
)
def test_a_model_that_is_not_there_is_said_with_the_remedy(store: str, uri: str, remedy: str) -> None:
    with pytest.raises(config.ConfigError, match=remedy):
        versions.load(uri, store)
    assert versions.find(uri, store) is None


def test_a_registry_that_fails_is_not_an_empty_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(server_module, "WAIT_S", 1.0)
    with pytest.raises(tracking.TrackingError, match=r"127\.0\.0\.1:9 does not serve it"):
        versions.find("models:/a@champion", "http://127.0.0.1:9")


def recipe(root: str, name: str, model: str) -> config.Recipe:
    return config.Recipe(name=name, root=root, tracking=Tracking(model=model))


def finished(
    recipe: config.Recipe, store: str, seed: int, value: float, data: str = "shards-1"
) -> config.Recipe:
    """A finished pre-training stage."""
    folder = recipe.folder("pretrain")
    request = manifest.Request(stage="pretrain", config={"seed": seed}, inputs={})
    manifest.begin(folder, PRETRAIN, request)
    run = tracking.start_or_resume(store, "tests", folder, "pretrain", {})
    tiny_bundle.write(f"{folder}/bundle", seed)
    selection = WeightSelection(metric="validation_macro_auroc", value=value, rule="the last epoch")
    result = training_data.result(selection=selection, validation_digest=data, run_id=run.run_id)
    manifest.publish(folder, PRETRAIN, request, result)
    return recipe


def test_the_job_registers_a_candidate_once(root: str, store: str) -> None:
    first = finished(recipe(root, "a", "job"), store, 0, 0.8)
    result = register.run(first, Options())
    assert (result["model_uri"], result["version"]) == ("models:/job/1", 1)
    assert register.run(first, Options()) == result, "the same command again gives the same result"
    second = finished(recipe(root, "b", "job"), store, 1, 0.7)
    assert register.run(second, Options())["model_uri"] == "models:/job/2"
    assert number("models:/job@candidate", store) == 2
    assert versions.find("models:/job@champion", store) is None
    tags = versions.resolve("models:/job@candidate", store).tags
    assert (tags["selection_rule"], tags["recipe"]) == ("the last epoch", "b")


def test_the_plan_registers_nothing(root: str, store: str) -> None:
    plan = register.run(finished(recipe(root, "d", "planned"), store, 0, 0.8), Options(dry_run=True))
    assert plan["selection_value"] == "0.8"
    assert versions.find("models:/planned/1", store) is None


def test_the_job_needs_a_finished_pre_training(root: str) -> None:
    with pytest.raises(config.ConfigError, match=r"run jobs/pretrain\.py first"):
        register.run(recipe(root, "nothing", "job"), Options())


@pytest.mark.slow
def test_the_same_through_a_tracking_server(
    server: str, tmp_path: Path, bundles: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tracking.start_or_resume(server, "tests", str(tmp_path / "stage"), "pretrain", {"seed": 0})
    run.log_metrics({"loss": 0.5}, 64)
    again = tracking.start_or_resume(server, "tests", str(tmp_path / "stage"), "pretrain", {"seed": 0})
    again.log_metrics({"loss": 0.7}, 64)
    assert [point.value for point in again.client.get_metric_history(run.run_id, "loss")] == [0.5]
    version = versions.register(bundles[0], run.run_id, tracking_uri=server, model="served")
    same = versions.register(bundles[0], run.run_id, tracking_uri=server, model="served")
    assert versions.same(same, version)
    champion.promote(version, tracking_uri=server, note=DecisionNote("first"))
    same_answers("models:/served@champion", bundles[0], server)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    loaded = mlflow.pyfunc.load_model("models:/served@champion")
    assert loaded.predict(tiny_bundle.ecgs(2), params={"queries": QUERIES}).shape == (2, 2)
    with pytest.raises(config.ConfigError, match=r"promote\.py first"):
        versions.load("models:/served@previous", server)
