"""The search space: what is refused before anything starts, and which settings a search proposes."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supreme import config
from supreme.config import ConfigError, Recipe
from supreme.sweep import ledger, search, space
from supreme.sweep.summary import TrialRecord

pytestmark = pytest.mark.unit

GRID = {"training.loss": ["bce", "focal"], "model.encoder": ["resnet1d", "vit1d"]}
PATCH = {"values": [20, 30], "when": {"model.encoder": "vit1d*"}}
RANGES = {
    "training.learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
    "model.dropout": {"low": 0.0, "high": 0.5},
    "model.encoder": ["resnet1d", "vit1d"],
    "model.patch": {"low": 10, "high": 50, "step": 5, "when": {"model.encoder": "vit1d*"}},
}


def sweep_recipe(**sweep: object) -> Recipe:
    return config.parse({"sweep": sweep})


def finished(record: TrialRecord, value: float) -> TrialRecord:
    return record.model_copy(update={"status": "finished", "value": value, "tries": 1})


@pytest.mark.parametrize(
    ("space_of", "message"),
    [
        ({}, "sweep.space is empty"),
        ({"training.learning_rte": [1.0]}, "unknown key.*nearest valid key: 'training.learning_rate'"),
        ({"sources": [[]]}, "sources is no setting of training"),
        ({"training.workers": [1, 2]}, "speed of training, not its result"),
        ({"training.epochs": [1, 2]}, "sweep.epochs is the length"),
        ({"model.width": {"values": [4], "when": {"model.encoder": "vot*"}}}, "`when` never holds"),
        ({"model.width": {"values": [4], "when": {"model.encodr": "*"}}}, "unknown key 'model.encodr'"),
        ({"training.loss": ["bcd"]}, "sweep.space: training.loss: "),
        ({"training.learning_rate": ["fast"]}, "sweep.space: training.learning_rate: "),
        ({"model.encoder": ["resnet1e"]}, "nearest encoder: 'resnet1d'"),
        (
            {"training.objective": ["merl"], "training.sampled_queries": [8]},
            "trial .*impossible.*not for merl",
        ),
        ({"training.objective": ["simclr"], "training.augment.time_shift": [{"max_s": 0.1}]}, "no queries"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused(space_of: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ledger.plan(sweep_recipe(space=space_of), [])
    if "impossible" not in message:
        with pytest.raises(ConfigError, match=message):
            ledger.plan(sweep_recipe(space=space_of, search="tpe", trials=9), [])


def test_nested_tables_and_dotted_keys_are_one_space() -> None:
    nested = sweep_recipe(
        space={"training": {"loss": ["bce", "focal"]}, "model": {"encoder": ["resnet1d", "vit1d"]}}
    )
    assert nested == sweep_recipe(space=GRID)
    assert config.parse(nested.model_dump(mode="json")) == nested


def test_a_grid_holds_each_combination_once_and_conditional_keys_only_where_they_belong() -> None:
    planned = ledger.plan(sweep_recipe(space=GRID | {"model.patch": PATCH}), [])
    changes = [record.changes for record in planned]
    assert changes[0] == {}, "trial 0 is the recipe"
    assert len(changes) == 6
    assert all("model.patch" not in one for one in changes if one.get("model.encoder") != "vit1d")
    assert {one["model.patch"] for one in changes if one.get("model.encoder") == "vit1d"} == {20, 30}
    assert len({record.name for record in planned}) == 6


def test_a_grid_is_cut_with_a_word_and_grows_without_new_numbers() -> None:
    small = sweep_recipe(space=GRID, trials=2)
    before = ledger.plan(small, [])
    assert [record.number for record in before] == [0, 1]
    assert ledger.left_out(small, before) == 2
    larger = sweep_recipe(
        space={"training.loss": ["asymmetric", "bce", "focal"], "model.encoder": ["vit1d", "resnet1d"]}
    )
    after = ledger.plan(larger, before)
    assert after[:2] == before
    assert len(after) == 6
    assert ledger.left_out(larger, after) == 0


def test_more_seeds_add_runs_to_each_setting() -> None:
    before = ledger.plan(sweep_recipe(space=GRID), [])
    after = ledger.plan(sweep_recipe(space=GRID, seeds=3), before)
    assert after[:4] == before
    assert sorted((one.number, one.seed) for one in after) == [(n, s) for n in range(4) for s in range(3)]
    assert len({one.name for one in after}) == 12


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), kind=st.sampled_from(["random", "tpe"]), count=st.integers(1, 8))
def test_a_proposal_lies_in_the_space_is_new_and_follows_from_what_was_before(
    seed: int, kind: str, count: int
) -> None:
    recipe = config.parse({"seed": seed, "sweep": {"space": RANGES, "search": kind, "trials": 50}})
    earlier = ledger.runs(recipe, 0, {})
    for number in range(1, count):
        changes = search.propose(recipe, number, earlier)
        assert changes is not None
        assert changes == search.propose(recipe, number, earlier)
        assert changes not in [record.changes for record in earlier]
        assert 1e-4 <= float(str(changes.get("training.learning_rate", 2e-3))) <= 1e-1
        assert ("model.patch" in changes) <= (changes.get("model.encoder") == "vit1d")
        assert int(str(changes.get("model.patch", 25))) in range(10, 51, 5)
        space.changed(recipe, changes)
        [record] = ledger.runs(recipe, number, changes)
        earlier = [*earlier, finished(record, number / 10)]


def test_tpe_finds_a_planted_optimum_better_than_chance() -> None:
    """Value falls with the distance of the learning rate from 0.01 and of dropout from 0.2."""

    def best(kind: str, seed: int) -> float:
        recipe = config.parse({"seed": seed, "sweep": {"space": RANGES, "search": kind, "trials": 50}})
        records: list[TrialRecord] = []
        for number in range(32):
            changes = search.propose(recipe, number, records)
            assert changes is not None
            rate = float(str(changes.get("training.learning_rate", 2e-3)))
            distance = abs(math.log10(rate) + 2) + 3 * abs(float(str(changes.get("model.dropout", 0))) - 0.2)
            records.append(finished(ledger.runs(recipe, number, changes)[0], -distance))
        return max(record.value or -math.inf for record in records[16:])

    tpe, random = ([best(kind, seed) for seed in range(3)] for kind in ("tpe", "random"))
    assert sum(tpe) > sum(random)
    assert sum(one > other for one, other in zip(tpe, random, strict=True)) >= 2


def test_a_used_up_space_ends_the_search() -> None:
    recipe = sweep_recipe(space=GRID, search="random", trials=50)
    assert len(ledger.plan(recipe, [])) == 4


def test_importance_names_the_key_that_decides() -> None:
    recipe = sweep_recipe(space=RANGES, search="random", trials=40)
    planned = ledger.plan(recipe, [])
    values = [float(str(one.changes.get("model.dropout", 0))) for one in planned]
    records = [finished(record, value) for record, value in zip(planned, values, strict=True)]
    shares = search.importance(recipe, records)
    assert next(iter(shares)) == "model.dropout"
    assert shares["model.dropout"] > 0.8
    assert search.importance(recipe, records[: search.MIN_TRIALS - 1]) == {}
