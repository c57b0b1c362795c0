"""Training on Ray as users start it: what a second worker adds, and how long a step waits for its data."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from statistics import median
from typing import Any

from supreme import config, log
from supreme.bench import table
from supreme.bench.timing import interleaved
from supreme.reports import stage
from supreme.reports.spread import on_ray
from supreme.shards import build, plan
from supreme.training.driver import shard_folders
from supreme.training.profiling import ALL_STEPS, profile

VIT = "vit1d_tiny"
_COLUMNS = ("workers", "step_ms", "records_per_s", "gflop_per_s", "peak_gflop_per_s", "memory_mb")

Session = Callable[[], AbstractContextManager[None]]
logger = log.get("bench")


def compare(recipe: config.Recipe, session: Session) -> dict[str, Any]:
    """Profile the recipe's training with one worker and with two, and ViT-tiny with two, in turn.

    The records are ``bench.records`` simulated ones in the shape that the recipe gives its shards.

    Returns:
        Medians of each way; ``second_worker``: records a second of two workers over those of one;
        ``loader_wait``: the share of ViT-tiny's step that waits for data.
    """
    with tempfile.TemporaryDirectory(prefix="supreme-bench-") as root, session():
        source = config.Source(kind="simulated", records=recipe.bench.records)
        ours = recipe.model_copy(update={"root": root, "sources": (source,)})
        _write(ours)
        ways = {
            "one worker": _variant(ours, 1, ours.model.encoder),
            "two workers": _variant(ours, 2, ours.model.encoder),
            f"two workers, {VIT}": _variant(ours, 2, VIT),
        }
        measures = {name: partial(profile, way) for name, way in ways.items()}
        found = interleaved(measures, recipe.bench.repetitions)
    rows = {
        name: {column: median(r[column] for r in each) for column in _COLUMNS} for name, each in found.items()
    }
    for line in table(rows):
        logger.info(line)
    pairs = zip(found["one worker"], found["two workers"], strict=True)
    waits = [one["milliseconds"]["loader wait"] / one["step_ms"] for one in found[f"two workers, {VIT}"]]
    return {
        "suite": "training",
        "device": found["one worker"][0]["device"],
        "ways": rows,
        "milliseconds": {name: each[-1]["milliseconds"] for name, each in found.items()},
        "second_worker": round(median(two["records_per_s"] / one["records_per_s"] for one, two in pairs), 3),
        "loader_wait": round(median(waits), 4),
    }


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
