"""Encoders: tokens of every size and kind, what leads and positions do, and whose code may be one."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from supreme.config import ConfigError, parse
from supreme.models import encoders, s4d1d
from supreme.models.resnet1d import STRIDE, ResNet1d
from supreme.models.vit1d import ViT1d
from supreme.settings.model import Model

pytestmark = pytest.mark.unit

SAMPLES, PATCH = 200, 20


def _vit(**changes: Any) -> ViT1d:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"patch": PATCH, "width": 12, "depth": 2, "heads": 3}
    return ViT1d(SAMPLES, **sizes | changes).eval()


def _ecgs(count: int, samples: int = SAMPLES) -> Tensor:
    return torch.randn(count, 12, samples, generator=torch.Generator().manual_seed(0))


@given(
    samples=st.integers(32, 400), width=st.sampled_from([4, 6]), depth=st.integers(1, 2), wide=st.booleans()
)
@settings(max_examples=10, deadline=None)
def test_resnet_makes_one_token_per_stride(samples: int, width: int, depth: int, wide: bool) -> None:
    encoder = ResNet1d(width=width, depth=(depth,) * 4, bottleneck=wide).eval()
    with torch.no_grad():
        tokens = encoder(torch.zeros(2, 12, samples))
    assert tokens.shape == (2, math.ceil(samples / STRIDE), encoder.width)
    assert encoder.width == 8 * width * (4 if wide else 1)


@given(
    tokens=st.integers(1, 12),
    patch=st.sampled_from([5, 25]),
    kind=st.sampled_from(["joint", "leadwise"]),
    positions=st.sampled_from(["learned", "rotary"]),
)
@settings(max_examples=10, deadline=None)
def test_vit_makes_one_token_per_patch(tokens: int, patch: int, kind: Any, positions: Any) -> None:
    encoder = ViT1d(tokens * patch, patch=patch, width=12, depth=1, heads=3, tokens=kind, positions=positions)
    with torch.no_grad():
        made = encoder.eval()(torch.zeros(2, 12, tokens * patch))
    assert made.shape == (2, tokens * (12 if kind == "leadwise" else 1), 12)


def _empty(name: str, **changes: Any) -> Any:
    """An encoder by name, without memory for its weights."""
    config = Model(encoder=name, **changes)
    with torch.device("meta"):
        return encoders.build(config, 1000)


@pytest.mark.parametrize("layers", [18, 34, 50])
def test_a_resnet_has_the_layers_of_its_name(layers: int) -> None:
    """He et al. count the convolutions on the way, without those of the four skips, and the head."""
    convolutions = [m for m in _empty(f"resnet1d_{layers}").modules() if isinstance(m, torch.nn.Conv1d)]
    assert len(convolutions) - 4 + 1 == layers


@pytest.mark.parametrize(("name", "width"), [("tiny", 192), ("small", 384), ("base", 768)])
def test_a_vit_has_the_weights_of_its_name(name: str, width: int) -> None:
    """Dosovitskiy et al.: a block has 12 D^2 + 13 D weights, and a head 64 columns."""
    encoder = _empty(f"vit1d_{name}")
    assert sum(p.numel() for p in encoder.blocks.parameters()) == 12 * (12 * width**2 + 13 * width)
    assert {block.attention.heads for block in encoder.blocks} == {width // 64}


def test_numbers_of_the_recipe_win_over_the_size() -> None:
    assert _empty("vit1d_tiny", width=96, depth=3).width == 96
    assert len(_empty("vit1d_tiny", width=96, depth=3).blocks) == 3
    assert len(_empty("resnet1d_34", depth=1).blocks) == 4
    assert _empty("resnet1d_34", width=8).width == 64


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"encoder": "vit1d_tinny"}, "nearest encoder: 'vit1d_tiny'"),
        ({"encoder": "os.system"}, "package.module:Class"),
        ({"encoder": "../evil.py:Bomb"}, "package.module:Class"),
        ({"tokens": "lead"}, "'joint' or 'leadwise'"),
        ({"positions": "sinus"}, "'learned' or 'rotary'"),
        ({"patch": 0}, "model.patch"),
        ({"width": -1}, "model.width"),
        ({"size": "tiny"}, "unknown key 'model.size'"),
    ],
)
def test_an_unknown_option_is_a_clear_error(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse({"model": values})


def test_vit_refuses_a_patch_that_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"model\.patch=30 does not divide the 200"):
        _vit(patch=30)


def test_vit_refuses_heads_that_rotary_cannot_turn() -> None:
    with pytest.raises(ValueError, match="even width, not 3"):
        _vit(positions="rotary", heads=4)


@pytest.mark.parametrize("kind", ["joint", "leadwise"])
def test_tokens_are_those_of_their_patch(kind: Any) -> None:
    """Before attention, a patch of a lead moves its own token and no other; leads lie one after the other."""
    encoder, ecg = _vit(tokens=kind), _ecgs(1)
    moved = ecg.clone()
    moved[0, 3, 7 * PATCH + 4] += 1
    with torch.no_grad():
        change = (encoder._embed(moved) - encoder._embed(ecg)).abs().sum(-1)[0]
    place = 7 if kind == "joint" else 3 * (SAMPLES // PATCH) + 7
    assert change.nonzero().tolist() == [[place]]


def test_embedding_is_the_convolution_that_it_replaces() -> None:
    ecg = _ecgs(2)
    with torch.no_grad():
        joint, leadwise = _vit(positions="rotary"), _vit(tokens="leadwise", positions="rotary")
        assert torch.allclose(joint._embed(ecg), joint.patches(ecg).transpose(1, 2), atol=1e-5)
        alone = torch.cat([leadwise.patches(ecg[:, i : i + 1]).transpose(1, 2) for i in range(12)], dim=1)
        named = leadwise.lead[0].expand(-1, SAMPLES // PATCH, -1).flatten(0, 1)
        assert torch.allclose(leadwise._embed(ecg), alone + named, atol=1e-5)


@pytest.mark.parametrize("positions", ["learned", "rotary"])
def test_a_lead_is_known_by_its_vector_alone(positions: Any) -> None:
    """Leads changed places together with their vectors: the same tokens in other places. Without: others."""
    encoder, ecg = _vit(tokens="leadwise", positions=positions), _ecgs(2)
    order = torch.tensor([5, 0, 11, 2, 8, 1, 3, 10, 4, 6, 9, 7])
    with torch.no_grad():
        encoder.lead.mul_(30)
        tokens = encoder(ecg).unflatten(1, (12, -1))
        named_as_before = encoder(ecg[:, order]).unflatten(1, (12, -1))
        assert not torch.allclose(named_as_before, tokens[:, order], atol=1e-2)
        encoder.lead.copy_(encoder.lead[:, order])
        assert torch.allclose(encoder(ecg[:, order]).unflatten(1, (12, -1)), tokens[:, order], atol=1e-5)


@pytest.mark.parametrize("positions", ["learned", "rotary"])
def test_the_place_in_time_is_known(positions: Any) -> None:
    """Patches in another order are not the same tokens in another order."""
    encoder, ecg = _vit(positions=positions), _ecgs(2)
    with torch.no_grad():
        for weight in encoder.parameters():  # attention of an untrained network is almost even
            weight.mul_(3 if weight.ndim > 1 else 1)
        tokens = encoder(ecg)
        reversed_ecg = ecg.unflatten(2, (-1, PATCH)).flip(2).flatten(2)
        assert not torch.allclose(encoder(reversed_ecg).flip(1), tokens, atol=1e-2)


CODE = """
import torch
from torch import nn

class Means(nn.Module):
    def __init__(self, config, samples):
        super().__init__()
        self.width = config.width
        self.project = nn.Linear(12, config.width)

    def forward(self, ecg):
        return self.project(ecg.unflatten(2, (4, -1)).mean(3).transpose(1, 2))

class Flat(Means):
    def forward(self, ecg):
        return super().forward(ecg).mean(1)

class Wide(Means):
    def __init__(self, config, samples):
        super().__init__(config, samples)
        self.width = 2 * config.width

def function(config, samples):
    return Means(config, samples)
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An importable module of somebody's; it leaves a trace when it is imported."""
    trace = f"open({str(tmp_path / 'trace')!r}, 'w').close()"
    (tmp_path / "somebodys.py").write_text(f"{trace}\n{CODE}")
    monkeypatch.syspath_prepend(tmp_path)
    yield "somebodys"
    sys.modules.pop("somebodys", None)


def test_an_encoder_of_ones_own(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(encoders.ALLOWED_ENCODERS, f"other:Thing, {package}:Means")
    encoder, width, tokens = encoders.make(Model(encoder=f"{package}:Means", width=6), SAMPLES)
    assert (type(encoder).__name__, width, tokens) == ("Means", 6, 4)
    assert encoder.training


@pytest.mark.parametrize("allowed", ["", "somebodys", "somebodys:Flat", "somebodys:Means2"])
def test_code_that_is_not_allowed_is_not_imported(
    allowed: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(encoders.ALLOWED_ENCODERS, allowed)
    with pytest.raises(ConfigError, match="add somebodys:Means to the environment variable SUPREME_ENC"):
        encoders.make(Model(encoder=f"{package}:Means", width=6), SAMPLES)
    assert package not in sys.modules
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("somebodys:Flat", r"returns \(2, 6\) for \(2, 12, 200\)"),
        ("somebodys:Wide", r"has width 12 and returns \(2, 4, 6\)"),
        ("somebodys:function", "not a torch.nn.Module class"),
        ("somebodys:Lost", "has no attribute 'Lost'; install it"),
        ("nowhere_at_all:Means", "No module named 'nowhere_at_all'; install it"),
    ],
)
@pytest.mark.usefixtures("package")
def test_what_is_no_encoder_is_a_clear_error(
    path: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(encoders.ALLOWED_ENCODERS, path)
    with pytest.raises(ConfigError, match=message):
        encoders.make(Model(encoder=path, width=6), SAMPLES)


@given(samples=st.integers(32, 400), name=st.sampled_from(["convnext1d", "s4d1d"]), depth=st.integers(1, 2))
@settings(max_examples=10, deadline=None)
def test_convnext_and_state_spaces_make_one_token_per_stride(samples: int, name: str, depth: int) -> None:
    encoder: Any = encoders.build(Model(encoder=name, width=6, depth=depth), samples).eval()
    with torch.no_grad():
        tokens = encoder(torch.zeros(2, 12, samples))
    assert tokens.shape == (2, math.ceil(samples / STRIDE), encoder.width)
    assert encoder.width == (48 if name == "convnext1d" else 6)


def test_a_convolution_with_the_kernels_is_the_recurrence_of_the_state() -> None:
    """x' = A x + B u over one step of time, exact for an input that is held (S4D, section 3)."""
    torch.manual_seed(0)
    system, length = s4d1d.StateSpace(3), 40
    u = torch.randn(1, 3, length)
    pole = torch.complex(-system.log_decay.exp(), system.turn)
    step = system.log_step.exp()[..., None]
    decay, drive = torch.exp(pole * step), (torch.exp(pole * step) - 1) / pole
    weights = torch.view_as_complex(system.output)

    def run(direction: int, inputs: Tensor, lag: int) -> Tensor:
        state, rows = torch.zeros_like(decay[direction]), []
        for at in range(length):
            state = decay[direction] * state
            if at >= lag:
                state = state + drive[direction] * (decay[direction] ** lag) * inputs[:, at - lag, None]
            rows.append(2 * (weights[direction] * state).sum(-1).real)
        return torch.stack(rows, -1)

    with torch.no_grad():
        forward, backward = run(0, u[0], 0), run(1, u[0].flip(-1), 1).flip(-1)
        assert torch.allclose(system(u)[0], forward + backward + u[0] * system.skip[:, None], atol=1e-4)


def test_a_state_space_sees_the_whole_record_in_both_directions() -> None:
    torch.manual_seed(0)
    encoder: Any = encoders.build(Model(encoder="s4d1d", width=16, depth=1), 400).eval()
    ecg = _ecgs(1, 400)
    for place, far in ((2, -1), (397, 0)):
        moved = ecg.clone()
        moved[0, :, place] += 5
        with torch.no_grad():
            assert (encoder(moved) - encoder(ecg))[0, far].abs().max() > 1e-4
