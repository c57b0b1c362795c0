"""Which settings are tried next: a pure function of the space, the seed, and the trials before.

A sweep that was interrupted therefore proposes what an undisturbed one would have, and one that has grown
only adds settings.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState, create_trial
from pydantic import JsonValue

from supreme.config import Recipe
from supreme.settings.sweep import Dimension
from supreme.sweep import space
from supreme.sweep.space import Changes
from supreme.sweep.summary import TrialRecord

#: Draws before a space is taken for used up.
_ATTEMPTS = 200
#: Optuna's own default: as many random trials before its estimator has something to learn from.
STARTUP_TRIALS = 10
#: Finished trials from which the importance of a key can be told.
MIN_TRIALS = 8


def propose(recipe: Recipe, number: int, earlier: Sequence[TrialRecord]) -> Changes | None:
    """A setting that no earlier trial has; None where there is none left.

    Args:
        number: of the new trial; random draws follow from it and the recipe's seed.
    """
    known = [record.changes for record in earlier]
    observed = list(_observations(recipe, earlier))
    for attempt in range(_ATTEMPTS):
        changes = _draw(recipe, number, attempt, observed)
        if changes not in known:
            return changes
    return None


def normalized(recipe: Recipe, changes: Changes) -> dict[str, JsonValue]:
    """Changes without those to the value that the recipe has anyway."""
    return {key: value for key, value in changes.items() if value != space.value_of(recipe, key)}


def _draw(recipe: Recipe, number: int, attempt: int, observed: Sequence[FrozenTrial]) -> Changes:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    seed = (recipe.seed * 1_000_003 + number * 1_009 + attempt) % 2**32
    sampler: optuna.samplers.BaseSampler
    # A small discrete space has few other points near the best ones: draw from all of it then.
    if recipe.sweep.search == "tpe" and attempt < _ATTEMPTS // 4:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.TPESampler(
                multivariate=True,
                group=True,
                constant_liar=True,
                n_startup_trials=STARTUP_TRIALS,
                seed=seed,
            )
    else:
        sampler = optuna.samplers.RandomSampler(seed=seed)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.add_trials(observed)
    drawn = study.ask()
    changes: dict[str, JsonValue] = {}
    # Keys without a condition first: the conditions of the others name them.
    for key, dimension in sorted(recipe.sweep.space.items(), key=lambda item: bool(item[1].when)):
        if space.holds(recipe, dimension, changes):
            changes[key] = _suggest(drawn, key, dimension)
    return normalized(recipe, changes)


def _observations(recipe: Recipe, earlier: Sequence[TrialRecord]) -> Iterator[FrozenTrial]:
    """Short trials that lie within the space; those that were stopped count as pruned."""
    for record in earlier:
        if record.full or record.status == "failed":
            continue
        parameters, distributions = {}, {}
        for key, dimension in recipe.sweep.space.items():
            value = record.changes.get(key, space.value_of(recipe, key))
            if space.holds(recipe, dimension, record.changes) and _contains(dimension, value):
                parameters[key] = json.dumps(value) if dimension.values else value
                distributions[key] = _distribution(dimension)
        if parameters:
            yield _observation(record, parameters, distributions)


def _observation(
    record: TrialRecord, parameters: dict[str, JsonValue], distributions: dict[str, BaseDistribution]
) -> FrozenTrial:
    is_finished = record.status == "finished" and record.value is not None
    steps = {record.samples_seen: record.value} if record.status == "stopped" and record.value else {}
    state = TrialState.COMPLETE if is_finished else TrialState.PRUNED if steps else TrialState.RUNNING
    return create_trial(
        state=state,
        value=record.value if is_finished else None,
        params=parameters,
        distributions=distributions,
        intermediate_values=steps,
    )


def _contains(dimension: Dimension, value: JsonValue) -> bool:
    if dimension.values:
        return value in dimension.values
    assert dimension.low is not None
    assert dimension.high is not None
    is_number = isinstance(value, int if dimension.is_integer else int | float)
    return is_number and dimension.low <= value <= dimension.high  # type: ignore[operator]


def _distribution(dimension: Dimension) -> BaseDistribution:
    if dimension.values:
        return CategoricalDistribution([json.dumps(value) for value in dimension.values])
    low, high, step = dimension.low, dimension.high, dimension.step
    assert low is not None
    assert high is not None
    if dimension.is_integer:
        return IntDistribution(int(low), int(high), log=dimension.log, step=int(step or 1))
    return FloatDistribution(low, high, log=dimension.log, step=step)


def _suggest(drawn: optuna.Trial, key: str, dimension: Dimension) -> JsonValue:
    distribution = _distribution(dimension)
    if isinstance(distribution, CategoricalDistribution):
        value: JsonValue = json.loads(str(drawn.suggest_categorical(key, distribution.choices)))
        return value
    if isinstance(distribution, IntDistribution):
        low, high = distribution.low, distribution.high
        return drawn.suggest_int(key, low, high, step=distribution.step, log=distribution.log)
    assert isinstance(distribution, FloatDistribution)
    low_, high_ = distribution.low, distribution.high
    number = drawn.suggest_float(key, low_, high_, step=distribution.step, log=distribution.log)
    # Six digits: the value in a table is the one that was trained with.
    return float(f"{number:.6g}")


def importance(recipe: Recipe, records: Sequence[TrialRecord]) -> dict[str, float]:
    """Share of the variance of the value that each key explains, largest first (fANOVA, Hutter et al. 2014).

    Over the keys that all finished short trials have; empty with fewer than `MIN_TRIALS` of those, or where
    nothing differs.
    """
    observed = [one for one in _observations(recipe, records) if one.state == TrialState.COMPLETE]
    if len(observed) < MIN_TRIALS or len({one.value for one in observed}) < 2:
        return {}
    study = optuna.create_study(direction="maximize")
    study.add_trials(observed)
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))
