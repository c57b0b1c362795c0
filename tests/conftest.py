"""Where real ECGs are, and the environment that every test runs in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import faulty_s3
import pipeline_runs
import pytest

from supreme.runtime.environment import ENVIRONMENT

if TYPE_CHECKING:
    import training_data

for _name, _value in ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Somebody's own tracking server is none of the tests'.
os.environ.pop("MLFLOW_TRACKING_URI", None)


@pytest.fixture(autouse=True)
def hidden_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test's recipe names as secret is no secret of the next one's."""
    monkeypatch.setenv("SUPREME_SECRETS", "")


def _beside(name: str, variable: str, what: str) -> Path:
    """A folder of data beside the project, or where a variable says; without it the test is skipped."""
    folder = Path(os.environ.get(variable, Path(__file__).resolve().parents[2] / "shared" / name))
    if not folder.is_dir():
        pytest.skip(f"no {what} at {folder}: set {variable} to a folder that holds them")
    return folder


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of real data sets."""
    return _beside("realdata", "SUPREME_REALDATA", "real ECGs")


@pytest.fixture(scope="session")
def cases() -> Path:
    """The folder of small inputs that once failed."""
    return _beside("cases", "SUPREME_CASES", "failing inputs")


@pytest.fixture(scope="session")
def formats() -> Path:
    """The folder of real ECG files in hospital formats."""
    return _beside("formats", "SUPREME_FORMATS", "ECG files")


@pytest.fixture(scope="session")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """``host:port`` of an S3 server, see :func:`faulty_s3.lake`."""
    with faulty_s3.lake(tmp_path_factory.mktemp("weed")) as address:
        yield address


@pytest.fixture(scope="session")
def finished_pipeline(tmp_path_factory: pytest.TempPathFactory) -> pipeline_runs.Finished:
    """A small pipeline that nothing interrupted; tests only read it."""
    return pipeline_runs.finished(tmp_path_factory.mktemp("finished"))


@pytest.fixture(scope="session")
def undisturbed_training(tmp_path_factory: pytest.TempPathFactory) -> training_data.Trained:
    """A training run of two workers that nothing interrupted; tests only read it."""
    import training_data  # and with it Ray, which unit tests do without

    return training_data.undisturbed(tmp_path_factory.mktemp("undisturbed"))
