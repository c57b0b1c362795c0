"""Training stops, on all workers and before the update, where a loss or gradient is not finite."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.distributed as dist

from supreme.training.learner import parallel


class TrainingStopped(RuntimeError):
    """Training cannot go on, and a restart would end the same way: a number is not finite."""


def one_or_nan(loss: torch.Tensor) -> torch.Tensor:
    """1, or NaN where the loss is not finite.

    A factor of the loss in the backward pass: the averaged gradient then tells all workers at no extra cost.
    """
    return torch.where(loss.detach().isfinite(), 1.0, math.nan)


def require_finite(loss: float, norm: float, *, step: int, rank: int, record_ids: Sequence[str]) -> None:
    """Check the gradient norm over all workers, which a bad loss has made NaN.

    Raises:
        TrainingStopped: it is not finite; the message names the records of the worker where it began.
    """
    if math.isfinite(norm):
        return
    own = (rank, loss, list(record_ids))
    losses: list[tuple[int, float, list[str]]] = [own]
    if parallel.world_size() > 1:
        losses = [own] * dist.get_world_size()
        dist.all_gather_object(losses, own)
    # One bad loss makes the gradient bad on all workers.
    origin = [entry for entry in losses if not math.isfinite(entry[1])] or losses
    names = "; ".join(f"worker {worker}, loss {value}: {', '.join(ids)}" for worker, value, ids in origin)
    raise TrainingStopped(
        f"loss or gradient is not finite at step {step} (gradient norm {norm}), nothing was updated. "
        f"Lower training.learning_rate, set training.precision=fp32, or look at these records: {names}"
    )
