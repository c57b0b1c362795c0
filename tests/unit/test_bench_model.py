"""What the benchmark of the training step compares: the plain transformer computes what ours computes."""

from __future__ import annotations

import pytest
import torch
from benchmarks import model

from supreme import config
from supreme.models.vit1d import ViT1d
from supreme.settings.bench import Bench
from supreme.settings.data import Shards
from supreme.settings.model import Model
from supreme.settings.training import Training

pytestmark = pytest.mark.unit


def test_the_plain_transformer_is_the_same_function() -> None:
    torch.manual_seed(0)
    ours = ViT1d(100, patch=20, width=12, depth=2, heads=3)
    plain = model.PlainViT(100, 20, width=12, depth=2, heads=3)
    with torch.no_grad():
        plain.embed.weight.copy_(ours.patches.weight.transpose(1, 2).flatten(1))
        plain.embed.bias.copy_(ours.patches.bias)
        plain.position.copy_(ours.position)
        for block, own in zip(plain.blocks, ours.blocks, strict=True):
            parts = own.attention.query, own.attention.key_value
            for name in ("weight", "bias"):
                getattr(block.qkv, name).copy_(torch.cat([getattr(part, name) for part in parts]))
            pairs = {block.out: own.attention.out, block.up: own.mlp[0], block.down: own.mlp[3]}
            for theirs, part in pairs.items():
                theirs.load_state_dict(part.state_dict())
        ecg = torch.randn(3, 12, 100)
        assert torch.allclose(plain(ecg), ours(ecg), atol=1e-5)
    assert sum(p.numel() for p in plain.parameters()) == sum(p.numel() for p in ours.parameters())


def test_each_variant_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "STEPS", 1)
    monkeypatch.setattr(model, "VIT", "vit1d")
    monkeypatch.setattr(model, "ENTITIES", 3)
    recipe = config.Recipe(
        shards=Shards(duration_s=0.5),
        model=Model(width=4, depth=1),
        training=Training(batch_size=2),
        bench=Bench(repetitions=2),
    )
    threads = torch.get_num_threads()
    found = model.compare(recipe, None)  # starts no Ray
    torch.set_num_threads(threads)
    assert list(found["milliseconds"]) == [
        "plain transformer, fp32",
        "vit1d, fp32",
        "resnet1d, bf16",
        "resnet1d + fusion network, bf16",
        "vit1d, bf16",
        "vit1d + fusion network, bf16",
    ]
    assert min(found["milliseconds"].values()) > 0
    assert found["whole_over_encoder"].keys() == {"resnet1d", "vit1d"}
    assert found["batch"] == [2, 12, 50]
