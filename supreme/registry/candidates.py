"""The step from a finished pre-training stage to a registered candidate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from supreme import config, manifest, storage, tracking
from supreme.registry import versions
from supreme.registry.versions import Selection
from supreme.training.run.summary import PRETRAIN


@dataclass(frozen=True)
class Pretrained:
    """A finished pre-training stage whose bundle can be registered."""

    bundle: str
    run_id: str
    selection: Selection
    code_version: str


def pretrained(recipe: config.Recipe) -> Pretrained:
    """The bundle of the recipe's pre-training stage.

    Raises:
        ConfigError: it is not finished, or trained an encoder alone.
    """
    folder = recipe.folder("pretrain")
    finished = manifest.require(folder, PRETRAIN)
    if recipe.training.objective == "simclr":
        raise config.ConfigError(
            "training.objective=simclr trains an encoder alone: there is no bundle to register"
        )
    selection = Selection.of_training(finished.result)
    return Pretrained(
        storage.join(folder, "bundle"), finished.result.run_id, selection, finished.code_version
    )


def tags_of(recipe: config.Recipe) -> dict[str, str]:
    """What the recipe says of a model that the bundle does not: loss, labels, licence."""
    return {
        "recipe": recipe.name,
        "loss": recipe.training.loss,
        "labels": f"{recipe.labels.extractor}, min_count {recipe.labels.min_count}",
        "licence": recipe.tracking.licence or "not stated",
    }


def uri_of_pretrained(recipe: config.Recipe) -> str:
    """The version of the recipe's pre-trained bundle, which is registered if it is not yet.

    Raises:
        ConfigError: as :func:`pretrained`.
    """
    return str(register(recipe)["model_uri"])


def register(recipe: config.Recipe) -> dict[str, Any]:
    """Register the bundle as a version with the alias `candidate`; the version and its selection.

    Raises:
        ConfigError: as :func:`pretrained`.
    """
    model = pretrained(recipe)
    store = tracking.open_store(recipe.tracking, recipe.root)
    version = versions.register(
        model.bundle,
        model.run_id,
        tracking_uri=store,
        model=recipe.tracking.model,
        tags=tags_of(recipe) | model.selection.tags() | {"code_version": model.code_version},
    )
    uri = f"models:/{version.name}/{version.version}"
    return {"model_uri": uri, "version": int(version.version), **model.selection.tags()}
