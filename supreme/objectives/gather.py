"""The rows of all workers, for losses in which every record of a step is compared with every other."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def of_all_workers(rows: Tensor) -> Tensor:
    """This worker's rows (B, ...) to those of all (W B, ...), by rank; each worker must give as many.

    For a loss that every worker computes of all rows: the gradient of a worker's own rows is then whole
    without another exchange. It is multiplied by W, since the workers' gradients are averaged, not added.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return rows
    found: Tensor = _Gather.apply(rows)
    return found


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        found = rows.new_empty(dist.get_world_size() * len(rows), *rows.shape[1:])
        dist.all_gather_single(found, rows.contiguous())
        return found

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        world = dist.get_world_size()
        return gradient.chunk(world)[dist.get_rank()] * world
