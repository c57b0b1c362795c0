"""What a sweep would do, trial by trial."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, JsonValue

from supreme.config import Recipe
from supreme.sweep import ledger
from supreme.sweep.check import ModelCheck
from supreme.sweep.summary import TrialRecord
from supreme.sweep.trials import trial
from supreme.training.data.sources import absolute
from supreme.training.run.stage import PretrainStage, Waiting
from supreme.training.run.stage import plan as plan_training


class TrialPlan(BaseModel):
    """A trial that is done, or would be."""

    model_config = ConfigDict(frozen=True)

    name: str
    changes: dict[str, JsonValue]
    seed: int
    status: str
    steps: int
    """Still to do."""
    samples: int
    """Records seen by all workers, or to be seen."""
    problem: str
    """Why its model cannot be built, or why it was stopped or failed; else empty."""


class SweepPlan(BaseModel):
    """What a sweep would do."""

    model_config = ConfigDict(frozen=True)

    folder: str
    search: str
    trials: list[TrialPlan]
    to_propose: int
    """Settings that the search chooses later, from the results of these."""
    left_out: int
    """Combinations of the grid that are not tried, as `sweep.trials` is too small."""
    finalists: int
    samples: int
    """Of the trials that are not done, without those to propose and finalists."""
    hours: float | None
    """For `samples`, at the speed of the trials that are done; None where none is."""


def plan(recipe: Recipe) -> SweepPlan | Waiting:
    """The trials of a sweep; without counts while shards or labels are unfinished.

    Raises:
        ConfigError: the space cannot be searched.
    """
    folder = absolute(recipe.folder("sweep"))
    records = ledger.plan(recipe, ledger.read(folder))
    waiting = plan_training(recipe)
    if isinstance(waiting, Waiting):
        return waiting.model_copy(update={"folder": folder})
    stage = PretrainStage.open(recipe)
    check = ModelCheck(stage.inputs)
    plans = [_trial_plan(stage, check, record) for record in records]
    samples = sum(one.samples for one in plans if one.steps)
    done = [record for record in records if record.samples_seen and record.seconds]
    pace = sum(one.seconds for one in done) / sum(one.samples_seen for one in done) if done else None
    is_sequential = recipe.sweep.search == "tpe"
    return SweepPlan(
        folder=folder,
        search=recipe.sweep.search,
        trials=plans,
        to_propose=max(0, (recipe.sweep.trials or 0) - len(ledger.settings(records))) if is_sequential else 0,
        left_out=ledger.left_out(recipe, records),
        finalists=recipe.sweep.finalists,
        samples=samples,
        hours=None if pace is None else round(samples * pace / recipe.sweep.concurrent / 3600, 3),
    )


def _trial_plan(stage: PretrainStage, check: ModelCheck, record: TrialRecord) -> TrialPlan:
    steps, samples, problem = 0, record.samples_seen, record.reason
    if not record.is_settled:
        one = trial(stage.recipe, record)
        plan = stage.trial(one.recipe, one.folder, one.name).plan()
        steps, samples, problem = plan.steps, plan.samples, check.problem(one)
    return TrialPlan(
        name=record.name,
        changes=record.changes,
        seed=record.seed,
        status=record.status,
        steps=steps,
        samples=samples,
        problem=problem,
    )
