"""What training is given, looked at before any worker starts."""

from __future__ import annotations

from supreme import manifest, storage
from supreme.config import ConfigError, Recipe
from supreme.reports.label_table import LABELS, VOCABULARY
from supreme.reports.result import LABELS as LABELS_STAGE
from supreme.shards.result import SHARDS
from supreme.training.data.sources import shard_folders


def check_labels(recipe: Recipe) -> None:
    """Labels and vocabulary are what the label stage wrote, from these shards.

    Raises:
        ConfigError: they are not, or a stage is unfinished; the message names what to do.
    """
    folder = recipe.folder("labels")
    made = manifest.require(folder, LABELS_STAGE)
    for shards in shard_folders(recipe):
        if made.inputs.get(recipe.stage_of(shards)) != manifest.require(shards, SHARDS).digest():
            raise ConfigError(
                f"{folder}: these labels were not made from what {shards} holds now: "
                "run jobs/label.py again with --new"
            )
    for name in (LABELS, VOCABULARY):
        uri = storage.join(folder, name)
        if storage.sha256(storage.read_bytes(uri)) != made.files[name].sha256:
            raise ConfigError(
                f"{uri} is not what the label stage wrote (its sha256 is not the manifest's): "
                "run jobs/label.py again with --new"
            )
