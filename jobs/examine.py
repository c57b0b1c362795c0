"""Examine a bundle: how robust it is, what its scores come from, and which labels look wrong.

python jobs/examine.py --config demo real=FOLDER evaluation.model_uri=models:/supreme-ecg@champion
"""

from __future__ import annotations

from collections.abc import Mapping

from supreme.config import Recipe
from supreme.runtime.cli import Options, main


def run(recipe: Recipe, options: Options) -> Mapping[str, object]:
    """Examine `evaluation.model_uri`, or the champion, on the real data sets, else on the simulated ones."""
    from supreme import storage
    from supreme.evaluation import targets
    from supreme.reporting import examination_page

    if options.dry_run:
        return {"model_uri": targets.model_uri(recipe), **recipe.examine.model_dump()}
    folder, manifest = examination_page.write(recipe, new=options.new)
    return {"page": storage.join(folder, examination_page.PAGE), **manifest.result.model_dump()}


if __name__ == "__main__":
    main(run, __doc__ or "")
