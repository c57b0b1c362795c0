"""The folders that a recipe trains on."""

from __future__ import annotations

import os

from supreme.config import Recipe


def shard_folders(recipe: Recipe) -> list[str]:
    """The shard folder of each source of a recipe."""
    return [recipe.folder(f"shards/{source.dataset}") for source in recipe.sources]


def absolute(uri: str) -> str:
    """The URI independent of the working directory, which is another one in a worker."""
    return uri if "://" in uri else os.path.abspath(os.path.expanduser(uri))
