"""A sweep: each trial ends or fails with a reason, the best is registered; it goes on, and it grows."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import training_data
from mlflow import MlflowClient
from mlflow.entities import Run

from supreme import config
from supreme.inference import bundle
from supreme.registry import versions
from supreme.sweep import ledger
from supreme.sweep.summary import TrialRecord

pytestmark = [pytest.mark.ray, pytest.mark.slow]

DEADLINE_S = 400
#: Three heads do not divide the width: that model cannot be built.
SPACE = {"training.loss": ["bce", "asymmetric"], "model.fusion_heads": [2, 3]}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> config.Recipe:
    root = tmp_path_factory.mktemp("sweep")
    recipe = swept(root)
    training_data.write(recipe)
    return recipe


def swept(root: Path, **sweep: object) -> config.Recipe:
    values = training_data.recipe(root, workers=1).model_dump(mode="json")
    section = {"space": SPACE, "trials": 3, "epochs": 2, "finalists": 1, "scheduler": "none"}
    return config.parse(values | {"sweep": section | sweep})


@pytest.fixture(scope="module")
def client(recipe: config.Recipe) -> MlflowClient:
    uri = f"sqlite:///{recipe.root}/mlflow.db"
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def runs(client: MlflowClient) -> dict[str, Run]:
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(experiments)
    names = {str(run.info.run_name): run for run in runs}
    assert len(names) == len(runs), "one run a trial"
    return names


def records(recipe: config.Recipe) -> dict[str, TrialRecord]:
    return {record.name: record for record in ledger.read(recipe.folder("sweep"))}


def finish(recipe: config.Recipe) -> dict[str, Any]:
    return training_data.finish("sweep", recipe, Path(recipe.root), DEADLINE_S)


def test_interrupted_it_closes_its_runs(recipe: config.Recipe, client: MlflowClient) -> None:
    """SIGTERM, after which the job leaves Ray and Tune to themselves, as it does after SIGKILL."""
    root, first = Path(recipe.root), Path(recipe.folder("sweep"), "00-recipe")
    process = training_data.start_job("sweep", recipe, root)
    deadline = time.monotonic() + DEADLINE_S
    while not (first / "metrics.jsonl").exists():
        assert process.poll() is None, (root / "sweep.log").read_text()[-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    log = (root / "sweep.log").read_text()
    assert log.splitlines()[-1].endswith("interrupted: the same command goes on from what is done")
    assert "SIGTERM received" not in log, "a C++ stack trace"
    ends = {name: run.info.status for name, run in runs(client).items()}
    assert ends.pop("01-3", "FAILED") == "FAILED", "its model could not be built"
    assert set(ends.values()) == {"KILLED"}


def test_run_again_it_goes_on_and_registers_the_best_at_full_length(
    recipe: config.Recipe, client: MlflowClient
) -> None:
    folder = Path(recipe.folder("sweep"))
    before = (folder / "00-recipe" / "metrics.jsonl").read_text().splitlines()[0]
    run_before = json.loads((folder / "00-recipe" / "run.json").read_text())["run_id"]
    result = finish(recipe)
    assert (folder / "00-recipe" / "metrics.jsonl").read_text().splitlines()[0] == before
    trials = result["trials"]
    assert [trials[name]["status"] for name in sorted(trials)][:1] == ["finished"]
    failed = trials["01-3"]
    assert (failed["status"], failed["value"]) == ("failed", None)
    assert "not a multiple of 3 heads" in failed["reason"]
    assert trials["02-asymmetric"]["status"] == "finished"
    best = trials[result["best"]]
    assert (best["full"], best["status"], best["place"]) == (True, "finished", 1)
    short = [one for one in trials.values() if not one["full"] and one["status"] == "finished"]
    assert best["number"] == max(short, key=lambda one: one["value"])["number"]
    assert best["samples_seen"] > max(one["samples_seen"] for one in short)
    uri = client.tracking_uri
    version = versions.resolve(f"models:/{recipe.tracking.model}@candidate", uri)
    assert float(version.tags["selection_value"]) == best["value"]
    assert version.tags["sha256"] == bundle.verify(str(folder / "bundle"))
    tracked = runs(client)
    assert tracked["00-recipe"].info.run_id == run_before
    assert tracked["00-recipe"].data.tags["mlflow.parentRunId"] == result["run_id"]
    assert tracked["00-recipe"].data.tags["labels"] == tracked["tiny sweep"].data.tags["labels"], "data"
    assert tracked["01-3"].info.status == "FAILED"
    assert "3 heads" in tracked["01-3"].data.tags["supreme.trial_reason"]
    assert tracked["tiny sweep"].data.metrics["best_value"] == best["value"]
    assert tracked["tiny sweep"].data.tags["supreme.winner"] == result["best"]
    assert "sweep.html" in [item.path for item in client.list_artifacts(result["run_id"])]
    log = (Path(recipe.root) / "sweep.log").read_text()
    assert "sweep: 02-asymmetric finished (loss=asymmetric), macro AUROC" in log
    assert "train [02-asymmetric]: epoch" in log, "the name of the trial on the lines of its workers"
    for of_tune in ("TensorBoard", "View detailed results", "Trial status", "Traceback", "Failed to fetch"):
        assert of_tune not in log, of_tune


def test_finished_it_is_skipped_but_a_failed_trial_is_tried_once_more(recipe: config.Recipe) -> None:
    first = records(recipe)
    finish(recipe)
    second = records(recipe)
    assert second["01-3"].tries == 2, "once more, here or after the interruption"
    assert {k: v for k, v in second.items() if k != "01-3"} == {k: v for k, v in first.items() if k != "01-3"}
    log = (Path(recipe.root) / "sweep.log").read_text()
    finish(recipe)
    left_out, _result = (Path(recipe.root) / "sweep.log").read_text().removeprefix(log).splitlines()
    assert left_out.endswith("sweep.trials=3 leaves out 1 of the combinations")
    assert records(recipe) == second, "nothing was left to do"


def test_it_grows_by_what_is_new_alone_and_outlives_a_trial_that_diverges(
    recipe: config.Recipe, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, encoder = records(recipe), "diverging_encoder:DivergingEncoder"
    monkeypatch.setenv("SUPREME_ENCODERS", encoder)
    monkeypatch.setenv("PYTHONPATH", f"{training_data.CHECKOUT}:{training_data.CHECKOUT / 'tests'}")
    grown = swept(Path(recipe.root), space={"model.encoder": ["resnet1d", encoder]}, trials=4)
    result = finish(grown)
    after = records(grown)
    assert {name: after[name] for name in before} == before
    [name] = after.keys() - before.keys()
    diverged = result["trials"][name]
    assert (diverged["number"], diverged["status"], diverged["place"]) == (3, "failed", None)
    assert "TrainingStopped" in diverged["reason"]
    assert diverged["tries"] == 1, "the same thing would happen again"
    assert runs(client)[name].info.status == "FAILED"
    log = (Path(recipe.root) / "sweep.log").read_text()
    assert f"sweep: {name} failed" in log
    assert "Traceback" not in log
