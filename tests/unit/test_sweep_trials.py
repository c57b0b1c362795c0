"""Which trial runs next and what became of it; early stopping; why a sweep failed."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supreme import config, storage
from supreme.sweep import failures, ledger, queue, table, trials
from supreme.sweep.halving import Halving
from supreme.sweep.queue import TrialQueue
from supreme.sweep.summary import SweepResult, TrialRecord
from supreme.sweep.trials import Trial
from supreme.training.learner.validation import METRIC
from supreme.training.run import checkpoint, history

pytestmark = pytest.mark.unit

SPACE = {"training.learning_rate": [0.001, 0.002, 0.01], "model.width": [8, 9]}


class Notes:
    """A watcher that remembers."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.ended: list[TrialRecord] = []

    def on_start(self, record: TrialRecord, trial: Trial) -> None:
        self.started.append(record.name)

    def on_end(self, record: TrialRecord, trial: Trial) -> None:
        self.ended.append(record)


def sweep_recipe(root: Path, **sweep: object) -> config.Recipe:
    return config.parse({"root": str(root), "sweep": {"space": SPACE, **sweep}})


def opened(recipe: config.Recipe, *, problem: Any = lambda trial: "") -> TrialQueue:
    """The queue as a new process opens it."""
    folder = recipe.folder("sweep")
    return TrialQueue(recipe, folder, ledger.plan(recipe, ledger.read(folder)), Notes(), problem)


def leave(trial: Trial, value: float, *, trained: bool = True) -> None:
    """The files of a trial that has reported once."""
    history.write(trial.folder, [history.Report(80, 0.0, {METRIC: value})])
    if trained:
        storage.write_bytes(storage.join(trial.folder, checkpoint.STATE), b"{}")


def value_of(trial: Trial) -> float:
    return 0.5 + trial.recipe.training.learning_rate + (trial.recipe.model.width or 0) / 100


def run_all(trials_of: TrialQueue, *, count: int = 100) -> list[str]:
    """Train ``count`` trials one after another; their names."""
    names: list[str] = []
    while len(names) < count and (trial := trials_of.next()):
        leave(trial, value_of(trial))
        trials_of.finish(trial.name)
        names.append(trial.name)
    return names


def test_the_recipe_first_then_the_space_then_the_best_at_full_length(tmp_path: Path) -> None:
    recipe = sweep_recipe(tmp_path, finalists=2)
    one = opened(recipe)
    names = run_all(one)
    assert len(names) == 7 + 2
    assert names[0] == "00-recipe"
    assert names[-2:] == ["06-9-0.01-full", "04-9-full"]
    lengths = {
        record.name: trials.trial(recipe, record).recipe.training.epochs for record in one.records.values()
    }
    assert {lengths[name] for name in names[:7]} == {recipe.sweep.epochs}
    assert {lengths[name] for name in names[7:]} == {recipe.training.epochs}
    assert opened(recipe).is_done()


def test_a_sweep_grows_without_training_again_what_is_finished(tmp_path: Path) -> None:
    before = run_all(opened(sweep_recipe(tmp_path, trials=3, finalists=0)))
    more = run_all(opened(sweep_recipe(tmp_path, finalists=0)))
    assert len(before) == 3
    assert len(more) == 4
    assert not set(before) & set(more)


@pytest.mark.parametrize("search", ["grid", "random", "tpe"])
def test_interrupted_at_any_trial_it_trains_what_an_undisturbed_sweep_would(
    tmp_path: Path, search: str
) -> None:
    kind = {"search": search, "trials": 5, "finalists": 1}
    whole = run_all(opened(sweep_recipe(tmp_path / "whole", **kind)))
    for first in range(len(whole)):
        recipe = sweep_recipe(tmp_path / f"{search}{first}", **kind)
        killed = opened(recipe)
        names = run_all(killed, count=first)
        cut_off = killed.next()
        assert cut_off is not None
        leave(cut_off, 0.1, trained=False)
        assert names + run_all(opened(recipe)) == whole


def test_finished_stopped_and_failed_trials_differ_and_a_failed_one_is_tried_once_more(
    tmp_path: Path,
) -> None:
    recipe = sweep_recipe(tmp_path, finalists=0)
    one = opened(recipe)
    for number in range(7):
        trial = one.next()
        assert trial is not None
        leave(trial, 0.6, trained=number in (0, 4, 5, 6))
        if number == 1:
            trials.write_failure(trial, "TrainingStopped: the loss is not finite")
        one.finish(trial.name, stopped="stopped at 25 %", lost="lost with its node" if number == 3 else "")
    status = {record.number: (record.status, record.reason) for record in ledger.read(recipe.folder("sweep"))}
    assert status[0] == ("finished", "")
    assert status[1] == ("failed", "TrainingStopped: the loss is not finite")
    assert status[2] == ("stopped", "stopped at 25 %")
    assert status[3] == ("failed", "lost with its node")
    for _ in range(2):
        again = opened(recipe)
        repeated = []
        while trial := again.next():
            assert trials.failure(trial) is None, "the reason of before"
            trials.write_failure(trial, "TrainingStopped: the loss is not finite")
            again.finish(trial.name)
            repeated.append(again.records[trial.name].number)
        assert repeated == ([1, 3] if _ == 0 else [])


def test_a_model_that_cannot_be_built_fails_at_once_and_others_go_on(tmp_path: Path) -> None:
    recipe = sweep_recipe(tmp_path, finalists=0)
    one = opened(recipe, problem=lambda trial: "width 9" if trial.recipe.model.width == 9 else "")
    assert len(run_all(one)) == 4
    failed = [record for record in one.records.values() if record.status == "failed"]
    assert [record.reason for record in failed] == ["its model cannot be built: width 9"] * 3
    assert one.watcher.ended.count(failed[0]) == 1  # type: ignore[attr-defined]


def test_a_finalist_that_fails_makes_room_for_the_next(tmp_path: Path) -> None:
    one = opened(sweep_recipe(tmp_path, finalists=1))
    run_all(one, count=7)
    trial = one.next()
    assert trial is not None
    assert trial.name == "06-9-0.01-full"
    trials.write_failure(trial, "out of memory")
    one.finish(trial.name)
    assert run_all(one) == ["04-9-full"]


def test_no_trial_begins_after_the_hours_but_finalists_do(tmp_path: Path) -> None:
    one = opened(sweep_recipe(tmp_path, finalists=1, hours=0.01))
    run_all(one, count=2)
    one.records["00-recipe"] = one.records["00-recipe"].model_copy(update={"seconds": 37.0})
    assert run_all(one) == ["01-8-0.001-full"]


def test_settings_are_ranked_by_the_mean_of_their_seeds(tmp_path: Path) -> None:
    recipe = sweep_recipe(tmp_path, seeds=2, finalists=0)
    records = [
        record.model_copy(
            update={"status": "finished", "value": 0.9 if record.number == 2 and not record.seed else 0.8}
        )
        for record in ledger.plan(recipe, [])
    ]
    ranking = ledger.ranking(records, full=False)
    assert ranking[0][0] == pytest.approx(0.85)
    assert [one.number for one in ranking[0][1]] == [2, 2]
    records[4] = records[4].model_copy(update={"status": "failed", "value": None})
    assert ledger.ranking(records, full=False)[0][1][0].number != 2


@given(st.lists(st.tuples(st.sampled_from([0.25, 0.5, 0.75, 1.0]), st.floats(0, 1)), max_size=40))
def test_halving_stops_exactly_what_is_below_the_median_at_a_rung(reports: list[tuple[float, float]]) -> None:
    halving = Halving()
    before: dict[float, list[float]] = {0.25: [], 0.5: []}
    for number, (progress, value) in enumerate(reports):
        reason = halving.judge(str(number), progress, value)
        reached = [rung for rung in before if rung <= progress]
        expected = progress < 1 and bool(before[reached[-1]]) and value < median(before[reached[-1]])
        assert bool(reason) == expected
        for rung in reached if progress < 1 else ():
            before[rung].append(value)


def test_a_trial_that_has_seen_all_its_samples_is_not_judged() -> None:
    halving = Halving()
    halving.replay("good", [(0.25, 0.9), (0.5, 0.9), (0.75, 0.9), (1.0, 0.9)])
    assert halving.judge("short", 1.0, 0.1) == ""
    assert halving.judge("bad", 0.26, 0.1).startswith("stopped at 25 %: 0.1000 is below 0.9000")
    assert halving.judge("unmeasured", 0.26, None) == ""


def failed(reason: str, number: int = 1) -> TrialRecord:
    return TrialRecord(number=number, name=str(number), seed=0, status="failed", reason=reason)


def test_why_no_trial_came_to_its_end_is_one_sentence_with_a_guess() -> None:
    alike = [failed(f"TrainingStopped: the loss is not finite at step {n}", n) for n in range(3)]
    assert "3 of 3 failed with: TrainingStopped" in str(failures.explain(alike))
    assert "look at what they share" in str(failures.explain(alike))
    mixed = str(
        failures.explain([failed("ValueError: a", 0), failed("KeyError: b", 1), failed("KeyError: b", 2)])
    )
    assert "2 of 3 failed with: KeyError: b; the recipe itself fails too" in mixed
    full = failures.explain(alike, ["runs/sweep/x: No space left on device: make room"])
    assert isinstance(full, storage.Unavailable)
    unmeasured = [one.model_copy(update={"status": "finished", "reason": ""}) for one in alike]
    assert "none has a macro AUROC" in str(failures.explain(unmeasured))


def test_the_table_has_the_changed_keys_as_columns(tmp_path: Path) -> None:
    recipe = sweep_recipe(tmp_path, finalists=1)
    one = opened(recipe)
    run_all(one)
    records = list(one.records.values())
    result = SweepResult(
        model_uri="models:/x/1",
        bundle="b",
        best="06-9-0.01-full",
        changes={"model.width": 9, "training.learning_rate": 0.01},
        value=0.6,
        recipe_value=0.5,
        run_id="r",
        trials={outcome.name: outcome for outcome in ledger.outcomes(records)},
    )
    head, first, second, *_, last = table.text(recipe, result).splitlines()
    assert head.split() == [
        "trial",
        "width",
        "learning_rate",
        "macro",
        "AUROC",
        "place",
        "ECGs",
        "s",
        "status",
    ]
    assert first.split()[:3] == ["06-9-0.01-full", "9", "0.01"]
    assert second.split()[:3] == ["06-9-0.01", "9", "0.01"]
    assert last == "winner: 06-9-0.01-full (width=9 learning_rate=0.01) 0.6000; models:/x/1"
    assert queue.is_time_over(recipe, records) is False
