"""Read every byte of finished shards and hold it against their manifests: of all sources of a recipe."""

from __future__ import annotations

from collections.abc import Mapping

from supreme import manifest
from supreme.config import Recipe
from supreme.records import all_sources
from supreme.runtime.cli import Options, main


def run(recipe: Recipe, options: Options) -> Mapping[str, object]:
    """Compare every finished shard folder of the recipe with its manifest."""
    from supreme.shards import plan, verify
    from supreme.shards.result import SHARDS

    folders = [plan.folder_of(recipe, source) for source in all_sources(recipe)]
    if options.dry_run:
        return {"verify": {folder: verify.summary(manifest.require(folder, SHARDS)) for folder in folders}}
    return {"verified": verify.verify(folders)}


if __name__ == "__main__":
    main(run, __doc__ or "")
