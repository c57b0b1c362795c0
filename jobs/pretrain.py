"""Pre-train the encoder on shards and labels; started again it goes on from the latest checkpoint."""

from __future__ import annotations

from collections.abc import Mapping

from supreme.config import Recipe
from supreme.runtime.cli import Options, main


def run(recipe: Recipe, options: Options) -> Mapping[str, object]:
    """Train, write the bundle, record the MLflow run; the result names run and bundle."""
    from supreme import pretraining
    from supreme.training.run import stage

    if options.dry_run:
        return stage.plan(recipe).model_dump()
    if options.profile:
        from supreme.training.profiling.profiler import profile

        return profile(recipe).model_dump()
    manifest = pretraining.run(recipe, new=options.new)
    return pretraining.places(recipe) | manifest.result.model_dump(mode="json")


if __name__ == "__main__":
    main(run, __doc__, switches={"profile": "time a few steps, tell where the time goes, and keep nothing"})
