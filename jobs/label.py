"""Reports to labels: statements, entities with assertions, the vocabulary of queries and the label table."""

from __future__ import annotations

from typing import Any

from supreme import manifest
from supreme.config import Recipe
from supreme.job import Options, main


def run(recipe: Recipe, options: Options) -> dict[str, Any]:
    from supreme.reports import label_table

    shards = [recipe.folder(f"shards/{source.dataset}") for source in recipe.sources]
    folder = recipe.folder("labels")
    if options.dry_run:
        inputs = {uri: manifest.read(uri) for uri in shards}
        known = {uri: made.counts["records"] for uri, made in inputs.items() if made}
        missing = [uri for uri, made in inputs.items() if made is None]
        return {"stage": "labels", "folder": folder, "records": known, "unfinished": missing}
    made = label_table.build(recipe, shards, folder, new=options.new)
    counts = {key: value for key, value in made.counts.items() if key != "entities"}
    return {"labels": folder, **counts}


if __name__ == "__main__":
    main(run, __doc__ or "")
