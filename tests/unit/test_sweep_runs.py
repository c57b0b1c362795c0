"""Nested MLflow runs of a sweep: status and tags tell waiting, stopped, failed and finished trials apart."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from supreme import config, storage, tracking
from supreme.settings.tracking import Tracking
from supreme.sweep import ledger, trials
from supreme.sweep.queue import TrialQueue
from supreme.sweep.runs import TrialRuns
from supreme.sweep.trials import Trial
from supreme.training.learner.validation import METRIC
from supreme.training.run import checkpoint, history
from supreme.training.run.history import Report

pytestmark = pytest.mark.unit

INPUTS = {"shards/simulated": "a1", "labels": "b2"}


def leave(trial: Trial, *, trained: bool) -> None:
    history.write(trial.folder, [Report(80, 1.0, {METRIC: 0.75})])
    if trained:
        storage.write_bytes(storage.join(trial.folder, checkpoint.STATE), b"{}")


def test_each_end_has_its_status_reason_and_data(tmp_path: Path) -> None:
    recipe = config.parse(
        {"root": str(tmp_path), "sweep": {"space": {"model.width": [8, 9, 10]}, "finalists": 0}}
    )
    uri, folder = tracking.open_store(Tracking(), str(tmp_path)), recipe.folder("sweep")
    parent = tracking.start_or_resume(uri, "tests", folder, "sweep", {})
    runs = TrialRuns(recipe)
    runs.open(uri, parent, INPUTS)
    queue = TrialQueue(recipe, folder, ledger.plan(recipe, []), runs, lambda trial: "")
    for number in range(4):
        trial = queue.next()
        assert trial is not None
        leave(trial, trained=number == 0)
        if number == 1:
            trials.write_failure(trial, "TrainingStopped: the loss is not finite")
        if number < 3:
            queue.finish(trial.name, stopped="stopped at 25 %")
    runs.abort("KILLED")
    by_name = nested(uri, parent.run_id)
    ends = {
        name[:2]: (run.info.status, run.data.tags["supreme.trial"], run.data.tags["supreme.trial_reason"])
        for name, run in by_name.items()
    }
    assert ends == {
        "00": ("FINISHED", "finished", ""),
        "01": ("FAILED", "failed", "TrainingStopped: the loss is not finite"),
        "02": ("KILLED", "stopped", "stopped at 25 %"),
        "03": ("KILLED", "interrupted", ""),
    }
    for run in by_name.values():
        assert INPUTS.items() <= run.data.tags.items()
        assert run.data.metrics[METRIC] == 0.75
    assert by_name["01-8"].data.tags["supreme.trial_changes"] == "width=8"


def test_a_trial_that_goes_on_keeps_its_run(tmp_path: Path) -> None:
    recipe = config.parse({"root": str(tmp_path), "sweep": {"space": {"model.width": [8]}, "finalists": 0}})
    uri, folder = tracking.open_store(Tracking(), str(tmp_path)), recipe.folder("sweep")
    parent = tracking.start_or_resume(uri, "tests", folder, "sweep", {})
    for attempt in range(2):
        runs = TrialRuns(recipe)
        runs.open(uri, parent, INPUTS)
        queue = TrialQueue(recipe, folder, ledger.plan(recipe, ledger.read(folder)), runs, lambda trial: "")
        trial = queue.next()
        assert trial is not None
        assert trial.name == "00-recipe"
        leave(trial, trained=attempt == 1)
        if attempt:
            queue.finish(trial.name)
        else:
            runs.abort("KILLED")
    assert [run.info.status for run in nested(uri, parent.run_id).values()] == ["FINISHED"]


def nested(uri: str, parent: str) -> dict[str, Run]:
    client = MlflowClient(uri)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    trials = client.search_runs(experiments, f"tags.`mlflow.parentRunId` = '{parent}'")
    assert len({run.info.run_name for run in trials}) == len(trials)
    return {str(run.info.run_name): run for run in trials}
