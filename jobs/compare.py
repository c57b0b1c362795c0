"""Compare evaluated models on the same records: verdicts with power, forest plots, and a leaderboard.

python jobs/compare.py --config demo 'compare.models=["models:/supreme-ecg/2", "models:/supreme-ecg/1"]'
"""

from __future__ import annotations

from collections.abc import Mapping

from supreme.config import Recipe
from supreme.runtime.cli import Options, main


def run(recipe: Recipe, options: Options) -> Mapping[str, object]:
    """Compare the first of `compare.models` with each of the others; whichever has no result is evaluated."""
    from supreme import log, storage
    from supreme.reporting import comparison_page

    if options.dry_run:
        return {"models": recipe.compare.models, "margin": recipe.compare.margin}
    folder, manifest = comparison_page.write(recipe, new=options.new)
    for line in comparison_page.lines(comparison_page.read(folder)):
        log.get("compare").info(line)
    return {"page": storage.join(folder, comparison_page.PAGE), **manifest.result.model_dump()}


if __name__ == "__main__":
    main(run, __doc__ or "")
