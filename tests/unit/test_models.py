"""Fusion network and joined model: shapes, independence of queries, exact gradients, frozen output."""

from __future__ import annotations

import json
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from supreme.ecg import LEADS, order_leads
from supreme.models.fusion import CardiacFusionNetwork
from supreme.models.heads import EntityHead, JointEmbeddingHead
from supreme.models.supreme import Head, SupremeModel, without_baseline
from supreme.settings.model import Model

pytestmark = pytest.mark.unit

RATE_HZ, SAMPLES, TEXT_DIM = 100, 200, 10
ENCODERS = ("resnet1d", "convnext1d", "s4d1d", "vit1d")
SMALL = {
    "width": 8,
    "depth": 1,
    "heads": 2,
    "patch": 20,
    "fusion_width": 16,
    "fusion_depth": 2,
    "fusion_heads": 2,
}


def _model(encoder: str = "resnet1d", head: Head = "fusion", **changes: Any) -> SupremeModel:
    torch.manual_seed(0)
    config = Model.model_validate({"encoder": encoder, **SMALL, **changes})
    known = (_queries(5, seed=7), torch.tensor([0, 0, 1, 2, 2]))
    return SupremeModel(config, TEXT_DIM, SAMPLES, head, known).eval()


def _ecgs(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 12, SAMPLES, generator=torch.Generator().manual_seed(seed))


def _queries(count: int, seed: int = 1) -> Tensor:
    return torch.randn(count, TEXT_DIM, generator=torch.Generator().manual_seed(seed))


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


def test_no_score_moves_with_another_query_at_all() -> None:
    """In the derivatives, where rounding cannot hide a small leak."""
    fusion, queries = _fusion().eval(), torch.randn(5, 3).double().requires_grad_()
    scores = fusion(torch.randn(2, 4, 5).double(), queries)
    for asked in range(5):
        (moved,) = torch.autograd.grad(scores[:, asked].sum(), queries, retain_graph=True)
        others = torch.arange(5) != asked
        assert (moved[others] == 0).all()
        assert moved[asked].abs().sum() > 1e-6


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


@pytest.mark.parametrize("among", [False, True])
def test_attention_maps_are_those_of_the_scores(among: bool) -> None:
    """They sum to one over tokens, belong to the same logits, and follow a query to what it looks for."""
    fusion = _fusion(query_self_attention=among, fusion_depth=2)
    tokens, queries = torch.randn(3, 4, 5).double(), torch.randn(6, 3).double()
    logits, maps = fusion.with_attention(tokens, queries)
    assert maps.shape == (3, 2, 2, 6, 4), "ECGs, layers, heads, queries, tokens"
    assert torch.allclose(maps.sum(-1), torch.ones(3, 2, 2, 6).double(), atol=1e-12)
    assert torch.allclose(logits, fusion(tokens, queries), atol=1e-12)
    first = fusion.layers[0].cross
    with torch.no_grad():  # the first layer's query looks like token 2 of ECG 1 in both heads
        projected = fusion.token_projection(tokens) + fusion.position
        key = first.key_value(projected)[1, 2, :4]
        first.query.weight.zero_()
        first.query.bias.copy_(100 * key)
        _, maps = fusion.with_attention(tokens, queries)
    keys = first.key_value(projected)[1, :, :4].view(4, 2, 2)
    nearest = torch.einsum("nhd,hd->hn", keys, key.view(2, 2)).argmax(1)
    assert (maps[1, 0].argmax(-1) == nearest[:, None]).all()
    assert maps[1, 0].max(-1).values.min() > 0.5


def test_every_weight_learns() -> None:
    for encoder in ENCODERS:
        model = _model(encoder, query_self_attention=True).train()
        model(_ecgs(4), _queries(3)).square().sum().backward()
        silent = [
            name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0
        ]
        assert silent == []


@pytest.mark.parametrize("encoder", ENCODERS)
def test_learns_a_planted_finding_by_its_query(encoder: str) -> None:
    """Half of the noise ECGs have beats; one query asks for them, the other for their absence."""
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


#: Each differs from the defaults in one way at least.
VARIANTS: tuple[dict[str, Any], ...] = (
    {"encoder": "resnet1d"},
    {"encoder": "resnet1d_34", "width": 4, "depth": None},
    {"encoder": "resnet1d_50", "width": 4},
    {"encoder": "convnext1d", "width": 4, "depth": None},
    {"encoder": "s4d1d", "width": 8, "dropout": 0.1},
    {"encoder": "vit1d", "dropout": 0.1},
    {"encoder": "vit1d_tiny", "width": 12, "heads": None, "depth": 2, "patch": 50},
    {"encoder": "vit1d", "tokens": "leadwise", "fusion_heads": 4},
    {"encoder": "vit1d", "positions": "rotary", "query_self_attention": True},
    {"encoder": "vit1d", "tokens": "leadwise", "positions": "rotary", "fusion_depth": 3},
    {"encoder": "vit1d", "head": "common_space", "temperature": 0.5},
    {"encoder": "resnet1d", "head": "entities"},
)


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: "-".join(map(str, v.values())))
def test_saved_and_read_again_it_scores_the_same(
    variant: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = _model(**variant).train()
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
    assert set(json.loads((tmp_path / "config.json").read_text())) == {"head", "model", "samples", "text_dim"}


def test_a_folder_of_before_there_were_heads_is_read(tmp_path: Path) -> None:
    model = _model()
    model.save_pretrained(tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    assert values.pop("head") == "fusion"
    assert values["model"].pop("temperature")
    (tmp_path / "config.json").write_text(json.dumps(values))
    with torch.no_grad():
        again = SupremeModel.from_pretrained(tmp_path)
        assert torch.equal(again(_ecgs(2), _queries(3)), model(_ecgs(2), _queries(3)))


def test_a_common_space_scores_the_cosine_over_the_temperature() -> None:
    model, ecgs, queries = _model(head="common_space", temperature=0.25), _ecgs(3), _queries(4)
    assert isinstance(model.fusion, JointEmbeddingHead)
    with torch.no_grad():
        logits = model(ecgs, queries)
        ecg = model.fusion.project_ecg(model.encode(ecgs).mean(1)).double().numpy()
        text = model.fusion.project_text(queries).double().numpy()
        assert torch.allclose(model(ecgs, queries[2:3])[:, 0], logits[:, 2], atol=1e-6)
    for row, one in enumerate(ecg):
        for column, other in enumerate(text):
            cosine = one @ other / math.sqrt((one @ one) * (other @ other))
            assert logits[row, column].item() == pytest.approx(cosine / 0.25, abs=1e-5)


def test_the_linear_head_takes_a_text_for_the_nearest_entity_it_knows() -> None:
    model, ecgs, known = _model(head="entities"), _ecgs(3), _queries(5, seed=7)
    known = known / known.norm(dim=1, keepdim=True)
    assert isinstance(model.fusion, EntityHead)
    model.fusion.phrasings.copy_(known)
    with torch.no_grad():
        entities = model.fusion.of_entities(model.encode(ecgs))
        assert entities.shape == (3, 3)
        assert torch.equal(model(ecgs, known), entities[:, [0, 0, 1, 2, 2]])
        assert torch.equal(model(ecgs, 0.6 * known[3:4] + 0.4 * known[:1]), entities[:, 2:])


def test_an_encoder_alone_answers_nothing_but_is_saved_and_read(tmp_path: Path) -> None:
    model = _model(head="none")
    with pytest.raises(ValueError, match="answers no queries"):
        model(_ecgs(1), _queries(1))
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        again = SupremeModel.from_pretrained(tmp_path).encode(_ecgs(2))
        assert torch.equal(again, model.encode(_ecgs(2)))
        assert torch.equal(again, _model().encode(_ecgs(2))), "the head has no part in the encoder"


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


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: "-".join(map(str, v.values())))
def test_a_lost_lead_an_empty_ecg_and_no_query_work(variant: dict[str, Any]) -> None:
    model, ecgs = _model(**variant), _ecgs(2)
    lost = ecgs.clone()
    lost[:, 4] = 0
    with torch.no_grad():
        intact, without = model(ecgs, _queries(3)), model(lost, _queries(3))
        assert not torch.equal(intact, without), "every lead is looked at"
        assert torch.isfinite(without).all()
        assert torch.isfinite(model(torch.zeros(1, 12, SAMPLES), _queries(1))).all()
        assert model(ecgs, _queries(0)).shape == (2, 0)
    model.train()(ecgs[:1], _queries(1)).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("encoder", ["resnet1d", "vit1d"])
def test_leads_of_a_source_in_any_order_score_the_same(encoder: str) -> None:
    """MIMIC has aVF before aVL: a source's rows are put in order by name, so its order has no say."""
    model, ecgs = _model(encoder), _ecgs(2)
    with torch.no_grad():
        expected = model(ecgs, _queries(3))
        for seed in range(3):
            order = np.random.default_rng(seed).permutation(12)
            source = ecgs.numpy()[:, order]
            names = [LEADS[lead] for lead in order]
            ordered = torch.from_numpy(np.stack([order_leads(record, names)[0] for record in source]))
            assert torch.equal(model(ordered, _queries(3)), expected)
            assert not torch.allclose(model(torch.from_numpy(source), _queries(3)), expected, atol=1e-4)


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
    "convnext1d": [[1.398573, 1.545817, 1.432853], [1.400682, 1.548461, 1.435432]],
    "s4d1d": [[-2.278059, -2.223752, -2.142244], [-2.265419, -2.21161, -2.131985]],
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
