"""The whole way: shards, labels, pre-training, registry, zero-shot evaluation, report. A finished stage is skipped."""

from __future__ import annotations

import time
from typing import Any

import evaluate
import label
import pretrain
import promote
import report
import shard

from supreme import log
from supreme.config import Recipe
from supreme.job import Options, main, ray_session

STAGES = (shard, label, pretrain, promote, evaluate, report)


def run(recipe: Recipe, options: Options) -> dict[str, Any]:
    logger = log.get("pipeline")
    if options.dry_run:
        return {"plan": [stage.run(recipe, options) for stage in STAGES]}
    results: dict[str, Any] = {}
    start = time.monotonic()
    # One Ray session for all stages: start-up is most of what a finished pipeline takes.
    with ray_session():
        for number, stage in enumerate(STAGES, 1):
            name, begun = stage.__name__, time.monotonic()
            logger.info(f"stage {number}/{len(STAGES)}: {name}")
            results |= stage.run(recipe, options)
            logger.info(f"stage {number}/{len(STAGES)}: {name} took {time.monotonic() - begun:.0f} s")
    return results | {"seconds": round(time.monotonic() - start, 1)}


if __name__ == "__main__":
    main(run, __doc__ or "")
