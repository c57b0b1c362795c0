"""A run says where it comes from: code, command, user, hosts, data; its experiment opens as one of models."""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path

import mlflow
import pytest

from supreme import manifest, tracking
from supreme.runtime import origin
from supreme.settings.tracking import Tracking
from supreme.tracking import source
from supreme.tracking.store import experiment_id
from supreme.training.learner.validation import METRIC
from supreme.training.run.summary import PRETRAIN

pytestmark = pytest.mark.unit

DIGESTS = {"shards/ptbxl": "a1" * 32, "labels": "b2" * 32}


@pytest.fixture
def store(tmp_path: Path) -> str:
    return tracking.open_store(Tracking(), str(tmp_path))


def test_a_submitted_job_has_commit_user_and_hosts_without_git(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = origin.Origin(commit="c0ffee", changed=True, user="ada", host="laptop")
    monkeypatch.setenv(origin.VARIABLE, sent.model_dump_json())
    monkeypatch.setattr(sys, "argv", ["/tmp/ray/session/working_dir/jobs/pretrain.py", "--config", "demo"])
    folder = str(tmp_path / "demo" / "pretrain")
    manifest.begin(folder, PRETRAIN, manifest.Request(stage="pretrain", config={}, inputs=DIGESTS))
    run = tracking.start_or_resume(store, "tests", folder, "demo", {})
    child = tracking.start_or_resume(store, "tests", f"{folder}/trial", "trial", {}, parent=run)
    for one in (run, child):
        logged = one.client.get_run(one.run_id)
        tags = logged.data.tags
        assert (tags["mlflow.source.git.commit"], tags["supreme.git.changed"]) == ("c0ffee", "true")
        assert (tags["mlflow.user"], tags["supreme.submitted_from"]) == ("ada", "laptop")
        assert (tags["mlflow.source.name"], tags["supreme.host"]) == ("jobs/pretrain.py", platform.node())
        assert tags["supreme.source_digest"] == source.source_digest()
        data = {
            item.dataset.name: (
                item.dataset.digest,
                json.loads(item.dataset.source)["uri"],
                item.tags[0].value,
            )
            for item in logged.inputs.dataset_inputs
        }
        assert data == {
            name: (digest[:36], str(tmp_path / "demo" / name), "training") for name, digest in DIGESTS.items()
        }
    assert run.client.get_run(run.run_id).data.tags["supreme.stage"] == "pretrain"
    again = tracking.start_or_resume(store, "tests", folder, "demo", {})
    assert len(again.client.get_run(run.run_id).inputs.dataset_inputs) == 2, "no data set is there twice"
    assert source.submitter() == "ada@laptop"


def test_the_digest_of_the_source_follows_code_and_data(tmp_path: Path) -> None:
    def digest() -> str:
        return source.source_digest.__wrapped__(tmp_path)

    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.py").write_text("pass")
    seen = [digest()]
    for name, text in (("a/x.py", "pass\n"), ("a/y.toml", ""), ("z.py", "")):
        (tmp_path / name).write_text(text)
        seen.append(digest())
    (tmp_path / "a" / "y.toml").rename(tmp_path / "y.toml")
    seen.append(digest())
    assert len(set(seen)) == len(seen)
    (tmp_path / "a" / "x.pyc").write_text("compiled")
    assert digest() == seen[-1]


def test_an_experiment_opens_as_one_of_models_unless_somebody_has_said_otherwise(store: str) -> None:
    client = mlflow.MlflowClient(store)
    own = client.create_experiment("own", tags={"mlflow.experimentKind": "genai_development"})
    for name in ("new", "own"):
        experiment_id(client, name)
    tags = client.get_experiment_by_name("new").tags
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    assert tags["mlflow.experiment.primaryMetric.name"] == METRIC
    tags = client.get_experiment(own).tags
    assert tags["mlflow.experimentKind"] == "genai_development"
    assert tags["mlflow.experiment.primaryMetric.name"] == METRIC
