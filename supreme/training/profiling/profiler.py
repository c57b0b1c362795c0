"""Where the time of a training step goes: a few steps of the real run, timed and counted, with advice.

Nothing is kept: no checkpoint is written, and the run of the recipe is not touched.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace

import ray.train
import torch

from supreme import log
from supreme.config import ConfigError, Recipe
from supreme.runtime.session import ray_session
from supreme.training.profiling import measure
from supreme.training.profiling.advice import advice, lines
from supreme.training.profiling.profile import Profile
from supreme.training.run import driver
from supreme.training.run.ray_trainer import Trainer, fit, scaling
from supreme.training.run.stage import PretrainStage
from supreme.training.run.worker import BATCHES_AHEAD
from supreme.training.run.worker_setup import open_run

STEPS = 20
#: The first steps allocate, and use the batches that were read while nobody waited.
WARM_UP = BATCHES_AHEAD + 4
#: Timed; timed by phase; the same without all-reduce; counted.
ALL_STEPS = WARM_UP + 3 * STEPS + 1

logger = log.get("profile")


def profile(recipe: Recipe) -> Profile:
    """Train a few steps of the recipe and measure where the time goes.

    Raises:
        ConfigError: the run has fewer steps than a profile takes.
    """
    stage = PretrainStage.open(recipe)
    steps = stage.plan().steps
    if steps < ALL_STEPS:
        raise ConfigError(
            f"a profile takes {ALL_STEPS} steps, this run has {steps}: raise training.epochs or add records"
        )
    with tempfile.TemporaryDirectory(prefix="supreme-profile-") as folder, ray_session():
        stage = replace(stage, folder=folder)
        driver.embed_queries(stage)

        def worker_loop() -> Profile:
            return profile_loop(stage)

        trainer = Trainer(
            worker_loop,  # type: ignore[arg-type]
            scaling_config=scaling(recipe.training),
            run_config=ray.train.RunConfig(
                name="profile",
                storage_path=folder,
                logging_config=ray.train.LoggingConfig(log_level="WARNING"),  # type: ignore[call-arg]
            ),
        )
        measured: Profile = fit(trainer).return_value  # type: ignore[attr-defined]
    for line in lines(measured):
        logger.info(line)
    return measured


def profile_loop(stage: PretrainStage) -> Profile:
    """What every worker runs; the result is the first worker's."""
    run, _ = open_run(stage)
    batches = run.batches(0, ALL_STEPS)
    measure.run_steps(run, batches, WARM_UP)
    waited, seconds = measure.run_steps(run, batches, STEPS)
    memory = measure.memory_bytes(run.learner.device)  # before the profiler takes more than a step does
    phases = measure.phases(run, batches, STEPS)
    unreduced = measure.phases(run, batches, STEPS, reduce=False)
    flop = measure.flop_per_step(run, batches)
    parts = {"loader wait": waited, **phases}
    if run.world > 1:
        # The rest of the all-reduce overlaps with the backward pass.
        parts["all-reduce"] = max(0.0, phases["backward"] - unreduced["backward"])
        parts["backward"] -= parts["all-reduce"]
    parts["other"] = max(0.0, seconds - sum(parts.values()))
    measured = Profile(
        device=measure.device_name(run.learner.device),
        workers=run.world,
        threads=torch.get_num_threads(),
        precision="bf16" if run.learner.bf16 else "fp32",
        batch_size=run.order.batch_size,
        milliseconds={name: round(1000 * value, 2) for name, value in parts.items()},
        step_ms=round(1000 * seconds, 2),
        records_per_s=round(run.order.global_batch / seconds, 1),
        gflop_per_record=round(flop / run.order.batch_size / 1e9, 3),
        gflop_per_s=round(flop / seconds / 1e9, 1),
        peak_gflop_per_s=round(measure.peak_flop_per_s(run) / 1e9, 1),
        memory_mb=round(memory / 1e6),
    )
    return measured.model_copy(update={"advice": advice(measured)})
