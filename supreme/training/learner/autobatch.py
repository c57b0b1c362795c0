"""The micro-batch size that fits into memory, and the advice after an out-of-memory error."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.distributed as dist

from supreme import log
from supreme.config import ConfigError
from supreme.objectives.task import Task
from supreme.settings.training import Training
from supreme.training.learner import memory, parallel

_TOO_LARGE = "not even one ECG fits: use a smaller model, or training.sharding=fsdp on more workers"

logger = log.get("train")

#: Runs forward and backward of so many records on this worker alone.
DryRun = Callable[[int], None]


def find_micro_batch(task: Task, dry_run: DryRun, batch_size: int, device: torch.device) -> int:
    """The largest micro-batch that fits, the same on all workers.

    Raises:
        ConfigError: not even one ECG fits.
    """
    with parallel.preserve_state(task):
        # Not allocated yet: gradients, both moments of the optimizer, the buckets of the all-reduce.
        reserved = 4 * sum(weight.nbytes for weight in task.parameters())
        size = memory.max_micro_batch(dry_run, batch_size, reserved, device)
    if parallel.world_size() > 1:
        least = torch.tensor(size, device=device)
        dist.all_reduce(least, dist.ReduceOp.MIN)
        size = int(least)
    if not size:
        raise ConfigError(_TOO_LARGE)
    return size


def out_of_memory_message(training: Training, dry_run: DryRun, micro_batch: int, device: torch.device) -> str:
    """What to say after ``micro_batch`` ECGs did not fit: the size that would, and the setting to change."""
    message = f"out of memory with {micro_batch} ECGs at once"
    # A dry run cannot include what other workers contribute.
    if training.sharding != "none" or (not training.splits and parallel.world_size() > 1):
        return f"{message}: lower training.batch_size"
    try:
        estimate = memory.max_micro_batch(dry_run, micro_batch, 0, device)
    except RuntimeError:
        estimate = 0
    # An estimate may say that what has just failed would fit.
    smaller = [n for n in memory.divisors(micro_batch) if n <= estimate and n < micro_batch]
    if not smaller:
        return f"{message}: {_TOO_LARGE}"
    setting = "micro_batch" if training.splits else "batch_size"
    return f"{message}; {smaller[-1]} would fit: set training.{setting}={smaller[-1]}"
