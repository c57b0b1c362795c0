"""Try losses and encoders with Ray Tune, nested MLflow runs; the best becomes a registered candidate."""

from __future__ import annotations

from collections.abc import Mapping

from supreme.config import Recipe
from supreme.runtime.cli import Options, main


def run(recipe: Recipe, options: Options) -> Mapping[str, object]:
    """Run the trials, register the best; the result names its version and every trial's value."""
    from supreme.sweep import stage

    if options.dry_run:
        return {name: plan.model_dump() for name, plan in stage.plans(recipe).items()}
    return stage.run(recipe, new=options.new).result.model_dump(mode="json")


if __name__ == "__main__":
    main(run, __doc__)
