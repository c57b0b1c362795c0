"""Checkpoints: everything comes back, nothing foreign is taken."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from test_step import batch, learner, queries  # noqa: F401 (a fixture)

from supreme.config import ConfigError
from supreme.training import state as checkpoints
from supreme.training.data import Queries
from supreme.training.state import State, weights_digest

pytestmark = pytest.mark.unit

CONFIG = {"config": {"training": {"learning_rate": 0.01}}, "inputs": {"labels": "abc"}}


def test_resumed_from_a_checkpoint_the_weights_are_bit_identical(queries: Queries, tmp_path: Path) -> None:  # noqa: F811
    whole, first = learner(queries), learner(queries)
    for step in range(6):
        whole.step(batch(step), step, step * 8, 48)
    for step in range(3):
        first.step(batch(step), step, step * 8, 48)
    checkpoints.write(tmp_path, first, State.fresh(CONFIG, 0).advanced(1, 8, 3, 40))
    second = learner(queries, seed=5)
    second.seed = 0
    checkpoints.load_learner(tmp_path, second)
    state = checkpoints.read_state(f"{tmp_path}/state.json", CONFIG)
    for step in range(state.steps, 6):
        second.step(batch(step), step, step * 8, 48)
    assert weights_digest(second.task) == weights_digest(whole.task)
    assert weights_digest(second.averaged) == weights_digest(whole.averaged)


def test_state_counts_samples_epochs_and_stretches() -> None:
    state = State.fresh(CONFIG, 3)
    for world, batch_size, steps in ((2, 16, 5), (2, 16, 5), (1, 16, 4), (2, 16, 1)):
        state = state.advanced(world, batch_size, steps, 400)
    assert (state.steps, state.samples_seen) == (15, 10 * 32 + 4 * 16 + 32)
    assert state.history == [(2, 16, 10), (1, 16, 4), (2, 16, 1)]
    assert state.epoch == pytest.approx(416 / 400)
    assert State.model_validate_json(state.model_dump_json()) == state


@pytest.mark.parametrize(
    ("section", "key", "shown"),
    [("config", "training", "learning_rate"), ("inputs", "labels", "inputs.labels")],
)
def test_a_checkpoint_of_another_configuration_is_refused_with_the_difference(
    queries: Queries,  # noqa: F811
    tmp_path: Path,
    section: str,
    key: str,
    shown: str,
) -> None:
    checkpoints.write(tmp_path, learner(queries), State.fresh(CONFIG, 0))
    changed = {**CONFIG, section: {key: {"learning_rate": 0.5} if key == "training" else "other"}}
    with pytest.raises(ConfigError, match=shown):
        checkpoints.read_state(f"{tmp_path}/state.json", changed)


def test_a_checkpoint_holds_no_code(queries: Queries, tmp_path: Path) -> None:  # noqa: F811
    made = learner(queries)
    made.step(batch(), 0, 0, 100)
    checkpoints.write(tmp_path, made, State.fresh(CONFIG, 0))
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"model.safetensors", "ema.safetensors", "optimizer.pt", "state.json"}
    assert torch.load(tmp_path / "optimizer.pt", weights_only=True)["state"]
