"""Measurements of one worker: time of a step and of its phases, rate, memory."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch.nn.parallel import DistributedDataParallel
from torch.profiler import ProfilerActivity
from torch.utils.flop_counter import FlopCounterMode

from supreme.training.data.batch import Batch

if TYPE_CHECKING:
    from supreme.training.run.worker import WorkerRun

_PREFIX = "supreme: "
_PEAK_SIZE, _PEAK_TRIES = 1024, 10


def run_steps(run: WorkerRun, batches: Iterator[Batch], steps: int) -> tuple[float, float]:
    """Train; seconds per step spent waiting for data, and seconds per step in all."""
    waited, start_s = 0.0, time.perf_counter()
    for step in range(steps):
        batch, loader_s = run.next(batches)
        run.learner.step(batch, step, step * run.order.global_batch, run.total_samples)
        waited += loader_s
    _synchronize(run.learner.device)
    return waited / steps, (time.perf_counter() - start_s) / steps


def phases(run: WorkerRun, batches: Iterator[Batch], steps: int, *, reduce: bool = True) -> dict[str, float]:
    """Seconds per step of each phase; ``reduce``: gradients are averaged over the workers."""
    if isinstance(run.learner.wrapped, DistributedDataParallel):
        run.learner.wrapped.require_backward_grad_sync = reduce
    on_gpu = run.learner.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with torch.profiler.profile(activities=activities) as profiler:
        run_steps(run, batches, steps)
    return {
        event.key.removeprefix(_PREFIX): (event.device_time_total if on_gpu else event.cpu_time_total)
        / 1e6
        / steps
        for event in profiler.key_averages()
        if event.key.startswith(_PREFIX)
    }


def flop_per_step(run: WorkerRun, batches: Iterator[Batch]) -> int:
    """Floating-point operations of a step of this worker."""
    with FlopCounterMode(display=False) as counter:
        run_steps(run, batches, 1)
    return counter.get_total_flops()


def peak_flop_per_s(run: WorkerRun) -> float:
    """The rate of one large matrix product in the precision of the run, with all workers busy."""
    dtype = torch.bfloat16 if run.learner.bf16 else torch.float32
    matrix = torch.randn(_PEAK_SIZE, _PEAK_SIZE, device=run.learner.device).to(dtype)
    best_s = float("inf")
    for _ in range(_PEAK_TRIES):
        start_s = time.perf_counter()
        matrix @ matrix
        _synchronize(run.learner.device)
        best_s = min(best_s, time.perf_counter() - start_s)
    return 2 * _PEAK_SIZE**3 / best_s


def memory_bytes(device: torch.device) -> int:
    """Peak memory of this worker: on the GPU, or resident in the machine's memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def device_name(device: torch.device) -> str:
    """Name of the GPU, or "cpu"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()
