"""Checkpoints: everything comes back, nothing foreign or damaged is taken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from test_step import NOISE, batch, learner, queries  # noqa: F401 (a fixture)

from supreme.config import ConfigError
from supreme.manifest import Request
from supreme.training.data.order import Stretch
from supreme.training.data.queries import Queries
from supreme.training.run import checkpoint as checkpoints
from supreme.training.run.checkpoint import Snapshot, State, weights_digest
from supreme.training.run.history import Report

pytestmark = pytest.mark.unit

REQUEST = Request(stage="pretrain", config={"training": {"learning_rate": 0.01}}, inputs={"labels": "abc"})


def written(folder: Path, queries: Queries) -> None:  # noqa: F811
    made = learner(queries)
    made.step(batch(), 0, 0, 100)
    checkpoints.write(str(folder), Snapshot.of(made), State(request=REQUEST))


def test_resumed_from_a_checkpoint_the_weights_are_bit_identical(queries: Queries, tmp_path: Path) -> None:  # noqa: F811
    """With dropout and augmentation, and whatever was drawn from the global generators in between."""
    whole, first = (learner(queries, dropout=0.3, augment=NOISE) for _ in range(2))
    for step in range(6):
        whole.step(batch(step), step, step * 8, 48)
    for step in range(3):
        first.step(batch(step), step, step * 8, 48)
    folder = str(tmp_path)
    checkpoints.write(folder, Snapshot.of(first), State(request=REQUEST).advanced(Stretch(1, 8, 3), 40))
    second = learner(queries, seed=5, dropout=0.3, augment=NOISE)
    second.seed = 0
    state = checkpoints.read_state(folder, REQUEST)
    checkpoints.load_learner(folder, state, second)
    for step in range(state.steps, 6):
        torch.rand(step)
        np.random.rand(step)
        second.step(batch(step), step, step * 8, 48)
    assert weights_digest(second.task) == weights_digest(whole.task)
    assert weights_digest(second.ema) == weights_digest(whole.ema)


def test_a_snapshot_stays_as_it_was_while_training_goes_on(queries: Queries) -> None:  # noqa: F811
    made = learner(queries)
    made.step(batch(), 0, 0, 100)
    taken, same = Snapshot.of(made), Snapshot.of(made)
    made.step(batch(1), 1, 8, 100)
    for part in ("model", "ema"):
        before, now = getattr(taken, part), getattr(Snapshot.of(made), part)
        assert all(torch.equal(before[name], getattr(same, part)[name]) for name in before)
        assert any(not torch.equal(before[name], now[name]) for name in before)
    moments = [next(iter(s.optimizer["state"].values()))["exp_avg"] for s in (taken, same, Snapshot.of(made))]
    assert torch.equal(moments[0], moments[1])
    assert not torch.equal(moments[0], moments[2])


def test_state_counts_samples_epochs_and_stretches() -> None:
    state = State(request=REQUEST)
    for world, batch_size, steps in ((2, 16, 5), (2, 16, 5), (1, 16, 4), (2, 16, 1)):
        state = state.advanced(Stretch(world, batch_size, steps), 400)
    assert (state.steps, state.samples_seen) == (15, 10 * 32 + 4 * 16 + 32)
    assert state.history == [(2, 16, 10), (1, 16, 4), (2, 16, 1)]
    assert state.epoch == pytest.approx(416 / 400)
    assert State.model_validate_json(state.model_dump_json()) == state


@pytest.mark.parametrize(
    ("scores", "patience", "ended", "best"),
    [
        ([0.5, 0.7, 0.6, 0.7, 0.8], 0, "", 5),
        ([0.5, 0.7, 0.6, 0.7], 3, "", 2),
        ([0.5, 0.7, 0.6, 0.7], 2, "patience", 2),
        ([0.5, 0.7, 0.6, 0.8], 2, "", 4),
        ([None, None, None], 2, "", None),
    ],
)
def test_it_ends_after_so_many_reports_without_a_better_one(
    scores: list[float | None], patience: int, ended: str, best: int | None
) -> None:
    state = State(request=REQUEST)
    for number, score in enumerate(scores, 1):
        # Entities that are held out are answered better and better, which must decide nothing.
        metrics = {"validation_unseen_macro_auroc": number / 10}
        metrics |= {} if score is None else {"validation_macro_auroc": score}
        state = state.reported(Report(number, 0.5, metrics), patience=patience, last=False)
        state = State.model_validate_json(state.model_dump_json())
    assert (state.ended, state.best.samples_seen if state.best else None) == (ended, best)
    assert state.reported(Report(99, 0.5, {}), patience=0, last=True).ended == "steps"


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
    written(tmp_path, queries)
    changed = REQUEST.model_copy(
        update={section: {key: {"learning_rate": 0.5} if key == "training" else "other"}}
    )
    with pytest.raises(ConfigError, match=shown):
        checkpoints.read_state(str(tmp_path), changed)


@pytest.mark.parametrize("name", ["model.safetensors", "ema.safetensors", "optimizer.pt"])
def test_a_damaged_checkpoint_is_refused(queries: Queries, tmp_path: Path, name: str) -> None:  # noqa: F811
    written(tmp_path, queries)
    state = checkpoints.read_state(str(tmp_path), REQUEST)
    content = bytearray((tmp_path / name).read_bytes())
    content[-1] ^= 1
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=f"{name} is damaged.*delete its folder"):
        checkpoints.load_learner(str(tmp_path), state, learner(queries))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"\0" * 500, "full of NUL bytes"),
        (b'{"schema_version": 4, "request": {"stage": "pre', "no valid JSON"),
        (b"[]", "no JSON object"),
        (
            b'{"format": 2, "config": {}, "config_digest": "", "seed": 0}',
            "format 1, this version .* format 4",
        ),
        (b'{"schema_version": 4}', "request: Field required"),
        (b'{"schema_version": 5}', "format 5"),
    ],
)
def test_a_damaged_or_older_state_names_file_and_remedy(content: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "state.json").write_bytes(content)
    with pytest.raises(ConfigError, match=rf"state\.json.*{reason}.*delete its folder.*--new"):
        checkpoints.read_state(str(tmp_path), REQUEST)


def test_a_checkpoint_holds_no_code(queries: Queries, tmp_path: Path) -> None:  # noqa: F811
    written(tmp_path, queries)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"model.safetensors", "ema.safetensors", "optimizer.pt", "state.json"}
    assert torch.load(tmp_path / "optimizer.pt", weights_only=True)["state"]
