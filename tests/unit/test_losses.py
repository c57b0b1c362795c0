"""Losses against formulas written again in numpy, and what the uncertain pairs may and may not do."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from supreme import losses
from supreme.losses import entity_loss
from supreme.settings.training import Training

pytestmark = pytest.mark.unit

NAMES = get_args(Training.model_fields["loss"].annotation)
HANDLINGS = get_args(Training.model_fields["uncertain"].annotation)
BATCH, QUERIES = 16, 9


def _log_sigmoid(z: np.ndarray) -> np.ndarray:
    return -np.logaddexp(0, -z)


def _bce(z: np.ndarray, y: np.ndarray, rate: np.ndarray) -> np.ndarray:
    return -y * _log_sigmoid(z) - (1 - y) * _log_sigmoid(-z)


def _weighted_bce(z: np.ndarray, y: np.ndarray, rate: np.ndarray) -> np.ndarray:
    weight = np.minimum(20, np.maximum(1, (1 - rate) / np.maximum(rate, 1e-6)))
    return -weight * y * _log_sigmoid(z) - (1 - y) * _log_sigmoid(-z)


def _asymmetric(z: np.ndarray, y: np.ndarray, rate: np.ndarray) -> np.ndarray:
    shifted = np.maximum(1 / (1 + np.exp(-z)) - 0.05, 0)
    return -y * _log_sigmoid(z) - (1 - y) * shifted**2 * np.log(1 - shifted)


def _focal(z: np.ndarray, y: np.ndarray, rate: np.ndarray) -> np.ndarray:
    p = 1 / (1 + np.exp(-z))
    return (y * (1 - p) + (1 - y) * p) ** 2 * _bce(z, y, rate)


FORMULAS: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "bce": _bce,
    "weighted_bce": _weighted_bce,
    "asymmetric": _asymmetric,
    "focal": _focal,
}


def _draw(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits, present, uncertain (of which some are present as well) and the share of positives."""
    rng = np.random.default_rng(seed)
    logits = torch.tensor(rng.normal(0, 3, (BATCH, QUERIES)), dtype=torch.float32)
    present = torch.tensor(rng.random((BATCH, QUERIES)) < 0.3)
    uncertain = torch.tensor(rng.random((BATCH, QUERIES)) < 0.25)
    rate = torch.tensor(rng.choice([0.0, 0.001, 0.02, 0.3, 0.9, 1.0], QUERIES), dtype=torch.float32)
    return logits, present, uncertain, rate


@pytest.mark.parametrize("handling", HANDLINGS)
@pytest.mark.parametrize("name", NAMES)
def test_each_loss_is_its_formula(name: str, handling: str) -> None:
    logits, present, uncertain, rate = _draw()
    got = entity_loss(logits, present, uncertain, Training(loss=name, uncertain=handling), rate)
    unknown = uncertain.numpy() & ~present.numpy()
    assert unknown.any()
    assert (uncertain & present).any()
    target = present.numpy().astype(float)
    if handling == "soft":
        target[unknown] = 0.5
    pairs = FORMULAS[name](logits.double().numpy(), target, rate.double().numpy())
    expected = pairs.mean() if handling == "soft" else pairs[~unknown].mean()
    assert got.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_gradient_is_exact(name: str) -> None:
    logits, present, _, rate = _draw(1)
    inputs = logits[:4, :3].double().requires_grad_()
    target, shares = present[:4, :3].double(), rate[:3].double()
    assert torch.autograd.gradcheck(lambda z: losses._LOSSES[name](z, target, shares), (inputs,))


@pytest.mark.parametrize("name", NAMES)
def test_masked_pairs_have_no_gradient_and_no_say(name: str) -> None:
    logits, present, uncertain, rate = _draw(2)
    unknown = uncertain & ~present
    logits.requires_grad_()
    loss = entity_loss(logits, present, uncertain, Training(loss=name), rate)
    loss.backward()
    assert logits.grad is not None
    assert (logits.grad[unknown] == 0).all()
    assert (logits.grad[~unknown] != 0).float().mean() > 0.8
    other = torch.where(unknown, torch.full_like(logits, 7.0), logits.detach())
    assert entity_loss(other, present, uncertain, Training(loss=name), rate) == loss


@pytest.mark.parametrize("name", ["bce", "focal"])
def test_soft_target_pulls_to_one_half(name: str) -> None:
    logits = torch.tensor([[-3.0, 0.0, 3.0]], requires_grad=True)
    nothing, unsure = torch.zeros(1, 3, dtype=torch.bool), torch.ones(1, 3, dtype=torch.bool)
    entity_loss(
        logits, nothing, unsure, Training(loss=name, uncertain="soft"), torch.full((3,), 0.1)
    ).backward()
    assert logits.grad is not None
    low, middle, high = logits.grad[0].tolist()
    assert low < 0 < high
    assert middle == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("handling", HANDLINGS)
@pytest.mark.parametrize("name", NAMES)
def test_present_wins_over_uncertain(name: str, handling: str) -> None:
    logits, present, _, rate = _draw(3)
    training = Training(loss=name, uncertain=handling)
    certain = entity_loss(logits, present, torch.zeros_like(present), training, rate)
    assert entity_loss(logits, present, present.clone(), training, rate) == certain


@pytest.mark.parametrize("name", NAMES)
def test_no_positive_at_all_is_finite_and_pushes_down(name: str) -> None:
    logits, present, uncertain, _ = _draw(4)
    logits.requires_grad_()
    nothing = torch.zeros_like(present)
    loss = entity_loss(logits, nothing, uncertain, Training(loss=name), torch.zeros(QUERIES))
    loss.backward()
    assert logits.grad is not None
    assert torch.isfinite(loss)
    assert (logits.grad >= 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_nothing_known_is_a_zero_without_gradient(name: str) -> None:
    logits, present, _, rate = _draw(5)
    logits.requires_grad_()
    nothing = torch.zeros_like(present)
    loss = entity_loss(logits, nothing, ~nothing, Training(loss=name), rate)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("name", NAMES)
@given(scale=st.sampled_from([0.0, 1.0, 80.0, 1e4]), half=st.booleans())
@settings(max_examples=12, deadline=None)
def test_finite_for_any_logit(name: str, scale: float, half: bool) -> None:
    """A wrong answer of any confidence costs a finite loss with a finite gradient, also from bfloat16."""
    logits, present, uncertain, rate = _draw(6)
    pushed = (scale * torch.sign(logits)).to(torch.bfloat16 if half else torch.float32).requires_grad_()
    loss = entity_loss(pushed, present, uncertain, Training(loss=name), rate)
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert pushed.grad is not None
    assert torch.isfinite(pushed.grad).all()


def test_rare_positives_weigh_more_up_to_a_limit() -> None:
    logits, present = torch.zeros(1, 3), torch.ones(1, 3, dtype=torch.bool)
    none = torch.zeros_like(present)
    weights = [
        entity_loss(logits, present, none, Training(loss="weighted_bce"), torch.full((3,), rate)).item()
        / float(np.log(2))
        for rate in (0.75, 0.5, 0.1, 1e-9)
    ]
    assert weights == pytest.approx([1, 1, 9, 20], rel=1e-4)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (4, 0)])
def test_one_record_and_no_entity_are_finite(name: str, shape: tuple[int, int]) -> None:
    logits, none = torch.ones(shape, requires_grad=True), torch.zeros(shape, dtype=torch.bool)
    loss = entity_loss(logits, none, none, Training(loss=name), torch.zeros(shape[1]))
    loss.backward()
    assert torch.isfinite(loss)
    assert (loss > 0) == (logits.numel() > 0)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def _unit(row: np.ndarray) -> np.ndarray:
    return row / math.sqrt(sum(value * value for value in row))


def _pick(similarities: list[float], chosen: int) -> float:
    """-log of the softmax at ``chosen``."""
    return math.log(sum(math.exp(value) for value in similarities)) - similarities[chosen]


def _clip(ecg: np.ndarray, report: np.ndarray, temperature: float) -> float:
    """CLIP, figure 3: cross-entropy over rows and over columns of the scaled cosines, halved."""
    n, total = len(ecg), 0.0
    for i in range(n):
        row = [_unit(ecg[i]) @ _unit(report[k]) / temperature for k in range(n)]
        column = [_unit(ecg[k]) @ _unit(report[i]) / temperature for k in range(n)]
        total += (_pick(row, i) + _pick(column, i)) / n
    return total / 2


def _nt_xent(first: np.ndarray, second: np.ndarray, temperature: float) -> float:
    """SimCLR, eq. 1, algorithm 1: views 2k - 1 and 2k are of one record; none is compared with itself."""
    views = [_unit(view) for pair in zip(first, second, strict=True) for view in pair]
    total = 0.0
    for i, view in enumerate(views):
        others = [k for k in range(len(views)) if k != i]
        partner = i + 1 if i % 2 == 0 else i - 1
        total += _pick([view @ views[k] / temperature for k in others], others.index(partner))
    return total / len(views)


def _ked(ecg: np.ndarray, report: np.ndarray, present: np.ndarray, temperature: float) -> float:
    """For each finding, all pairs of records that have it; a record's pairs weigh one together."""
    n, total = len(ecg), 0.0
    found = [i for i in range(n) if present[i].any()]
    for i in found:
        pairs = [k for finding in np.flatnonzero(present[i]) for k in np.flatnonzero(present[:, finding])]
        row = [_unit(ecg[i]) @ _unit(report[k]) / temperature for k in range(n)]
        column = [_unit(ecg[k]) @ _unit(report[i]) / temperature for k in range(n)]
        total += sum(_pick(row, k) + _pick(column, k) for k in pairs) / 2 / len(pairs)
    return total / max(len(found), 1)


CONTRASTS: dict[str, tuple[Callable[..., torch.Tensor], Callable[..., float]]] = {
    "pair": (losses.pair_contrast, _clip),
    "view": (losses.view_contrast, _nt_xent),
    "finding": (losses.finding_contrast, _ked),
}


def _pairs(name: str, count: int, seed: int = 0) -> list[torch.Tensor]:
    rng = np.random.default_rng(seed)
    rows = [torch.tensor(rng.normal(0, 2, (count, 4))) for _ in range(2)]
    if name == "finding":
        present = torch.tensor(rng.random((count, 6)) < 0.4)
        present[0] = False
        rows.append(present)
    return rows


@pytest.mark.parametrize("temperature", [0.07, 0.5])
@pytest.mark.parametrize("name", CONTRASTS)
def test_each_contrast_is_its_formula(name: str, temperature: float) -> None:
    loss, formula = CONTRASTS[name]
    rows = _pairs(name, 7)
    expected = formula(*(row.numpy() for row in rows), temperature)
    assert loss(*rows, temperature).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", CONTRASTS)
def test_gradient_of_a_contrast_is_exact(name: str) -> None:
    first, second, *rest = _pairs(name, 5, seed=1)
    inputs = (first.requires_grad_(), second.requires_grad_())
    assert torch.autograd.gradcheck(lambda *rows: CONTRASTS[name][0](*rows, *rest, 0.3), inputs)


@pytest.mark.parametrize("name", CONTRASTS)
@pytest.mark.parametrize("count", [1, 2])
def test_a_contrast_of_few_records_is_finite(name: str, count: int) -> None:
    """One record alone has nothing to be told from: its loss is zero, without a gradient."""
    first, second, *rest = _pairs(name, count, seed=2)
    loss = CONTRASTS[name][0](first.requires_grad_(), second.requires_grad_(), *rest, 0.07)
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(row.grad).all() for row in (first, second) if row.grad is not None)
    if count == 1:
        assert loss.item() == pytest.approx(0, abs=1e-12)
        assert first.grad is not None
        assert first.grad.abs().max() < 1e-9


def test_without_any_finding_nothing_is_contrasted() -> None:
    ecg, report, present = _pairs("finding", 4)
    ecg.requires_grad_()
    loss = losses.finding_contrast(ecg, report, torch.zeros_like(present), 0.07)
    loss.backward()
    assert loss == 0
    assert ecg.grad is not None
    assert (ecg.grad == 0).all()


def test_who_shares_findings_is_drawn_together() -> None:
    """Records 0 and 1 have the same finding, 2 another one: what is near its own kind costs less."""
    present = torch.tensor([[1, 0], [1, 0], [0, 1]]).bool()
    sorted_out = torch.tensor([[1.0, 0], [1, 0], [0, 1]])
    mixed = torch.tensor([[1.0, 0], [0, 1], [1, 0]])
    good = losses.finding_contrast(sorted_out, sorted_out, present, 0.1)
    assert good < losses.finding_contrast(mixed, sorted_out, present, 0.1)
    # Two equal records share the probability: the pairwise loss cannot fall below half of log 2 each.
    assert good.item() == pytest.approx(math.log(2) * 2 / 3, abs=1e-3)
