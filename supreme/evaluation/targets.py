"""The model that is evaluated."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from supreme import config, storage, tracking
from supreme.evaluation.model_kinds import ModelKind, kind_of
from supreme.inference import bundle, exported
from supreme.registry import versions
from supreme.registry.facts import RESULTS
from supreme.registry.logged_models import MODEL_ID
from supreme.registry.versions import Selection


@dataclass(frozen=True)
class Target:
    """The model that is evaluated."""

    uri: str
    """With a version number where it is registered, so that a moved alias changes nothing."""
    sha256: str
    run_id: str = ""
    """The MLflow run that made it; empty for a bundle folder."""
    selection: Selection | None = None
    """How its weights were selected; None where that is not recorded."""
    store: str | None = None
    """Tracking store of a registered model."""
    kind: ModelKind = "bundle"
    model_id: str = ""
    """Logged model of a registered version; empty where it has none."""
    has_results: bool = False
    """Whether the registered version says what an evaluation gave."""

    @property
    def version(self) -> tuple[str, str]:
        """Name and number of a registered version."""
        name, _, number = self.uri.removeprefix("models:/").rpartition("/")
        return name, number


def model_uri(recipe: config.Recipe) -> str:
    """`evaluation.model_uri`, or the champion of the recipe's registered model."""
    return recipe.evaluation.model_uri or f"models:/{recipe.tracking.model}@{versions.CHAMPION}"


def target(recipe: config.Recipe, uri: str = "") -> Target:
    """The model of ``uri``, or of :func:`model_uri` when empty.

    Where no model was promoted yet, the newest candidate stands in for the champion.

    Raises:
        ConfigError: there is no such model.
        BundleError: a registered version is no bundle.
    """
    named = uri or recipe.evaluation.model_uri
    uri = named or model_uri(recipe)
    if (kind := kind_of(uri)) != "bundle":
        return Target(uri, _digest(uri, kind), kind=kind)
    if not uri.startswith("models:"):
        return Target(uri, bundle.verify(uri))
    store = tracking.open_store(recipe.tracking, recipe.root)
    candidate = f"models:/{recipe.tracking.model}@{versions.CANDIDATE}"
    version = None if named else versions.find(uri, store) or versions.find(candidate, store)
    version = version or versions.resolve(uri, store)
    return Target(
        f"models:/{version.name}/{version.version}",
        versions.sha256_of(version),
        version.run_id or "",
        Selection.of(version),
        store,
        model_id=version.tags.get(MODEL_ID, ""),
        has_results=RESULTS in version.tags,
    )


def _digest(uri: str, kind: ModelKind) -> str:
    """Of a file, of a program and its description; of a class, of its name alone."""
    if kind == "class":
        return storage.sha256(uri.encode())
    if kind == "program":
        return exported.digest(uri)
    sha256 = hashlib.sha256()
    with storage.open_file(uri) as stream:
        while chunk := stream.read(1 << 22):
            sha256.update(chunk)
    return sha256.hexdigest()


def folder_of(recipe: config.Recipe, model: Target) -> str:
    """Every model has its own folder, so that evaluating another one destroys nothing."""
    return recipe.folder(f"evaluation/{model.sha256[:12]}")
