"""The model that is evaluated."""

from __future__ import annotations

from dataclasses import dataclass

from supreme import config, tracking
from supreme.inference import bundle
from supreme.registry import versions as registry


@dataclass(frozen=True)
class Target:
    """The model that is evaluated."""

    uri: str
    """With a version number where it is registered, so that a moved alias changes nothing."""
    sha256: str
    run_id: str
    selection: dict[str, str]
    """Metric, value and rule by which its weights were chosen; empty where they are not recorded."""
    store: str | None = None
    """Tracking store of a registered model."""


def wanted_uri(recipe: config.Recipe) -> str:
    """`evaluation.model_uri`, or the champion of the recipe's registered model."""
    return recipe.evaluation.model_uri or f"models:/{recipe.tracking.model}@{registry.CHAMPION}"


def target(recipe: config.Recipe, model_uri: str = "") -> Target:
    """The model of ``model_uri``, else of :func:`wanted_uri`.

    Raises:
        ConfigError: there is no such model.
    """
    uri = model_uri or wanted_uri(recipe)
    if not uri.startswith("models:"):
        return Target(uri, bundle.verify(uri), "", {})
    store = tracking.open_store(recipe.tracking, recipe.root)
    version = registry.resolve(uri, store)
    chosen = registry.Selection.of(version)
    return Target(
        f"models:/{version.name}/{version.version}",
        version.tags.get(registry.SHA256, ""),
        version.run_id or "",
        chosen.tags() if chosen else {},
        store,
    )


def folder_of(recipe: config.Recipe, model: Target) -> str:
    """Every model has its own folder, so that evaluating another one destroys nothing."""
    return recipe.folder(f"evaluation/{model.sha256[:12]}")
