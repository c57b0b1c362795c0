"""A sweep: every trial ends or is stopped, the best is registered, its runs are nested; killed it goes on."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
import training_data
from mlflow import MlflowClient

from supreme import config
from supreme.inference import bundle
from supreme.registry import versions
from supreme.settings.sweep import Sweep
from supreme.sweep import trials
from supreme.training.run import stage

pytestmark = [pytest.mark.ray, pytest.mark.slow]

DEADLINE_S = 280


@pytest.fixture
def recipe(tmp_path: Path) -> config.Recipe:
    made = training_data.recipe(tmp_path, workers=1)
    values = made.model_dump(mode="json") | {"sweep": {"trials": 2, "epochs": 2}}
    made = config.parse(values)
    training_data.write(made)
    return made


def test_trials_are_the_combinations_and_dry_run_is_possible(recipe: config.Recipe) -> None:
    planned = trials.trials(recipe.model_copy(update={"sweep": Sweep(trials=9)}))
    opened = stage.PretrainStage.open(recipe)
    assert [t.name for t in planned] == [
        f"{encoder}-{loss}" for encoder in ("resnet1d", "vit1d") for loss in ("bce", "asymmetric")
    ]
    assert len({opened.trial(t.recipe, t.folder).request.model_dump_json() for t in planned}) == 4
    assert stage.plan(planned[0].recipe).steps == 37


def test_objectives_are_tried_too_each_with_the_losses_that_it_has(recipe: config.Recipe) -> None:
    asked = Sweep(trials=9, objectives=("merl", "linear"), encoders=("vit1d",))
    planned = trials.trials(recipe.model_copy(update={"sweep": asked}))
    assert [t.name for t in planned] == ["merl-vit1d", "linear-vit1d-bce", "linear-vit1d-asymmetric"]
    assert [t.recipe.training.objective for t in planned] == ["merl", "linear", "linear"]
    with pytest.raises(config.ConfigError, match="simclr"):
        trials.trials(recipe.model_copy(update={"sweep": Sweep(objectives=("simclr",))}))
    with pytest.raises(config.ConfigError, match=r"sweep\.objectives.*'clip'"):
        config.parse({"sweep": {"objectives": ["clip"]}})


def test_ended_and_run_again_the_best_trial_is_a_candidate(recipe: config.Recipe, tmp_path: Path) -> None:
    """SIGTERM, after which the job leaves Ray and Tune to themselves, as it does after SIGKILL."""
    first = Path(trials.trials(recipe)[0].folder)
    process = training_data.start_job("sweep", recipe, tmp_path)
    deadline = time.monotonic() + DEADLINE_S
    while not (first / "metrics.jsonl").exists():
        assert process.poll() is None, (tmp_path / "sweep.log").read_text()[-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    log = (tmp_path / "sweep.log").read_text()
    assert log.splitlines()[-1].endswith("interrupted: the same command goes on from what is done")
    assert "SIGTERM received" not in log, "a C++ stack trace"
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    assert [run.info.status for run in client.search_runs(experiments)] == ["KILLED"] * 3
    before = (first / "metrics.jsonl").read_text().splitlines()
    run_before = json.loads((first / "run.json").read_text())["run_id"]
    assert training_data.start_job("sweep", recipe, tmp_path).wait(DEADLINE_S) == 0
    after = (first / "metrics.jsonl").read_text().splitlines()
    assert after[0] == before[0]
    result = json.loads((tmp_path / "sweep.json").read_text())
    assert result["trials"].keys() == {"resnet1d-bce", "resnet1d-asymmetric"}
    best = result["trials"][result["best"]]
    assert best["completed"]
    assert best["value"] == max(t["value"] for t in result["trials"].values() if t["completed"])
    nested = client.get_run(run_before)
    assert nested.data.tags["mlflow.parentRunId"] == result["run_id"]
    assert nested.info.status in ("FINISHED", "KILLED")
    version = versions.resolve(f"models:/{recipe.tracking.model}@candidate", uri)
    assert float(version.tags["selection_value"]) == best["value"]
    assert version.tags["sha256"] == bundle.verify(f"{recipe.folder('sweep')}/bundle")
