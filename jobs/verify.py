"""Check every byte of the finished shards of all sources of a recipe against their manifests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from supreme.config import Recipe
from supreme.records import all_sources
from supreme.runtime.cli import Options, main


def run(recipe: Recipe, options: Options) -> Mapping[str, object]:
    """Compare every finished shard folder of the recipe with its manifest."""
    from supreme.evaluation.datasets import has_evaluation_shards
    from supreme.shards import plan, verify

    sources = all_sources(recipe)
    folders = [plan.folder_of(recipe, source) for source in sources]
    folders += [
        plan.folder_of(recipe, one, whole=True) for one in sources if has_evaluation_shards(recipe, one)
    ]
    if options.dry_run:
        return {"verify": {folder: asdict(size) for folder, size in verify.sizes(folders).items()}}
    return {"verified": {folder: asdict(size) for folder, size in verify.verify(folders).items()}}


if __name__ == "__main__":
    main(run, __doc__ or "")
