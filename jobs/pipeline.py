"""The whole way: shards, labels, pre-training, registry, evaluation, report. A finished stage is skipped."""

from __future__ import annotations

import time
from typing import Any

import evaluate
import label
import pretrain
import promote
import report
import shard

from supreme import log, records
from supreme.config import ConfigError, Recipe
from supreme.runtime.cli import Options, main
from supreme.runtime.session import ray_session

STAGES = (shard, label, pretrain, promote, evaluate, report)


def run(recipe: Recipe, options: Options) -> dict[str, Any]:
    logger = log.get("pipeline")
    if options.dry_run:
        return {"plan": {stage.__name__: _plan(stage, recipe, options) for stage in STAGES}}
    from supreme import tracking
    from supreme.reports import stage as labels

    # What could only fail after hours of work is said before it.
    if recipe.training.objective == "simclr":
        raise ConfigError("simclr trains an encoder that answers no queries: run jobs/pretrain.py, not this")
    records.check(recipe)
    labels.check(recipe)
    tracking.open_store(recipe.tracking, recipe.root, recipe.folder("pretrain"))
    results: dict[str, Any] = {}
    start = time.monotonic()
    # One Ray session for all stages: start-up is most of what a finished pipeline takes.
    with ray_session():
        for number, stage in enumerate(STAGES, 1):
            name, begun = stage.__name__, time.monotonic()
            logger.info(f"stage {number}/{len(STAGES)}: {name}")
            results |= stage.run(recipe, options)
            if stage is promote and not recipe.evaluation.model_uri:
                # What was just trained is evaluated, also where an earlier model stays the champion.
                asked = recipe.evaluation.model_copy(update={"model_uri": results["model_uri"]})
                recipe = recipe.model_copy(update={"evaluation": asked})
            logger.info(f"stage {number}/{len(STAGES)}: {name} took {time.monotonic() - begun:.0f} s")
    return results | {"seconds": round(time.monotonic() - start, 1)}


def _plan(stage: Any, recipe: Recipe, options: Options) -> dict[str, Any]:
    """A stage's plan; what it waits for, where the stage before it is not finished."""
    try:
        return dict(stage.run(recipe, options))
    except ConfigError as error:
        return {"waits": str(error)}


if __name__ == "__main__":
    main(run, __doc__ or "")
