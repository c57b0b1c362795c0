"""Write the evaluation of a model as one self-contained HTML page with figures and 12-lead plates."""

from __future__ import annotations

from collections.abc import Mapping

from supreme.config import Recipe
from supreme.runtime.cli import Options, main


def run(recipe: Recipe, options: Options) -> Mapping[str, object]:
    """Report on `evaluation.model_uri` (the champion when empty), which must be evaluated already."""
    from supreme.evaluation import targets
    from supreme.reporting import page

    if options.dry_run:
        return {
            "stage": "report",
            "model_uri": targets.model_uri(recipe),
            "plates": recipe.evaluation.plates,
        }
    uri, manifest = page.write(recipe, new=options.new)
    return {"report": uri, **manifest.result.model_dump()}


if __name__ == "__main__":
    main(run, __doc__ or "")
