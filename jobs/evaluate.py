"""Ask a registered model about every condition that a data set annotates: AUROC with intervals, by class."""

from __future__ import annotations

from typing import Any

from supreme.config import Recipe
from supreme.runtime.cli import Options, main


def run(recipe: Recipe, options: Options) -> dict[str, Any]:
    """Evaluate `evaluation.model_uri` (the champion when empty) on the shards of the recipe and of `real`."""
    from supreme import log, storage
    from supreme.evaluation import console, stage, targets

    if options.dry_run:
        return stage.plan(recipe)
    model = targets.target(recipe)
    stage.run(recipe, model.uri, new=options.new)
    folder = targets.folder_of(recipe, model)
    uri = storage.join(folder, stage.RESULTS)
    parts = storage.read_json(uri)["datasets"]
    for line in console.table(parts):
        log.get("evaluate").info(line)
    macro = {
        group: {name: part["macro"][group]["auroc"] for name, part in parts.items()}
        for group in ("headline", "seen", "unseen")
    }
    return {
        "model_uri": model.uri,
        "folder": folder,
        "results": uri,
        "macro_auroc": macro["headline"],
        "macro_auroc_seen": macro["seen"],
        "macro_auroc_unseen": macro["unseen"],
    }


if __name__ == "__main__":
    main(run, __doc__ or "")
