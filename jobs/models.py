"""Print the versions of the registered model: aliases, values with intervals, recipe and date.

python jobs/models.py --config demo 'models.where.encoder="vit1d*"'
"""

from __future__ import annotations

from collections.abc import Mapping

from supreme.config import Recipe
from supreme.runtime.cli import Options, main


def run(recipe: Recipe, options: Options) -> Mapping[str, object]:
    """List the versions of `tracking.model` whose tags are those of `models.where`; nothing is changed."""
    from supreme import log, tracking
    from supreme.registry import listing

    if options.dry_run:
        return {"model": recipe.tracking.model, "where": recipe.models.where}
    store = tracking.open_store(recipe.tracking, recipe.root)
    rows = listing.versions_of(recipe.tracking.model, recipe.models.where, store)
    for row in rows:
        log.get("models").info(row.line())
    return {"model": recipe.tracking.model, "versions": [row.model_dump(mode="json") for row in rows]}


if __name__ == "__main__":
    main(run, __doc__ or "")
