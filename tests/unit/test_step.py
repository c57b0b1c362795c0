"""One step: what is drawn, what is refused, what is averaged, and that it learns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import mannwhitneyu

from supreme.models.supreme import SupremeModel
from supreme.objectives.supreme import Supreme
from supreme.objectives.task import PRESENT, UNCERTAIN
from supreme.settings.model import Model
from supreme.settings.training import Training
from supreme.training.data.batch import Batch
from supreme.training.data.labels import positive_rate
from supreme.training.data.queries import Queries
from supreme.training.learner.finite import TrainingStopped
from supreme.training.learner.learner import Learner
from supreme.training.learner.random import draw_phrasings
from supreme.training.learner.schedule import learning_rate, make_optimizer
from supreme.training.learner.validation import auroc
from supreme.training.run.checkpoint import weights_digest

pytestmark = pytest.mark.unit

DIM, SAMPLES = 6, 100
NOISE = {"gaussian_noise": {"sd_mv": 0.05}}


@pytest.fixture
def queries() -> Queries:
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(7, DIM, generator=generator)
    return Queries(embeddings, embeddings.mean(0), torch.eye(DIM), torch.tensor([0, 3, 4, 7]))


def learner(
    queries: Queries,
    seed: int = 0,
    dropout: float = 0.1,
    rank: int = 0,
    model: dict[str, object] | None = None,
    **training: object,
) -> Learner:
    torch.manual_seed(seed)
    small = {"width": 8, "depth": 1, "fusion_width": 16, "fusion_depth": 1, "fusion_heads": 2}
    made = SupremeModel(Model.model_validate({**small, "dropout": dropout, **(model or {})}), DIM, SAMPLES)
    chosen = Training.model_validate({"precision": "fp32", "learning_rate": 0.01, **training})
    task = Supreme(made, chosen, torch.full((3,), 0.3))
    return Learner(task, chosen, queries, rate_hz=100, seed=seed, rank=rank)


def batch(step: int = 0) -> Batch:
    rng = np.random.default_rng(step)
    codes = rng.integers(0, 3, (8, 3)).astype(np.int8)
    signal = 100 * rng.standard_normal((8, 12, SAMPLES))
    # Louder, not higher: the model takes out the baseline.
    signal *= 1 + 8 * (codes == PRESENT)[:, :, None].repeat(4, axis=1)
    ids = [f"x/{step}-{i}" for i in range(8)]
    return Batch(ids, torch.from_numpy(signal.astype(np.int16)), torch.from_numpy(codes))


def test_the_same_steps_give_bit_identical_weights_whatever_was_drawn_before(queries: Queries) -> None:
    one, two = learner(queries, augment=NOISE), learner(queries, augment=NOISE)
    for step in range(3):
        one.step(batch(step), step, step * 8, 100)
    torch.rand(17)
    for step in range(3):
        two.step(batch(step), step, step * 8, 100)
    assert weights_digest(one.task) == weights_digest(two.task)
    assert weights_digest(one.ema) == weights_digest(two.ema)
    assert weights_digest(one.ema) != weights_digest(one.task)


@pytest.mark.parametrize(("dropout", "augment"), [(0.3, {}), (0.0, NOISE)])
def test_dropout_and_augmentation_differ_between_workers_and_steps(
    queries: Queries, dropout: float, augment: dict[str, object]
) -> None:
    one_phrasing = replace(queries, offsets=torch.tensor([0, 1, 2, 3]))

    def loss(rank: int, step: int) -> float:
        made = learner(one_phrasing, dropout=dropout, augment=augment)
        made.rank = rank
        return made.step(batch(), step, 0, 100)["loss"]

    assert len({loss(0, 0), loss(1, 0), loss(0, 1)}) == 3
    assert loss(0, 0) == loss(0, 0)


def test_it_learns(queries: Queries) -> None:
    made = learner(queries, warmup_fraction=0.0)
    # So many that it does whatever the machine's rounding: ten seeds come to 0.0 to 0.3.
    losses = [made.step(batch(step % 4), step, step * 8, 240 * 8)["loss"] for step in range(240)]
    assert np.mean(losses[-8:]) < 0.5 * np.mean(losses[:4])


def test_each_phrasing_of_an_entity_is_drawn_about_equally_often(queries: Queries) -> None:
    drawn = torch.stack([draw_phrasings(queries.offsets, 0, step) for step in range(900)])
    assert (drawn[:, 1] == 3).all()
    for column, first in ((0, 0), (2, 4)):
        counts = torch.bincount(drawn[:, column] - first, minlength=3)
        assert counts.sum() == 900
        assert counts.min() > 240
    assert torch.equal(draw_phrasings(queries.offsets, 0, 5), drawn[5])
    assert not torch.equal(drawn[:, 0], drawn[:, 2] - 4)


@pytest.mark.parametrize("poison", ["loss", "loss alone", "gradient"])
def test_not_finite_stops_before_the_update_and_names_the_records(
    queries: Queries, poison: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = learner(queries)
    before = [parameter.detach().clone() for parameter in made.task.parameters()]
    if poison == "loss":
        made.embeddings[:] = torch.nan
    elif poison == "loss alone":  # its gradient is finite
        forward = made.task.forward
        monkeypatch.setattr(made.task, "forward", lambda piece: (forward(piece)[0] + torch.inf, {}))
    else:
        next(made.task.parameters()).register_hook(lambda gradient: gradient * torch.inf)
    with pytest.raises(TrainingStopped, match=r"step 4 .*x/9-0.*x/9-7"):
        made.step(batch(9), 4, 0, 100)
    assert all(map(torch.equal, before, made.task.parameters()))
    assert not made.optimizer.state


def test_learning_rate_warms_up_and_falls_to_nothing() -> None:
    training = Training(learning_rate=0.5, warmup_fraction=0.1)
    rates = [learning_rate(training, samples, 1000) for samples in (0, 50, 100, 550, 1000, 1100)]
    assert rates == pytest.approx([0, 0.25, 0.5, 0.25, 0, 0])


def test_no_weight_decay_on_vectors(queries: Queries) -> None:
    made = learner(queries, weight_decay=0.3)
    decayed, plain = make_optimizer(made.task, made.training).param_groups
    assert decayed["weight_decay"] == 0.3
    assert plain["weight_decay"] == 0
    assert all(p.ndim > 1 for p in decayed["params"])
    assert all(p.ndim <= 1 for p in plain["params"])
    assert len(decayed["params"]) + len(plain["params"]) == len(list(made.task.parameters()))


def test_averaged_weights_follow_the_recurrence(queries: Queries) -> None:
    made = learner(queries, ema_decay=0.5)
    name = next(iter(dict(made.task.named_parameters())))
    expected = dict(made.task.named_parameters())[name].detach().clone()
    for step in range(12):
        made.step(batch(step), step, step * 8, 200)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * dict(made.task.named_parameters())[name].detach()
    torch.testing.assert_close(dict(made.ema.named_parameters())[name], expected)


def test_auroc_equals_the_u_statistic_and_leaves_uncertain_out() -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 9, (200, 3)).astype(float)
    codes = rng.integers(0, 3, (200, 3)).astype(np.int8)
    codes[:, 2] = 0
    found = auroc(scores, codes)
    for column in range(2):
        positive = scores[codes[:, column] == PRESENT, column]
        negative = scores[codes[:, column] == 0, column]
        expected = mannwhitneyu(positive, negative).statistic / len(positive) / len(negative)
        assert found[column] == pytest.approx(expected)
    assert np.isnan(found[2])


def test_positive_rate_leaves_uncertain_out() -> None:
    codes = np.array([[PRESENT, 0], [UNCERTAIN, UNCERTAIN], [0, UNCERTAIN], [PRESENT, 0]], np.int8)
    torch.testing.assert_close(positive_rate(codes), torch.tensor([2 / 3, 0.0]))
