"""A registered model is data: nothing in it is run, and nothing in it can be changed unnoticed."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest
import tiny_bundle
import training_data
import yaml

from supreme import config, manifest, storage, tracking
from supreme.inference import bundle
from supreme.inference.bundle import BundleError
from supreme.registry import versions
from supreme.settings.tracking import Tracking
from supreme.training.run.summary import PRETRAIN

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
MODEL = "guarded"


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.trace}",)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds a tracking store and a good bundle."""
    folder = tmp_path_factory.mktemp("pristine")
    tracking.open_store(Tracking(), str(folder))
    tiny_bundle.write(folder / "bundle")
    return folder


@pytest.fixture
def store(pristine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store of its own for each test, whose first version of `guarded` is a good bundle."""
    shutil.copytree(pristine, tmp_path / "runs")
    shutil.copytree(pristine / "bundle", tmp_path / "bundle")
    uri = tracking.open_store(Tracking(), str(tmp_path / "runs"))
    run = tracking.start_or_resume(uri, "tests", str(tmp_path / "stage"), "pretrain", {})
    versions.register(str(tmp_path / "bundle"), run.run_id, tracking_uri=uri, model=MODEL)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    return uri


def stored(store: str) -> Path:
    """The folder in which the artifact store keeps version 1."""
    return Path(versions.resolve(f"models:/{MODEL}/1", store).source.removeprefix("file://"))


def refused(store: str, what: str) -> None:
    """Neither way to the model loads it."""
    with pytest.raises(BundleError, match=what):
        versions.load(f"models:/{MODEL}/1", store)
    with pytest.raises(BundleError, match=what):
        mlflow.pyfunc.load_model(f"models:/{MODEL}/1")


def forge(folder: Path, name: str, content: bytes) -> None:
    """Change a file and its checksum in MLmodel, as whoever can write to the artifact store could."""
    (folder / name).write_bytes(content)
    described = yaml.safe_load((folder / "MLmodel").read_bytes())
    described["metadata"]["sha256"][name] = storage.sha256(content)
    (folder / "MLmodel").write_bytes(yaml.safe_dump(described, sort_keys=True, allow_unicode=True).encode())


@pytest.mark.parametrize("name", ["model.pkl", "supreme.py", "code/supreme/__init__.py", "python_model.pkl"])
def test_a_bundle_with_code_or_pickle_is_refused_and_not_run(store: str, tmp_path: Path, name: str) -> None:
    trace = tmp_path / "trace"
    extra = stored(store) / name
    extra.parent.mkdir(parents=True, exist_ok=True)
    extra.write_bytes(
        pickle.dumps(Bomb(trace)) if name.endswith(".pkl") else f"open({str(trace)!r}, 'w')".encode()
    )
    refused(store, f"refused because of {name}")
    assert not trace.exists()


def test_changed_weights_are_refused(store: str) -> None:
    weights = stored(store) / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    refused(store, r"model\.safetensors was changed")


def test_changed_weights_with_a_forged_checksum_are_refused(store: str, tmp_path: Path) -> None:
    tiny_bundle.write(tmp_path / "evil", seed=1)
    forge(stored(store), "model.safetensors", (tmp_path / "evil" / "model.safetensors").read_bytes())
    refused(store, "MLmodel was changed")


def test_a_whole_other_bundle_in_its_place_is_refused(store: str) -> None:
    tiny_bundle.write(stored(store), seed=1)
    refused(store, "MLmodel was changed")


def test_a_pickle_under_the_name_of_the_weights_is_not_unpickled(store: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    folder = stored(store)
    forge(folder, "model.safetensors", pickle.dumps(Bomb(trace)))
    refused(store, "MLmodel was changed")
    with pytest.raises(BundleError, match=r"(?i)header"):
        versions.load(str(folder))
    assert not trace.exists()


def test_an_encoder_named_by_a_bundle_is_not_imported_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, trace = tmp_path / "bundle", tmp_path / "trace"
    tiny_bundle.write(folder)
    (tmp_path / "planted.py").write_text(
        f"from torch import nn\nopen({str(trace)!r}, 'w')\nclass Encoder(nn.Identity):\n    width = 400\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    content = json.loads((folder / "config.json").read_bytes())
    content["model"]["encoder"] = "planted:Encoder"
    forge(folder, "config.json", json.dumps(content).encode())
    for load in (versions.load, mlflow.pyfunc.load_model):
        with pytest.raises(config.ConfigError, match="which is not imported by default"):
            load(str(folder))
    assert not trace.exists()
    monkeypatch.setenv("SUPREME_ENCODERS", "planted:Encoder")
    with pytest.raises(BundleError, match=r"model\.safetensors has"):  # the weights are of another encoder
        versions.load(str(folder))
    assert trace.exists()


def test_a_version_without_a_digest_is_refused(store: str) -> None:
    mlflow.MlflowClient(store).delete_model_version_tag(MODEL, "1", "sha256")
    refused(store, "has no tag sha256")


def test_a_folder_with_code_is_not_registered(store: str, tmp_path: Path) -> None:
    (tmp_path / "bundle" / "loader.py").write_text("")
    with pytest.raises(BundleError, match=r"refused because of loader\.py"):
        versions.register(str(tmp_path / "bundle"), "any", tracking_uri=store, model=MODEL)


def test_a_bundle_names_no_code_of_its_own(store: str) -> None:
    described = yaml.safe_load((stored(store) / "MLmodel").read_bytes())
    flavor = described["flavors"]["python_function"]
    assert list(described["flavors"]) == ["python_function"]
    assert flavor["loader_module"] == "supreme.registry"
    assert flavor.keys() <= {"loader_module", "python_version"}, "no code, data or environment of its own"
    assert set(bundle.FILES) - {"recordings.safetensors"} == {
        path.name for path in (stored(store)).iterdir()
    } - {bundle.DOWNLOAD_NOTE}


def test_the_model_loads_where_code_and_pickle_are_forbidden(store: str) -> None:
    code = (
        "import mlflow, tiny_bundle;"
        f"model = mlflow.pyfunc.load_model('models:/{MODEL}/1');"
        "print(model.predict(tiny_bundle.ecgs(1), params={'queries': ['lbbb?']}).shape)"
    )
    forbidden = {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "PYTHONPATH": f"{ROOT}:{ROOT}/tests"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | forbidden, capture_output=True, text=True, cwd=ROOT
    )
    assert done.stdout.strip() == "(1, 1)", done.stderr


@pytest.mark.parametrize("job", ["register", "promote", "predict"])
def test_a_password_in_the_tracking_uri_is_nowhere_repeated(tmp_path: Path, job: str) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f'root = "{tmp_path}/runs"\nname = "x"\n')
    stage = tmp_path / "runs" / "x" / "pretrain"
    tiny_bundle.write(stage / "bundle")
    request = manifest.Request(stage="pretrain", config={})
    manifest.publish(str(stage), PRETRAIN, request, training_data.result(run_id="0"))
    overrides = ["tracking.uri=http://me:swordfish@127.0.0.1:9", "predict.uri=.", 'predict.queries=["a"]']
    done = subprocess.run(
        [sys.executable, f"jobs/{job}.py", "--config", str(recipe), *overrides],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 2
    assert "MLFLOW_TRACKING_PASSWORD" in done.stderr
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert b"swordfish" not in b"".join([done.stdout.encode(), done.stderr.encode(), *written])


def test_the_environment_of_jobs_forbids_pickle_in_models() -> None:
    from supreme.runtime.environment import ENVIRONMENT

    assert json.loads(ENVIRONMENT["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"]) is False
