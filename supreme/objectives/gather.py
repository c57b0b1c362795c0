"""All-gather with gradients, for losses that compare every record of a step with every other."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def all_gather_with_grad(rows: Tensor) -> Tensor:
    """Rows (B, ...) of this worker to those of all workers (W B, ...), by rank; B is the same on all.

    For a loss that every worker computes over all rows: the gradient of a worker's own rows is then complete
    without another exchange. It is multiplied by W, since gradients are averaged over workers, not added.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return rows
    gathered: Tensor = _Gather.apply(rows)
    return gathered


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        gathered = rows.new_empty(dist.get_world_size() * len(rows), *rows.shape[1:])
        dist.all_gather_single(gathered, rows.contiguous())
        return gathered

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        world = dist.get_world_size()
        return gradient.chunk(world)[dist.get_rank()] * world
