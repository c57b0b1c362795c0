"""Time of a training step: ViT-tiny against a plain transformer, the whole model against its encoder.

Variants take turns within each repetition and ratios are taken within it, so that what else the machine does
falls on all of them alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from statistics import median

import torch
from torch import Tensor, nn

from benchmarks import Measurements, table
from benchmarks.timing import interleaved
from supreme import log
from supreme.config import Recipe
from supreme.ecg import N_LEADS
from supreme.losses import entity_loss
from supreme.models import encoders
from supreme.models.supreme import SupremeModel
from supreme.settings.model import ENCODER_SIZES, Model
from supreme.settings.training import Training
from supreme.training.learner.schedule import make_optimizer

VIT, ENTITIES = "vit1d_tiny", 256
#: Of MiniLM, the text encoder that is shipped.
TEXT_DIM = 384
#: Steps of each in a repetition.
STEPS = 5

Step = Callable[[], None]
Session = Callable[[], AbstractContextManager[None]]

logger = log.get("bench")


class _PlainBlock(nn.Module):
    """Einsum, softmax, einsum, as in the code of MERL and of most others."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(self.norm_attention(x)).unflatten(2, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        scores = torch.einsum("bhid,bhjd->bhij", q, k) * q.shape[-1] ** -0.5
        mixed = torch.einsum("bhij,bhjd->bhid", torch.softmax(scores, dim=-1), v)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.down(nn.functional.gelu(self.up(self.norm_mlp(x))))


class PlainViT(nn.Module):
    """A vision transformer straight from its formulas, in the sizes of :data:`ENCODER_SIZES`."""

    def __init__(self, samples: int, patch: int, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.patch = patch
        self.embed = nn.Linear(N_LEADS * patch, width)
        self.position = nn.Parameter(torch.randn(1, samples // patch, width) * 0.02)
        self.blocks = nn.Sequential(*(_PlainBlock(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)

    def forward(self, ecg_BLT: Tensor) -> Tensor:
        """``(B, 12, T)`` to tokens ``(B, T / patch, width)``."""
        patches = ecg_BLT.unflatten(2, (-1, self.patch)).permute(0, 2, 3, 1).flatten(2)
        return self.norm(self.blocks(self.embed(patches) + self.position))


def compare(recipe: Recipe, session: Session) -> Measurements:
    """Time a step of ViT-tiny and of the plain transformer, and of whole models and their encoders alone.

    A step is forward, backward and optimizer on one batch in memory. Whole models, of ViT-tiny and of the
    recipe's encoder, are asked 256 queries. Sizes, device and repetitions are the recipe's.

    Returns:
        Median milliseconds of each, and median ratios: ``speedup_fp32`` and ``speedup_shipped`` (bf16) over
        the plain transformer in fp32, ``whole_over_encoder``.
    """
    torch.set_num_threads(1)
    device, samples = "cuda" if recipe.training.gpu else "cpu", recipe.shards.samples
    ecg = torch.randn(recipe.training.batch_size, N_LEADS, samples, device=device)
    vit = recipe.model.model_copy(
        update={"encoder": VIT, "width": None, "depth": None, "heads": None, "tokens": "joint"}
    )
    plain = PlainViT(samples, vit.patch, **ENCODER_SIZES[VIT]).to(device)
    peer = torch.optim.AdamW(plain.parameters())
    steps = {
        "plain transformer, fp32": _encoder_step(plain, ecg, peer, bf16=False),
        f"{VIT}, fp32": _own_step(vit, ecg, bf16=False),
    }
    models = {recipe.model.encoder: recipe.model, VIT: vit}
    for name, config in models.items():
        steps[f"{name}, bf16"] = _own_step(config, ecg, bf16=True)
        steps[f"{name} + fusion network, bf16"] = whole_step(config, ecg)
    for step in steps.values():
        step()  # the first one allocates
    turns = STEPS * recipe.bench.repetitions
    seconds = interleaved({name: partial(timed, step, device) for name, step in steps.items()}, turns)
    milliseconds = {name: round(1e3 * median(times), 1) for name, times in seconds.items()}
    for line in table({name: {"ms a step": value} for name, value in milliseconds.items()}):
        logger.info(line)
    return {
        "suite": "model",
        "device": torch.cuda.get_device_name() if recipe.training.gpu else "cpu, one thread, its own seconds",
        "batch": list(ecg.shape),
        "patch": vit.patch,
        "entities": ENTITIES,
        "milliseconds": milliseconds,
        "speedup_fp32": _ratio(seconds, "plain transformer, fp32", f"{VIT}, fp32"),
        "speedup_shipped": _ratio(seconds, "plain transformer, fp32", f"{VIT}, bf16"),
        "whole_over_encoder": {
            name: _ratio(seconds, f"{name} + fusion network, bf16", f"{name}, bf16") for name in models
        },
    }


def _own_step(config: Model, ecg: Tensor, bf16: bool) -> Step:
    encoder = encoders.make(config, ecg.shape[-1])[0].to(ecg.device)
    return _encoder_step(encoder, ecg, make_optimizer(encoder, Training()), bf16)


def _encoder_step(encoder: nn.Module, ecg: Tensor, optimizer: torch.optim.Optimizer, bf16: bool) -> Step:
    encoder.train()

    def step() -> None:
        with torch.autocast(ecg.device.type, torch.bfloat16, enabled=bf16):
            tokens = encoder(ecg)
        optimizer.zero_grad(set_to_none=True)
        tokens.float().square().mean().backward()
        optimizer.step()

    return step


def whole_step(config: Model, ecg: Tensor) -> Step:
    """A training step of encoder and fusion network with `ENTITIES` queries, in bf16, on this batch."""
    model = SupremeModel(config, TEXT_DIM, ecg.shape[-1]).to(ecg.device).train()
    optimizer, training = make_optimizer(model, Training()), Training()
    queries = torch.randn(ENTITIES, TEXT_DIM, device=ecg.device)
    present = torch.rand(len(ecg), ENTITIES, device=ecg.device) < 0.05
    uncertain = torch.rand(len(ecg), ENTITIES, device=ecg.device) < 0.02
    rate = present.float().mean(0)

    def step() -> None:
        with torch.autocast(ecg.device.type, torch.bfloat16):
            logits = model(ecg, queries)
        optimizer.zero_grad(set_to_none=True)
        entity_loss(logits, present, uncertain, training, rate).backward()
        optimizer.step()

    return step


def timed(step: Step, device: str) -> float:
    """Seconds of a step: on a GPU of the clock, on a CPU of this process."""
    # What others do on a shared machine is not in the seconds of a process.
    clock = time.process_time if device == "cpu" else time.perf_counter
    start = clock()
    step()
    if device == "cuda":
        torch.cuda.synchronize()
    return clock() - start


def _ratio(seconds: dict[str, list[float]], name: str, other: str) -> float:
    return round(median(one / two for one, two in zip(seconds[name], seconds[other], strict=True)), 3)
