"""The loop of one worker: what is written and reported when, and that an interrupted run ends the same."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import lone_worker
import pytest
import training_data
from test_objectives import NOISE, Words

from supreme import config, storage
from supreme.training.run import driver, worker_setup
from supreme.training.run.checkpoint import State, weights_digest
from supreme.training.run.checkpoint_writer import FOLDER
from supreme.training.run.preemption import PreemptionWatcher
from supreme.training.run.result import latest_state
from supreme.training.run.stage import PretrainStage

pytestmark = pytest.mark.unit

BATCH, STEPS, REPORT_STEPS = 16, 37, {10, 19, 29, 37}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> config.Recipe:
    recipe = training_data.recipe(
        tmp_path_factory.mktemp("loop"),
        **{"epochs": 2, "checkpoint_every": 0.5, "workers": 1, "augment": NOISE, "precision": "fp32"},
    )
    training_data.write(recipe)
    return recipe


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    monkeypatch.setattr(driver, "open_encoder", lambda text: Words())
    monkeypatch.setattr(PreemptionWatcher, "poll", lambda watcher: False)
    return lone_worker.prepare(monkeypatch)


def opened(recipe: config.Recipe, folder: Path) -> PretrainStage:
    stage = replace(PretrainStage.open(recipe), folder=str(folder))
    driver.embed_queries(stage)
    return stage


def final(stage: PretrainStage) -> tuple[str, State]:
    """Train to the end; the digest of the EMA weights, and the last state."""
    run, state = worker_setup.open_run(stage)
    run.train(state)
    last = latest_state(stage)
    assert last is not None
    return weights_digest(run.learner.ema), last


def timeless(state: State) -> list[Any]:
    """The reports without times, and without the loss, whose mean begins anew at a restart."""
    names = ("gradient_norm", "learning_rate", "validation_loss", "validation_macro_auroc")
    return [
        (report.samples_seen, [report.metrics[name] for name in names], len(report.curve))
        for report in state.reports
    ]


class Killed(Exception):
    """Ends the loop as a killed process would."""


def test_a_notice_makes_a_checkpoint_between_reports_and_a_killed_run_ends_with_the_same_weights(
    recipe: config.Recipe, reports: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, state = final(opened(recipe, tmp_path / "whole"))
    assert [line["samples_seen"] for line in reports] == [BATCH * step for step in sorted(REPORT_STEPS)]
    assert (state.steps, state.ended) == (STEPS, "steps")
    stage, polls = opened(recipe, tmp_path / "killed"), iter(range(1, 1000))

    def poll(watcher: PreemptionWatcher) -> bool:
        step = next(polls)
        if step == 15:
            raise Killed
        return step == 13

    with monkeypatch.context() as patch:
        patch.setattr(PreemptionWatcher, "poll", poll)
        run, begin = worker_setup.open_run(stage)
        with pytest.raises(Killed):
            run.train(begin)
    deadline = time.monotonic() + 20
    while (interrupted := latest_state(stage)) is None or interrupted.steps < 13:  # written in a thread
        assert time.monotonic() < deadline, "no checkpoint at the notice"
        time.sleep(0.05)
    assert (interrupted.steps, len(interrupted.reports)) == (13, 1)
    assert [point.samples_seen for point in interrupted.curve] == [BATCH * step for step in (11, 12, 13)]
    again, resumed = final(stage)
    assert again == weights
    assert timeless(resumed) == timeless(state)


def test_only_the_latest_and_the_best_checkpoint_stay(
    recipe: config.Recipe, reports: list[dict[str, Any]], tmp_path: Path
) -> None:
    stage = opened(recipe, tmp_path)
    _, state = final(stage)
    assert state.best is not None
    scores = [line["validation_macro_auroc"] for line in reports]
    assert state.best.metrics["validation_macro_auroc"] == max(scores)
    folders = {int(name[:12]) for name in storage.list_folders(storage.join(stage.folder, FOLDER))}
    assert folders == {STEPS * BATCH, state.best.samples_seen}
