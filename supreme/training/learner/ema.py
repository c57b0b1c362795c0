"""Exponential moving average (EMA) of the weights: what is validated and released."""

from __future__ import annotations

import copy

import torch
from torch import nn

from supreme.objectives.task import Task
from supreme.training.learner import parallel


def make_ema(task: Task) -> Task:
    """A copy of the task in evaluation mode, without gradients."""
    return copy.deepcopy(task).eval().requires_grad_(False)


@torch.no_grad()
def update(ema: nn.Module, model: nn.Module, step: int, max_decay: float) -> None:
    """Move the EMA towards the weights after ``step``; buffers that are no floats are copied.

    The decay grows with the steps up to ``max_decay``: otherwise the random initial weights would count for
    much in short runs.
    """
    decay = min(max_decay, (1 + step) / (10 + step))
    parallel.reshard(ema)
    pairs = list(zip(_local_state(ema), _local_state(model), strict=True))
    floats = [(mean, now) for mean, now in pairs if mean.is_floating_point()]
    torch._foreach_lerp_([mean for mean, _ in floats], [now for _, now in floats], 1 - decay)
    for mean, now in pairs:
        if not mean.is_floating_point():
            mean.copy_(now)


def _local_state(model: nn.Module) -> list[torch.Tensor]:
    """This worker's part of weights and buffers."""
    return [parallel.to_local(tensor) for tensor in [*model.parameters(), *model.buffers()]]
