"""Learning-rate schedule and optimizer."""

from __future__ import annotations

import math

import torch
from torch import nn

from supreme.config import Training


def learning_rate(training: Training, samples: float, total_samples: float) -> float:
    """Linear warm-up from nothing, then a half cosine to nothing, over the records seen."""
    warmup = training.warmup_fraction * total_samples
    if samples < warmup:
        return training.learning_rate * samples / warmup
    progress = min(1.0, (samples - warmup) / max(total_samples - warmup, 1.0))
    return training.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


def make_optimizer(model: nn.Module, training: Training) -> torch.optim.AdamW:
    """AdamW without weight decay on biases, norms and other vectors."""
    decayed = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    plain = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": training.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=training.learning_rate, fused=True)
