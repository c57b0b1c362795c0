"""Where the time of a training step goes: a few steps of the real run, timed, counted, and what to change.

Nothing is kept: no checkpoint is written, and the run that the recipe names is not touched.
"""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import ray.train
import torch
from torch.nn.parallel import DistributedDataParallel
from torch.profiler import ProfilerActivity
from torch.utils.flop_counter import FlopCounterMode

from supreme import config, log
from supreme.training.profiling.advice import advice, lines
from supreme.training.run import driver, stage
from supreme.training.run.ray_trainer import Trainer, fitted, scaling
from supreme.training.run.worker import BATCHES_AHEAD, Run, open_run

STEPS = 20
#: The first steps allocate, and take the batches that were read while nobody waited.
WARM_UP = BATCHES_AHEAD + 4
#: Timed; timed in phases; the same without all-reduce; counted.
ALL_STEPS = WARM_UP + 3 * STEPS + 1
_PHASE = "supreme: "
_PEAK_SIZE, _PEAK_TRIES = 1024, 10

logger = log.get("profile")


def profile(recipe: config.Recipe) -> dict[str, Any]:
    """Train a few steps as the recipe says and tell where the time went; needs a Ray session.

    Returns:
        ``milliseconds`` of each phase of a step on the first worker, ``step_ms`` of all of it, the rates
        ``records_per_s`` (all workers), ``gflop_per_s`` and ``peak_gflop_per_s`` (one worker), ``memory_mb``
        (one worker) and ``advice``.

    Raises:
        ConfigError: the run has fewer steps than a profile takes.
    """
    steps = stage.plan(recipe).get("steps", 0)
    if steps < ALL_STEPS:
        raise config.ConfigError(
            f"a profile takes {ALL_STEPS} steps, this run has {steps}: raise training.epochs or add records"
        )
    asked = stage.request(recipe)
    with tempfile.TemporaryDirectory(prefix="supreme-profile-") as folder:
        driver.embed_queries(recipe, folder)
        trainer = Trainer(
            profile_loop,  # type: ignore[arg-type]
            train_loop_config=driver.loop_config(recipe, asked, folder),
            scaling_config=scaling(recipe.training),
            run_config=ray.train.RunConfig(
                name="profile",
                storage_path=folder,
                logging_config=ray.train.LoggingConfig(log_level="WARNING"),  # type: ignore[call-arg]
            ),
        )
        found: dict[str, Any] = fitted(trainer).return_value  # type: ignore[attr-defined]
    for line in lines(found):
        logger.info(line)
    return found


def profile_loop(told: dict[str, Any]) -> dict[str, Any]:
    """What every worker runs; the result is the first worker's."""
    run, _ = open_run(told)
    batches = run.batches(0, ALL_STEPS)
    _train(run, batches, WARM_UP)
    waited, seconds = _train(run, batches, STEPS)
    memory_bytes = _memory_bytes(run.learner.device)  # before the profiler takes more than a step does
    phases = _phases(run, batches)
    alone = _phases(run, batches, reduce=False)
    with FlopCounterMode(display=False) as counter:
        _train(run, batches, 1)
    milliseconds = {"loader wait": waited, **phases}
    if run.world > 1:
        # The rest of it is hidden behind the backward pass.
        milliseconds["all-reduce"] = max(0.0, phases["backward"] - alone["backward"])
        milliseconds["backward"] -= milliseconds["all-reduce"]
    milliseconds["other"] = max(0.0, seconds - sum(milliseconds.values()))
    flop = counter.get_total_flops()
    found = {
        "device": _device_name(run.learner.device),
        "workers": run.world,
        "threads": torch.get_num_threads(),
        "precision": "bf16" if run.learner.bf16 else "fp32",
        "batch_size": run.order.batch_size,
        "milliseconds": {name: round(1000 * value, 2) for name, value in milliseconds.items()},
        "step_ms": round(1000 * seconds, 2),
        "records_per_s": round(run.order.global_batch / seconds, 1),
        "gflop_per_record": round(flop / run.order.batch_size / 1e9, 3),
        "gflop_per_s": round(flop / seconds / 1e9, 1),
        "peak_gflop_per_s": round(_peak_flop_per_s(run) / 1e9, 1),
        "memory_mb": round(memory_bytes / 1e6),
    }
    return found | {"advice": advice(found)}


def _train(run: Run, batches: Iterator[pa.Table], steps: int) -> tuple[float, float]:
    """Seconds a step that were waited for data, and seconds a step in all."""
    total = run.order.records * run.recipe.training.epochs
    waited, began = 0.0, time.perf_counter()
    for step in range(steps):
        batch, wait = run.next(batches)
        run.learner.step(batch, step, step * run.order.global_batch, total)
        waited += wait
    if run.learner.device.type == "cuda":
        torch.cuda.synchronize()
    return waited / steps, (time.perf_counter() - began) / steps


def _phases(run: Run, batches: Iterator[pa.Table], reduce: bool = True) -> dict[str, float]:
    """Seconds a step of each phase that the step names; ``reduce``: gradients are averaged over workers."""
    if isinstance(run.learner.wrapped, DistributedDataParallel):
        run.learner.wrapped.require_backward_grad_sync = reduce
    on_gpu = run.learner.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with torch.profiler.profile(activities=activities) as profiler:
        _train(run, batches, STEPS)
    return {
        event.key.removeprefix(_PHASE): (event.device_time_total if on_gpu else event.cpu_time_total)
        / 1e6
        / STEPS
        for event in profiler.key_averages()
        if event.key.startswith(_PHASE)
    }


def _peak_flop_per_s(run: Run) -> float:
    """What this device makes of one large product in the precision of the run, all workers at it at once."""
    made = torch.bfloat16 if run.learner.bf16 else torch.float32
    one = torch.randn(_PEAK_SIZE, _PEAK_SIZE, device=run.learner.device).to(made)
    best = float("inf")
    for _ in range(_PEAK_TRIES):
        began = time.perf_counter()
        one @ one
        if run.learner.device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return 2 * _PEAK_SIZE**3 / best


def _memory_bytes(device: torch.device) -> int:
    """The most that this worker has held: on the GPU, or of the machine's memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
