"""Search over keys of the recipe with Ray Tune; the best setting becomes a registered candidate."""

from __future__ import annotations

from collections.abc import Mapping

from supreme.config import Recipe
from supreme.runtime.cli import Options, main


def run(recipe: Recipe, options: Options) -> Mapping[str, object]:
    """Run the trials, register the best; the result names its version and every trial's value."""
    from supreme.sweep import dry_run, stage

    if options.dry_run:
        return dry_run.plan(recipe).model_dump(mode="json")
    from supreme.reporting import sweep_page

    return stage.run(recipe, draw=sweep_page.write, new=options.new).result.model_dump(mode="json")


if __name__ == "__main__":
    main(run, __doc__)
