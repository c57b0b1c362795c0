"""Encoders, fusion network, joined model: shapes, independence of queries, exact gradients, frozen output."""

from __future__ import annotations

import json
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from supreme.config import Model
from supreme.models.fusion import CardiacFusionNetwork
from supreme.models.resnet1d import STRIDE, ResNet1d
from supreme.models.supreme import SupremeModel, without_baseline
from supreme.models.vit1d import ViT1d

pytestmark = pytest.mark.unit

RATE_HZ, SAMPLES, TEXT_DIM = 100, 200, 10
ENCODERS = ("resnet1d", "vit1d")
SMALL = {
    "width": 8,
    "depth": 1,
    "heads": 2,
    "patch": 20,
    "fusion_width": 16,
    "fusion_depth": 2,
    "fusion_heads": 2,
}


def _model(encoder: str = "resnet1d", **changes: Any) -> SupremeModel:
    torch.manual_seed(0)
    config = Model.model_validate({"encoder": encoder, **SMALL, **changes})
    return SupremeModel(config, TEXT_DIM, SAMPLES).eval()


def _ecgs(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 12, SAMPLES, generator=torch.Generator().manual_seed(seed))


def _queries(count: int, seed: int = 1) -> Tensor:
    return torch.randn(count, TEXT_DIM, generator=torch.Generator().manual_seed(seed))


@given(samples=st.integers(32, 400), width=st.sampled_from([4, 6]), depth=st.integers(1, 2))
@settings(max_examples=15, deadline=None)
def test_resnet_makes_one_token_per_stride(samples: int, width: int, depth: int) -> None:
    encoder = ResNet1d(Model(width=width, depth=depth)).eval()
    with torch.no_grad():
        tokens = encoder(torch.zeros(2, 12, samples))
    assert tokens.shape == (2, math.ceil(samples / STRIDE), 8 * width)
    assert encoder.width == 8 * width


@given(tokens=st.integers(1, 12), patch=st.sampled_from([5, 25]))
@settings(max_examples=10, deadline=None)
def test_vit_makes_one_token_per_patch(tokens: int, patch: int) -> None:
    encoder = ViT1d(Model(encoder="vit1d", width=12, heads=3, patch=patch), tokens * patch).eval()
    with torch.no_grad():
        assert encoder(torch.zeros(2, 12, tokens * patch)).shape == (2, tokens, 12)


def test_vit_refuses_a_patch_that_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"model\.patch=30 does not divide the 200"):
        _model("vit1d", patch=30)


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="width 16 is not a multiple of 3 heads"):
        _model(fusion_heads=3)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_one_logit_for_each_ecg_and_query(encoder: str) -> None:
    model = _model(encoder)
    for batch, queries in ((1, 1), (3, 7)):
        logits = model(_ecgs(batch), _queries(queries))
        assert logits.shape == (batch, queries)
        assert logits.dtype == torch.float32


@pytest.mark.parametrize("encoder", ENCODERS)
def test_an_ecg_is_scored_alone_as_in_a_batch(encoder: str) -> None:
    model, ecgs, queries = _model(encoder), _ecgs(4), _queries(3)
    with torch.no_grad():
        together = model(ecgs, queries)
        alone = torch.cat([model(ecg[None], queries) for ecg in ecgs])
    assert torch.allclose(together, alone, atol=1e-5)
    assert together.std(0).min() > 1e-4, "ECGs differ, so must their scores"


@pytest.mark.parametrize("encoder", ENCODERS)
def test_score_does_not_depend_on_what_else_is_asked(encoder: str) -> None:
    model, ecgs, queries = _model(encoder), _ecgs(3), _queries(9)
    order = torch.tensor([4, 0, 8, 2, 6, 1, 7, 3, 5])
    with torch.no_grad():
        together = model(ecgs, queries)
        alone = torch.cat([model(ecgs, query[None]) for query in queries], dim=1)
        shuffled = model(ecgs, queries[order])
    assert torch.allclose(alone, together, atol=1e-6)
    assert torch.allclose(shuffled, together[:, order], atol=1e-6)
    assert together.std(1).min() > 1e-3, "queries differ, so must their scores"


def test_with_self_attention_it_does_but_not_on_the_order() -> None:
    model, ecgs, queries = _model(query_self_attention=True), _ecgs(3), _queries(9)
    order = torch.arange(8, -1, -1)
    with torch.no_grad():
        together = model(ecgs, queries)
        alone = torch.cat([model(ecgs, query[None]) for query in queries], dim=1)
        assert (alone - together).abs().max() > 1e-3
        assert torch.allclose(model(ecgs, queries[order]), together[:, order], atol=1e-5)


def _fusion(**changes: Any) -> CardiacFusionNetwork:
    torch.manual_seed(0)
    tiny = {"fusion_width": 4, "fusion_depth": 1, "fusion_heads": 2, "dropout": 0.0, **changes}
    return CardiacFusionNetwork(Model.model_validate(tiny), token_width=5, text_width=3, tokens=4).double()


@pytest.mark.parametrize("among", [False, True])
def test_fusion_gradient_is_exact(among: bool) -> None:
    fusion = _fusion(query_self_attention=among)
    generator = torch.Generator().manual_seed(2)
    tokens = torch.randn(2, 4, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    queries = torch.randn(3, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    names, weights = zip(*fusion.named_parameters(), strict=True)

    def score(tokens: Tensor, queries: Tensor, *weights: Tensor) -> Tensor:
        return torch.func.functional_call(fusion, dict(zip(names, weights, strict=True)), (tokens, queries))

    assert torch.autograd.gradcheck(score, (tokens, queries, *weights), fast_mode=True)


def test_every_weight_learns() -> None:
    for encoder in ENCODERS:
        model = _model(encoder, query_self_attention=True).train()
        model(_ecgs(4), _queries(3)).square().sum().backward()
        silent = [
            name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0
        ]
        assert silent == []


def test_attention_is_that_of_the_textbook() -> None:
    """softmax(Q K' / sqrt(d)) V by head, written out."""
    layer = _fusion().layers[0].cross
    query, context = torch.randn(1, 2, 4).double(), torch.randn(1, 3, 4).double()
    q = layer.query(query)[0].view(2, 2, 2)
    k, v = layer.key_value(context)[0].view(3, 2, 2, 2).unbind(1)
    mixed = torch.zeros(2, 2, 2).double()
    for head in range(2):
        weight = torch.softmax(q[:, head] @ k[:, head].T / math.sqrt(2), dim=-1)
        mixed[:, head] = weight @ v[:, head]
    assert torch.allclose(layer(query, context)[0], layer.out(mixed.view(2, 4)), atol=1e-12)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_learns_a_planted_finding_by_its_query(encoder: str) -> None:
    """32 noise ECGs: half have beats; one query asks for them, the other for their absence."""
    ecgs = 0.1 * _ecgs(32)
    planted = torch.arange(32) % 2 == 0
    ecgs[planted, :, 20::40] += 1.0
    target = torch.stack([planted, ~planted], dim=1).float()
    model, queries = _model(encoder, dropout=0.0).train(), _queries(2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(60):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(model(ecgs, queries), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss < 0.05:
            break
    assert loss < 0.05
    with torch.no_grad():
        asked_alone = model.eval()(ecgs, queries[1:])
    assert ((asked_alone[:, 0] > 0) == ~planted).all()


@pytest.mark.parametrize("encoder", ENCODERS)
def test_saved_and_read_again_it_scores_the_same(
    encoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = _model(encoder).train()
    model(_ecgs(8), _queries(2))  # moves the batch statistics off their start
    model.eval().save_pretrained(tmp_path / "model")
    assert sorted(p.name for p in (tmp_path / "model").iterdir()) == ["config.json", "model.safetensors"]

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a model is read without pickle")

    for module, name in ((pickle, "load"), (pickle, "loads"), (pickle, "Unpickler"), (torch, "load")):
        monkeypatch.setattr(module, name, refuse)
    again = SupremeModel.from_pretrained(tmp_path / "model")
    assert not again.training
    assert again.config == model.config
    with torch.no_grad():
        assert torch.equal(again(_ecgs(3), _queries(4)), model(_ecgs(3), _queries(4)))


def test_weights_are_safetensors_and_the_rest_is_json(tmp_path: Path) -> None:
    _model().save_pretrained(tmp_path)
    content = (tmp_path / "model.safetensors").read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert {entry["dtype"] for name, entry in header.items() if name != "__metadata__"} <= {"F32", "I64"}
    assert set(json.loads((tmp_path / "config.json").read_text())) == {"model", "samples", "text_dim"}


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    _model().save_pretrained(tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    values["model"]["fusion_depth"] = 1
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(RuntimeError, match="fusion"):
        SupremeModel.from_pretrained(tmp_path)


def _wave(hz: float, size_mv: float = 1.0) -> Tensor:
    time = torch.arange(10 * RATE_HZ) / RATE_HZ
    return (size_mv * torch.sin(2 * math.pi * hz * time)).expand(1, 12, -1)


def test_drift_is_taken_out_and_waves_are_kept() -> None:
    assert without_baseline(_wave(0.2)).abs().max() < 0.03
    assert without_baseline(torch.full((1, 12, 1000), 3.0)).abs().max() < 1e-5
    assert torch.allclose(without_baseline(_wave(5.0)), _wave(5.0), atol=1e-4)
    both = _wave(0.2) + _wave(5.0)
    assert torch.allclose(without_baseline(both), _wave(5.0), atol=0.03)


def test_what_no_heart_makes_is_clipped() -> None:
    assert without_baseline(_wave(5.0, 100.0)).abs().max() == 4.0


@pytest.mark.parametrize("samples", [1000, 999, 33])
def test_baseline_keeps_the_shape(samples: int) -> None:
    assert without_baseline(torch.randn(2, 12, samples)).shape == (2, 12, samples)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_drifting_ecg_scores_as_a_steady_one(encoder: str) -> None:
    torch.manual_seed(0)
    model = SupremeModel(Model.model_validate({"encoder": encoder, **SMALL}), TEXT_DIM, 1000).eval()
    ecg = _wave(5.0)
    with torch.no_grad():
        steady, drifting = model(ecg, _queries(3)), model(ecg + _wave(0.1) + 1.5, _queries(3))
    assert torch.allclose(steady, drifting, atol=0.02)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_silence_and_full_scale_give_finite_scores(encoder: str) -> None:
    model = _model(encoder)
    for ecgs in (torch.zeros(1, 12, SAMPLES), torch.full((1, 12, SAMPLES), 32.767), 32.767 * _ecgs(1).sign()):
        assert torch.isfinite(model(ecgs, _queries(4))).all()
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.isfinite(model(ecgs, _queries(4)).float()).all()


def test_baseline_is_taken_out_in_full_precision_under_autocast() -> None:
    ecg = _wave(5.0) + 2.0
    expected = without_baseline(ecg)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(without_baseline(ecg), expected)


def test_dropout_only_in_training() -> None:
    model, ecgs, queries = _model(dropout=0.5), _ecgs(2), _queries(3)
    with torch.no_grad():
        assert torch.equal(model(ecgs, queries), model(ecgs, queries))
        model.fusion.train()
        assert not torch.equal(model(ecgs, queries), model(ecgs, queries))


#: Of `test_output_is_frozen`; a change that is meant to change scores writes them anew.
FROZEN: dict[str, list[list[float]]] = {
    "resnet1d": [[-1.484441, -1.732307, -1.528805], [-1.463378, -1.706430, -1.506805]],
    "vit1d": [[-0.470931, -0.449242, -0.373322], [-0.481787, -0.444661, -0.377211]],
}


@pytest.mark.parametrize("encoder", ENCODERS)
def test_output_is_frozen(encoder: str) -> None:
    """Weights and input are formulas, so neither a random generator nor an initialisation has a say."""
    model = _model(encoder, dropout=0.0)
    with torch.no_grad():
        for place, (_, weight) in enumerate(sorted(model.named_parameters())):
            hashed = 43758.5453 * np.sin(12.9898 * (1 + np.arange(weight.numel())) + 78.233 * place) % 1
            spread = 4 * (hashed - 0.5) / math.sqrt(weight[0].numel())
            weight.copy_(torch.tensor(spread, dtype=torch.float32).view_as(weight))
        time = torch.arange(SAMPLES) / RATE_HZ
        ecgs = torch.stack([torch.sin((5 + 3 * lead) * time + lead) for lead in range(12)])
        queries = torch.sin(torch.arange(3 * TEXT_DIM).float()).view(3, TEXT_DIM)
        logits = model(torch.stack([ecgs, 0.5 * ecgs.flip(0)]), queries)
    assert torch.allclose(logits, torch.tensor(FROZEN[encoder]), atol=1e-4), logits.tolist()
