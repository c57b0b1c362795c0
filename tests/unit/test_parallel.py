"""Two workers of one run: copies, pieces of a batch and shards learn the same, with the same checkpoint."""

from __future__ import annotations

import os
import warnings
from dataclasses import replace
from functools import partialmethod
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from test_step import DIM, SAMPLES, batch

from supreme.config import Recipe
from supreme.manifest import Request
from supreme.objectives.make import make_task
from supreme.training.data.batch import Batch
from supreme.training.data.order import Stretch
from supreme.training.data.queries import Queries
from supreme.training.learner.learner import Learner
from supreme.training.learner.schedule import learning_rate
from supreme.training.run.checkpoint import Snapshot, State, load_learner, write

pytestmark = pytest.mark.unit

STEPS, WORKERS = 3, 2
#: A transformer: its normalisation does not depend on the other ECGs of a piece.
MODEL = {
    **{"encoder": "vit1d", "heads": 2, "patch": 20, "width": 8, "depth": 1, "dropout": 0.0},
    **{"fusion_width": 16, "fusion_depth": 1, "fusion_heads": 2},
}
TRAINING = {"precision": "fp32", "learning_rate": 0.01}
WAYS: dict[str, dict[str, Any]] = {
    "copies": {},
    "pieces": {"micro_batch": 4},
    "shards": {"sharding": "fsdp"},
    "shards and pieces": {"sharding": "fsdp", "micro_batch": 4},
    "compiled shards": {"sharding": "fsdp", "compile": True},
}
for objective in ("linear", "merl", "ked", "simclr"):
    asked = {"objective": objective}
    if objective == "simclr":
        asked["augment"] = {"gaussian_noise": {"sd_mv": 0.1}}
    WAYS |= {f"{objective}, copies": asked, f"{objective}, shards": {**asked, "sharding": "fsdp"}}
REQUEST = Request(stage="pretrain", config={})


def made(rank: int, seed: int = 0, **training: Any) -> Learner:
    embeddings = torch.randn(7, DIM, generator=torch.Generator().manual_seed(0))
    queries = Queries(
        embeddings, embeddings.mean(0), torch.eye(DIM), torch.tensor([0, 3, 4, 7]), embeddings[:2]
    )
    recipe = Recipe.model_validate({"name": "workers", "model": MODEL, "training": {**TRAINING, **training}})
    torch.manual_seed(seed)
    task = make_task(recipe, queries.known(), SAMPLES, torch.full((3,), 0.3))
    return Learner(task, recipe.training, queries, rate_hz=100, seed=0, rank=rank)


def told(number: int) -> Batch:
    """A batch with its embedded reports."""
    found, texts = batch(number), torch.Generator().manual_seed(number)
    return replace(found, reports=torch.randn(len(found.record_ids), DIM, generator=texts))


def worker(rank: int, folder: str) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    # Traced and differentiated as ever: only to make C++ of it would take a minute, and a compiler.
    os.environ["CXX"] = "true"
    torch.nn.Module.compile = partialmethod(torch.nn.Module.compile, backend="aot_eager")  # type: ignore[method-assign]
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=WORKERS)
    for way, training in WAYS.items():
        one = made(rank, **training)
        found = [one.step(told(2 * step + rank), step, step * 16, 100) for step in range(STEPS)]
        one.sync_batchnorm_buffers()
        # Each as often as it likes, as in validation: here only the second worker.
        validated = [one.ema.validate(one.validation_inputs(told(9)))] if rank else []
        snapshot = Snapshot.of(one)
        if rank == 0:
            state = State(request=REQUEST).advanced(Stretch(WORKERS, 8, STEPS), 400)
            write(f"{folder}/{way}", snapshot, state)
        dist.barrier()
        steps = [{name: step[name] for name in ("loss", "gradient_norm")} for step in found]
        torch.save({"steps": steps, "validated": validated}, f"{folder}/{way}/{rank}")
    # What copies wrote goes on as shards.
    state = State.model_validate_json(Path(f"{folder}/copies/state.json").read_text())
    one = made(rank, seed=5, sharding="fsdp")
    load_learner(f"{folder}/copies", state, one)
    one.step(batch(2 * STEPS + rank), STEPS, STEPS * 16, 100)
    whole = Snapshot.of(one)
    if rank == 0:
        torch.save(whole.model, f"{folder}/went on")
    dist.barrier()
    # DDP and gloo, taken down in order, may wait for each other for ever.
    os._exit(0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workers")
    for way in WAYS:
        (folder / way).mkdir()
    mp.spawn(worker, (str(folder),), WORKERS)
    return folder


def loaded(folder: Path, way: str) -> Any:
    """What a single worker takes from a checkpoint that two wrote."""
    one = made(0, seed=5, **WAYS[way] | {"sharding": "none", "compile": False})
    load_learner(str(folder / way), State.model_validate_json((folder / way / "state.json").read_text()), one)
    return one


def weights(one: Any) -> dict[str, torch.Tensor]:
    found = {**one.task.state_dict(), **{f"mean {k}": v for k, v in one.ema.state_dict().items()}}
    # A bias of the keys changes nothing: its gradient is the rounding of zero, which Adam makes large.
    return {name: value for name, value in found.items() if not name.endswith("key_value.bias")}


@pytest.mark.parametrize("way", WAYS)
def test_however_it_is_spread_two_workers_learn_the_same(folder: Path, way: str) -> None:
    objective, mark, _ = way.rpartition(", ")
    copies = f"{objective}{mark}copies"
    truth, found = loaded(folder, copies), loaded(folder, way)
    torch.testing.assert_close(weights(found), weights(truth), rtol=1e-4, atol=1e-6)
    assert [str(path.relative_to(folder / way)) for path in sorted((folder / way).iterdir())] == [
        *("0", "1", "ema.safetensors", "model.safetensors", "optimizer.pt", "state.json")
    ]
    for rank in range(WORKERS):
        expected, got = (torch.load(folder / name / str(rank)) for name in (copies, way))
        for one, other in zip(expected["steps"], got["steps"], strict=True):
            assert other == pytest.approx(one, rel=1e-4)
        torch.testing.assert_close(got["validated"], expected["validated"], rtol=1e-4, atol=1e-5)


def step_of_both(one: Any, step: int) -> None:
    """The step of two workers, by hand."""
    one.optimizer.zero_grad()
    for rank in range(WORKERS):
        (one.task(one.inputs(batch(2 * step + rank), step))[0] / WORKERS).backward()
    torch.nn.utils.clip_grad_norm_(one.task.parameters(), one.training.gradient_clip)
    for group in one.optimizer.param_groups:
        group["lr"] = learning_rate(one.training, step * 16, 100)
    one.optimizer.step()


def test_two_workers_learn_what_one_learns_from_both_batches(folder: Path) -> None:
    one = made(0)
    for step in range(STEPS):
        step_of_both(one, step)
    found = loaded(folder, "copies")
    found.ema = one.ema
    torch.testing.assert_close(weights(found), weights(one), rtol=1e-4, atol=1e-6)


def test_a_checkpoint_of_copies_goes_on_as_shards(folder: Path) -> None:
    one = loaded(folder, "copies")
    step_of_both(one, STEPS)
    found = loaded(folder, "copies")
    found.task.load_state_dict(torch.load(folder / "went on"))
    torch.testing.assert_close(weights(found), weights(one), rtol=1e-4, atol=1e-6)
