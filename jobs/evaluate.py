"""Query a registered model for every condition that a data set annotates: AUROC with intervals, by class."""

from __future__ import annotations

from collections.abc import Mapping

from supreme.config import Recipe
from supreme.runtime.cli import Options, main


def run(recipe: Recipe, options: Options) -> Mapping[str, object]:
    """Evaluate `evaluation.model_uri`, or the champion, on the shards of the recipe and of `real`."""
    from supreme import log, storage
    from supreme.evaluation import console, results, stage, targets

    if options.dry_run:
        return stage.plan(recipe).model_dump()
    model = targets.target(recipe)
    result = stage.run(recipe, model.uri, new=options.new)
    for line in console.table(result):
        log.get("evaluate").info(line)
    folder = targets.folder_of(recipe, model)
    return {
        "model_uri": model.uri,
        "folder": folder,
        "results": storage.join(folder, results.RESULTS),
        "macro_auroc": result.macro("headline"),
        "macro_auroc_seen": result.macro("seen"),
        "macro_auroc_unseen": result.macro("unseen"),
        "left_out": result.left_out if result.model.trained_on is not None else "unknown",
    }


if __name__ == "__main__":
    main(run, __doc__ or "")
