"""Every objective: what it learns, what it is blind to, and that workers together are one."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import report_shards
import torch
import torch.distributed as dist
import training_data
from torch import Tensor

from supreme import config
from supreme.models.supreme import SupremeModel
from supreme.objectives.make import OBJECTIVES, make_task
from supreme.objectives.task import PRESENT, UNCERTAIN, Inputs, Task
from supreme.reports.extract import Mention
from supreme.reports.label_table import combine, read_vocabulary
from supreme.reports.vocabulary import load_base
from supreme.shards.read import ShardDataset
from supreme.text import Whitening
from supreme.training.data.batch import to_batch
from supreme.training.data.corpus import Corpus
from supreme.training.data.labels import LabelMatrix, positive_rate
from supreme.training.data.order import Order
from supreme.training.data.queries import Queries
from supreme.training.data.reports import Reports
from supreme.training.data.sources import shard_folders
from supreme.training.learner.learner import Learner
from supreme.training.learner.validation import validate

pytestmark = pytest.mark.unit

DIM, SAMPLES, ENTITIES = 24, 100, 5
NOISE = {"gaussian_noise": {"sd_mv": 0.05}}


class Words:
    """A text encoder that knows words only: each is a direction, a text their sum."""

    id, digest, dim = "words", "words", DIM

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        rows = np.stack(
            [sum((_direction(word) for word in text.lower().split()), np.zeros(DIM)) for text in texts]
        )
        return (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)).astype(np.float32)


def _direction(word: str) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(word.strip(".,()").encode()).digest()[:4], "big")
    return np.random.default_rng(seed).standard_normal(DIM)


def recipe(
    objective: str, root: Path = Path("nowhere"), model: dict[str, Any] | None = None, **training: Any
) -> config.Recipe:
    augment = NOISE if objective == "simclr" else {}
    made = training_data.recipe(root, objective=objective, augment=augment, precision="fp32", **training)
    changes = {"encoder": "vit1d", "depth": 1, "heads": 2, "patch": 20, **(model or {})}
    return config.parse(made.model_dump() | {"model": made.model.model_dump() | changes})


def task(objective: str, seed: int = 0, **changes: Any) -> Task:
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(1)
    known = (torch.randn(ENTITIES + 2, DIM, generator=generator), torch.tensor([0, 1, 1, 2, 3, 4, 4]))
    return make_task(recipe(objective, **changes), known, SAMPLES, torch.full((ENTITIES,), 0.3))


def inputs(made: Task, count: int = 6, seed: int = 0) -> Inputs:
    generator = torch.Generator().manual_seed(seed)
    views = [0.5 * torch.randn(count, 12, SAMPLES, generator=generator) for _ in range(made.views)]
    codes = torch.randint(0, 3, (count, ENTITIES), generator=generator).to(torch.int8)
    queries = torch.randn(ENTITIES, DIM, generator=generator)
    reports = torch.randn(count, DIM, generator=generator) if made.reads_reports else None
    return Inputs(tuple(views), codes, queries, seed=3, reports=reports)


def part(whole: Inputs, rows: slice) -> Inputs:
    reports = None if whole.reports is None else whole.reports[rows]
    return replace(whole, views=tuple(v[rows] for v in whole.views), codes=whole.codes[rows], reports=reports)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_weight_has_a_gradient(objective: str) -> None:
    """Otherwise it is not learned, and workers that share gradients wait for it forever."""
    made = task(objective, model={"encoder": "resnet1d"}).train()
    loss, parts = made(inputs(made))
    loss.backward()
    assert loss.ndim == 0
    assert not any(value.requires_grad for value in parts.values())
    assert [n for n, p in made.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []
    if parts:
        assert loss.item() == pytest.approx(sum(value.item() for value in parts.values()))


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_poor_batches_give_a_finite_loss_and_gradient(objective: str, precision: str) -> None:
    """One record, nothing labelled, nothing recorded, a lead that is lost."""
    made = task(objective).train()
    whole = inputs(made)
    lost = tuple(view.clone() for view in whole.views)
    for view in lost:
        view[:, 3] = 0
    silent = tuple(torch.zeros_like(view) for view in whole.views)
    for poor in (
        part(whole, slice(0, 1)),
        replace(whole, codes=torch.zeros_like(whole.codes)),
        replace(whole, codes=torch.full_like(whole.codes, UNCERTAIN)),
        replace(whole, views=silent),
        replace(whole, views=lost),
    ):
        made.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss, _ = made(poor)
        loss.backward()
        assert torch.isfinite(loss)
        assert all(torch.isfinite(p.grad).all() for p in made.parameters() if p.grad is not None)


@pytest.mark.parametrize("objective", ["supreme", "linear", "merl"])
def test_a_score_does_not_depend_on_what_else_is_asked(objective: str) -> None:
    made = task(objective).eval()
    whole = inputs(made)
    with torch.no_grad():
        together = made.model(whole.views[0], whole.queries)
        alone = torch.cat([made.model(whole.views[0], query[None]) for query in whole.queries], 1)
    torch.testing.assert_close(alone, together, rtol=0, atol=2e-6)


def test_ked_asks_its_queries_together() -> None:
    made = task("ked").eval()
    assert isinstance(made.model, SupremeModel)
    assert made.model.config.query_self_attention
    whole = inputs(made)
    with torch.no_grad():
        together, alone = (made.model(whole.views[0], asked) for asked in (whole.queries, whole.queries[:1]))
    assert (together[:, :1] - alone).abs().max() > 1e-4


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_gradient_reaches_the_ecg_whole(objective: str) -> None:
    """Against a difference quotient: nothing is detached on the way through encoder, head and loss."""
    made = task(objective, model={"dropout": 0.0}).eval()
    whole = inputs(made, count=3)
    directions = [torch.randn(view.shape, generator=torch.Generator().manual_seed(5)) for view in whole.views]

    def loss(step: Tensor) -> Tensor:
        moved = zip(whole.views, directions, strict=True)
        found, _ = made(replace(whole, views=tuple(view + step * way for view, way in moved)))
        return found

    at = torch.zeros((), requires_grad=True)
    (found,) = torch.autograd.grad(loss(at), at)
    with torch.no_grad():
        slope = (loss(torch.tensor(1e-2)) - loss(torch.tensor(-1e-2))) / 2e-2
    assert found.item() == pytest.approx(slope.item(), rel=0.02, abs=2e-4)
    assert abs(slope.item()) > 1e-3


def test_sampled_queries_are_the_same_on_all_workers_and_another_set_each_step() -> None:
    made = task("supreme", sampled_queries=2)
    whole = inputs(made)
    sets = [tuple(sorted(made.sampled_entities(replace(whole, seed=seed)).tolist())) for seed in range(200)]
    assert sets[7] == tuple(sorted(made.sampled_entities(replace(part(whole, slice(2)), seed=7)).tolist()))
    pairs = list(itertools.combinations(range(ENTITIES), 2))
    assert set(sets) == set(pairs)
    assert min(map(sets.count, pairs)) > 5


def test_the_loss_of_sampled_queries_is_on_average_that_of_all() -> None:
    """Positives have no preference: preferring them would move every score up."""
    made = task("supreme", sampled_queries=2, loss="weighted_bce", uncertain="soft").eval()
    whole = inputs(made)
    by_set: dict[tuple[int, ...], float] = {}
    with torch.no_grad():
        everything = made.validate(whole)[0].item()
        for seed in range(60):
            chosen = replace(whole, seed=seed)
            by_set[tuple(sorted(made.sampled_entities(chosen).tolist()))] = made(chosen)[0].item()
    assert len(by_set) == 10, "every pair of five entities"
    assert np.mean(list(by_set.values())) == pytest.approx(everything, rel=1e-5)
    assert np.std(list(by_set.values())) > 1e-3


@pytest.mark.parametrize("propagate", [True, False])
def test_a_parent_of_a_present_finding_is_asked_for_as_the_switch_says(propagate: bool) -> None:
    family = load_base().subset(["bundle_branch_block", "left_bundle_branch_block"])
    mention = Mention("left_bundle_branch_block", "present", "", "", 0, 24)
    labels = combine([mention], family, propagate=propagate)
    codes = torch.tensor([[PRESENT if entity in labels.present else 0 for entity in family.ids]]).to(
        torch.int8
    )
    made = make_task(
        recipe("supreme"), (torch.randn(2, DIM), torch.arange(2)), SAMPLES, torch.full((2,), 0.3)
    )
    logits = torch.zeros(1, 2, requires_grad=True)
    made.logits = lambda tokens, queries: logits
    loss, _ = made(Inputs((torch.zeros(1, 12, SAMPLES),), codes, torch.randn(2, DIM), seed=0))
    loss.backward()
    up = dict(zip(family.ids, (logits.grad[0] < 0).tolist(), strict=True))
    assert up == {"bundle_branch_block": propagate, "left_bundle_branch_block": True}


def test_a_contrast_over_two_workers_has_the_gradient_of_one_with_all_records(tmp_path: Path) -> None:
    """Under DDP's mean, each worker with half of the batch; supreme is there to show what a mean gives."""
    names = ["supreme", "merl", "ked", "simclr"]
    torch.multiprocessing.spawn(_worker, (str(tmp_path), names), nprocs=2)
    for name in names:
        made = _comparable(name)
        loss, _ = made(_certain(inputs(made)))
        loss.backward()
        together = torch.load(tmp_path / f"{name}.pt", weights_only=True)
        assert together["loss"] == pytest.approx(loss.item(), rel=1e-5)
        for weight, parameter in made.named_parameters():
            expected = parameter.grad
            assert expected is not None
            scale = expected.abs().max().clamp(min=1e-6)
            assert (together[weight] - expected).abs().max() < 1e-4 * scale, f"{name} {weight}"


def _comparable(name: str) -> Task:
    """Without what workers do not share: dropout and batch statistics."""
    made = task(name).train()
    for module in made.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return made


def _certain(whole: Inputs) -> Inputs:
    """As many pairs that count on each worker, every record with a finding: what a mean of means assumes."""
    return replace(
        whole, codes=(torch.arange(6)[:, None] % ENTITIES == torch.arange(ENTITIES)).to(torch.int8)
    )


def _worker(rank: int, folder: str, names: list[str]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    for name in names:
        made = _comparable(name)
        wrapped = torch.nn.parallel.DistributedDataParallel(made)
        loss, _ = wrapped(part(_certain(inputs(made)), slice(3 * rank, 3 * rank + 3)))
        loss.backward()
        mean = loss.detach() / 2
        dist.all_reduce(mean)
        if rank == 0:
            torch.save(
                {n: p.grad for n, p in made.named_parameters()} | {"loss": mean.item()}, f"{folder}/{name}.pt"
            )
    dist.barrier()
    # DDP and gloo, taken down in order, may wait for each other for ever.
    os._exit(0)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("objectives")
    training_data.write(training_data.recipe(folder))
    return folder


def trained(made: config.Recipe, steps: int) -> tuple[list[float], dict[str, float]]:
    """Loss of each step, and what validation says in the end."""
    training, vocabulary = made.training, read_vocabulary(made.folder("labels"))
    corpus = Corpus.open(shard_folders(made), "train")
    labels = LabelMatrix.read(made.folder("labels"), vocabulary.ids)
    queries = Queries.embed(vocabulary, Words(), 0.1, None)
    needs = OBJECTIVES[training.objective].reads_reports
    cache = f"{made.root}/cache"
    reports = Reports.embed(corpus.shards, Words(), queries.whitening, cache) if needs else None
    torch.manual_seed(0)
    learner = Learner(
        make_task(made, queries.known(), corpus.samples, positive_rate(labels.codes)),
        training,
        queries,
        seed=0,
        rate_hz=made.shards.rate_hz,
    )
    order = Order(corpus.sizes, 0, 1, training.batch_size)
    table = corpus.read_steps(order, 0, 0, steps)
    losses = []
    for step in range(steps):
        rows = table.slice(step * training.batch_size, training.batch_size)
        batch = to_batch(rows, corpus.samples, labels, reports)
        losses.append(learner.step(batch, step, step, steps)["loss"])
    held_out = Corpus.open(shard_folders(made), "validation")
    return losses, validate(learner, held_out, labels, reports=reports)


@pytest.mark.parametrize("objective", ["supreme", "linear", "merl", "ked"])
def test_what_was_planted_is_found_by_its_name(objective: str, root: Path) -> None:
    made = recipe(objective, root, {"encoder": "resnet1d"}, batch_size=32, learning_rate=0.005, ema_decay=0.9)
    losses, found = trained(made, steps=55)
    assert found["validation_macro_auroc"] > 0.8
    assert np.mean(losses[-10:]) < np.mean(losses[:10])
    assert np.isfinite(found["validation_loss"])


def test_simclr_tells_the_views_of_a_record_from_others(root: Path) -> None:
    made = recipe("simclr", root, batch_size=32, learning_rate=0.005, ema_decay=0.9)
    losses, found = trained(made, steps=30)
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:3])
    assert set(found) == {"validation_loss"}
    assert found["validation_loss"] < np.mean(losses[:3])


def test_reports_are_found_by_record_and_read_again(root: Path, tmp_path: Path) -> None:
    made = training_data.recipe(root)
    plain = Whitening(np.zeros(DIM, np.float32), np.eye(DIM, dtype=np.float32))
    shards = Corpus.open(shard_folders(made), "train").shards
    reports = Reports.embed(shards, Words(), plain, str(tmp_path / "cache"))
    assert len(reports.embeddings) <= 16, "four findings, so sixteen different reports"
    assert len(reports.rows) == sum(training_data.SPLITS.values())
    reports.write(str(tmp_path / "reports.safetensors"))
    again = Reports.read(str(tmp_path / "reports.safetensors"))
    assert again.rows == reports.rows
    table = Corpus.open(shard_folders(made), "train").read(0, ("record_id", "report"))
    expected = plain.apply(Words().encode(table.column("report").to_pylist()))
    np.testing.assert_allclose(again.of(table.column("record_id").to_pylist()), expected, atol=4e-3)


def test_reports_are_embedded_once_without_the_labels_that_leaked_into_them(tmp_path: Path) -> None:
    shards = report_shards.write(
        tmp_path / "shards",
        [
            ("train", "sinus rhythm. normal ecg. Edit: NORM 100, SR 0"),
            ("validation", "sinus rhythm\nnormal ecg"),
            ("test", "never read"),
            ("train", ""),
        ],
    )
    plain = Whitening(np.zeros(DIM, np.float32), np.eye(DIM, dtype=np.float32))
    reports = Reports.embed([ShardDataset.open(shards)], Words(), plain, str(tmp_path / "cache"))
    assert reports.rows == {"t/0": 0, "t/1": 0, "t/3": 1}
    silent = report_shards.write(tmp_path / "silent", [("train", ""), ("validation", "")])
    with pytest.raises(config.ConfigError, match=r"no record has a report.*training\.objective"):
        Reports.embed([ShardDataset.open(silent)], Words(), plain, str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("training", "reason"),
    [
        ({"objective": "simclr"}, r"without training\.augment"),
        ({"objective": "merl", "sampled_queries": 8}, "for supreme and ked, not for merl"),
        ({"objective": "linear", "sampled_queries": 8}, "not for linear"),
    ],
)
def test_what_does_not_fit_the_objective_is_refused(training: dict[str, Any], reason: str) -> None:
    with pytest.raises(config.ConfigError, match=reason):
        config.parse({"training": training})
