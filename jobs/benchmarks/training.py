"""Training on Ray as users start it: what a second worker adds, and how long a step waits for its data."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from statistics import median

from benchmarks import Measurements, table
from benchmarks.timing import interleaved
from supreme import config, log
from supreme.reports import stage
from supreme.reports.spread import on_ray
from supreme.settings.data import Source
from supreme.shards import build, plan
from supreme.training.data.sources import shard_folders
from supreme.training.profiling.profile import Profile
from supreme.training.profiling.profiler import ALL_STEPS, profile

VIT = "vit1d_tiny"
WORKERS = (1, 2)
_COLUMNS = ("workers", "step_ms", "records_per_s", "gflop_per_s", "peak_gflop_per_s", "memory_mb")

Session = Callable[[], AbstractContextManager[None]]
logger = log.get("bench")


def compare(recipe: config.Recipe, session: Session) -> Measurements:
    """Profile training with one worker and with two, in turn: the recipe's encoder, and ViT-tiny.

    The records are ``bench.records`` simulated ones in the shape that the recipe gives its shards.

    Returns:
        Medians of each way; ``second_worker``: records a second of two workers over those of one, by encoder;
        ``loader_wait``: the share of a step of two workers that waits for data, by encoder.
    """
    with tempfile.TemporaryDirectory(prefix="supreme-bench-") as root, session():
        source = Source(kind="simulated", records=recipe.bench.records)
        ours = recipe.model_copy(update={"root": root, "sources": (source,)})
        _write(ours)
        encoders = list(dict.fromkeys([ours.model.encoder, VIT]))
        ways = {_name(encoder, n): _variant(ours, n, encoder) for encoder in encoders for n in WORKERS}
        measures = {name: partial(profile, way) for name, way in ways.items()}
        profiles = interleaved(measures, recipe.bench.repetitions)
    rows = {
        name: {column: round(median(getattr(one, column) for one in each), 2) for column in _COLUMNS}
        for name, each in profiles.items()
    }
    for line in table(rows):
        logger.info(line)
    alone, both = ({e: profiles[_name(e, n)] for e in encoders} for n in WORKERS)
    return {
        "suite": "training",
        "device": alone[VIT][0].device,
        "ways": rows,
        "milliseconds": {name: each[-1].milliseconds for name, each in profiles.items()},
        "second_worker": {e: _gain(alone[e], both[e]) for e in encoders},
        "loader_wait": {e: _wait(both[e]) for e in encoders},
    }


def _name(encoder: str, workers: int) -> str:
    return f"{encoder}, {workers} worker{'s' * (workers > 1)}"


def _gain(one: Sequence[Profile], two: Sequence[Profile]) -> float:
    pairs = zip(one, two, strict=True)
    return round(median(b.records_per_s / a.records_per_s for a, b in pairs), 3)


def _wait(profiles: Sequence[Profile]) -> float:
    return round(median(profile.share("loader wait") for profile in profiles), 4)


def _write(recipe: config.Recipe) -> None:
    """Shards and labels, as the jobs make them."""
    for source in recipe.sources:
        build.carry_out(plan.survey(recipe, source))
    stage.build(recipe, shard_folders(recipe), recipe.folder("labels"), spread=on_ray)


def _variant(recipe: config.Recipe, workers: int, encoder: str) -> config.Recipe:
    """As many epochs as a profile takes steps."""
    training = recipe.training
    epochs = 1 + ALL_STEPS * workers * training.batch_size / (0.8 * recipe.bench.records)
    return recipe.model_copy(
        update={
            "training": training.model_copy(update={"workers": workers, "epochs": epochs}),
            "model": recipe.model.model_copy(update={"encoder": encoder}),
        }
    )
