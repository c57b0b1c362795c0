"""The shard folders that a recipe trains on."""

from __future__ import annotations

from supreme.config import Recipe


def shard_folders(recipe: Recipe) -> list[str]:
    """The shard folder of each source of a recipe."""
    return [recipe.folder(f"shards/{source.dataset}") for source in recipe.sources]
