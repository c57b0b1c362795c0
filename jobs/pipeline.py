"""Shards, labels, pre-training, registry, evaluation, gate and report; a finished stage is skipped."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import evaluate
import label
import pretrain
import promote
import register
import report
import shard

from supreme import log, records
from supreme.config import ConfigError, Recipe
from supreme.runtime.cli import Options, main
from supreme.runtime.session import ray_session

STAGES = (shard, label, pretrain, register, evaluate, promote, report)


def run(recipe: Recipe, options: Options) -> Mapping[str, object]:
    """Run all stages in one Ray session; the result joins those of the stages."""
    logger = log.get("pipeline")
    if options.dry_run:
        return {"plan": {one.__name__: _plan(one, recipe, options) for one in STAGES}}
    from supreme import starting, tracking
    from supreme.reports import stage as labels

    # Fail before hours of work, not after.
    if recipe.training.objective == "simclr":
        raise ConfigError("simclr trains an encoder that answers no queries: run jobs/pretrain.py, not this")
    for check in (records.check, labels.check, starting.check):
        check(recipe)
    tracking.open_store(recipe.tracking, recipe.root, recipe.folder("pretrain"))
    results: dict[str, object] = {}
    own, start = recipe, time.monotonic()
    with ray_session():  # one for all: start-up is most of what a finished pipeline takes
        for number, stage in enumerate(STAGES, 1):
            name, stage_start = stage.__name__, time.monotonic()
            log.bind(recipe.name, name)
            logger.info(title := f"stage {number}/{len(STAGES)}: {name}")
            # The gate judges what was just trained; the recipe may name another model to evaluate.
            named = recipe.evaluation.model_uri and stage is not promote
            results |= stage.run(recipe if named else own, options)
            if stage is register:
                own = recipe.evaluating(str(results["model_uri"]))
            logger.info(f"{title} took {time.monotonic() - stage_start:.0f} s")
    return results | {"seconds": round(time.monotonic() - start, 1)}


def _plan(stage: Any, recipe: Recipe, options: Options) -> Mapping[str, object]:
    """A stage's plan, or what it waits for."""
    try:
        return dict(stage.run(recipe, options))
    except ConfigError as error:
        return {"waits": str(error)}


if __name__ == "__main__":
    main(run, __doc__ or "")
