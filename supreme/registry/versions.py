"""Registered models: bundles become versions with aliases, and a URI becomes a model that answers queries.

Aliases: `candidate` is the newest registered bundle, `champion` the one in use, `previous` the one before it.
"""

from __future__ import annotations

import math
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import mlflow.artifacts
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    INVALID_PARAMETER_VALUE,
    RESOURCE_ALREADY_EXISTS,
    RESOURCE_DOES_NOT_EXIST,
    ErrorCode,
)

from supreme import config, log, storage
from supreme.inference.bundle import BundleError, files_of, verify
from supreme.inference.query_model import EcgQueryModel
from supreme.training.run.summary import PretrainResult

CHAMPION, CANDIDATE, PREVIOUS = "champion", "candidate", "previous"
SHA256 = "sha256"
_URI = re.compile(r"models:/(?P<name>[^/@]+)(?:@(?P<alias>[\w-]+)|/(?P<version>\d+))$")
#: What MLflow says about a missing model, version and alias.
_ABSENT = {ErrorCode.Name(RESOURCE_DOES_NOT_EXIST), ErrorCode.Name(INVALID_PARAMETER_VALUE)}

logger = log.get("registry")


@dataclass(frozen=True)
class Selection:
    """The number by which models are compared, with the rule and the data behind it."""

    metric: str
    value: float
    rule: str
    validation_digest: str

    def tags(self) -> dict[str, str]:
        return {
            "selection_metric": self.metric,
            "selection_value": repr(float(self.value)),
            "selection_rule": self.rule,
            "validation_digest": self.validation_digest,
        }

    @classmethod
    def of_training(cls, result: PretrainResult) -> Selection:
        """What a finished pre-training stage says; NaN where it has no value."""
        selection = result.selection
        value = math.nan if selection.value is None else selection.value
        return cls(selection.metric, value, selection.rule, result.validation_digest)

    @classmethod
    def of(cls, version: ModelVersion) -> Selection | None:
        """What was recorded when the version was registered."""
        tags = version.tags
        if "selection_value" not in tags:
            return None
        return cls(
            tags["selection_metric"],
            float(tags["selection_value"]),
            tags["selection_rule"],
            tags["validation_digest"],
        )


def load(uri: str, tracking_uri: str | None = None) -> EcgQueryModel:
    """The model of ``models:/name@alias``, ``models:/name/3`` or of a bundle folder.

    Args:
        tracking_uri: of the registry; MLFLOW_TRACKING_URI when None.

    Raises:
        ConfigError: there is no such version.
        BundleError: the files are not those that were registered, or hold anything but a bundle.
    """
    if not uri.startswith("models:"):
        return EcgQueryModel.from_bundle(uri)
    version = resolve(uri, tracking_uri)
    with tempfile.TemporaryDirectory() as folder:
        mlflow.artifacts.download_artifacts(version.source, dst_path=folder, tracking_uri=tracking_uri)
        return EcgQueryModel.from_bundle(str(_root(Path(folder))), _sha256(version))


def resolve(uri: str, tracking_uri: str | None = None) -> ModelVersion:
    """The version that ``models:/name@alias`` or ``models:/name/3`` names.

    Raises:
        ConfigError: there is none.
    """
    parts = _URI.match(uri)
    if parts is None:
        raise config.ConfigError(
            f"{uri!r} is no model: give models:/name@champion, models:/name/3 or a folder"
        )
    client = _client(tracking_uri)
    try:
        if parts["alias"]:
            return client.get_model_version_by_alias(parts["name"], parts["alias"])
        return client.get_model_version(parts["name"], parts["version"])
    except MlflowException as error:
        if error.error_code not in _ABSENT:
            raise
        raise config.ConfigError(f"{uri}: {error.message}; run jobs/promote.py first") from None


def find(uri: str, tracking_uri: str | None = None) -> ModelVersion | None:
    """Like :func:`resolve`, None where there is no such version."""
    try:
        return resolve(uri, tracking_uri)
    except config.ConfigError:
        return None


def same(one: ModelVersion | None, other: ModelVersion) -> bool:
    """Whether two answers of the registry mean one version (its number is int or str, by kind of store)."""
    return one is not None and int(one.version) == int(other.version)


def register(
    folder: str, run_id: str, *, tracking_uri: str, model: str, tags: Mapping[str, Any] | None = None
) -> ModelVersion:
    """Make a bundle a version of ``model`` with the alias `candidate`; a bundle is registered once only.

    The files become artifacts of the run; their digest becomes the version's tag `sha256`, against which
    every load is checked.

    Raises:
        BundleError: the folder is no intact bundle.
    """
    digest = verify(folder)
    client = _client(tracking_uri)
    try:
        client.create_registered_model(model)
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
            raise
    known = client.search_model_versions(f"name = '{model}' and tags.{SHA256} = '{digest}'")
    if known:
        version = min(known, key=lambda item: int(item.version))
        logger.info("%s is version %s of %s already", folder, version.version, model)
    else:
        # The digest in the path keeps an earlier bundle of the same run intact.
        place = f"bundle-{digest[:12]}"
        with tempfile.TemporaryDirectory() as temporary:
            for name in files_of(folder):
                (Path(temporary) / name).write_bytes(storage.read_bytes(storage.join(folder, name)))
            client.log_artifacts(run_id, temporary, place)
        source = f"{client.get_run(run_id).info.artifact_uri}/{place}"
        texts = {key: log.redact(str(value)) for key, value in (tags or {}).items()}
        version = client.create_model_version(model, source, run_id, tags=texts | {SHA256: digest})
        logger.info("registered %s as version %s of %s", folder, version.version, model)
    champion = find(f"models:/{model}@{CHAMPION}", tracking_uri)
    if not same(champion, version):
        client.set_registered_model_alias(model, CANDIDATE, version.version)
    return client.get_model_version(model, version.version)


def promote(version: ModelVersion, *, tracking_uri: str, reason: str) -> None:
    """Give a version the alias `champion`; the champion before it becomes `previous`."""
    client = _client(tracking_uri)
    champion = find(f"models:/{version.name}@{CHAMPION}", tracking_uri)
    if champion is not None and not same(champion, version):
        client.set_registered_model_alias(version.name, PREVIOUS, champion.version)
    client.set_model_version_tag(version.name, version.version, "promotion_reason", log.redact(reason))
    client.set_registered_model_alias(version.name, CHAMPION, version.version)
    logger.info("version %s of %s is the champion: %s", version.version, version.name, reason)


def _sha256(version: ModelVersion) -> str:
    if not version.tags.get(SHA256):
        raise BundleError(
            f"version {version.version} of {version.name} has no tag {SHA256}: register its bundle again"
        )
    return version.tags[SHA256]


def _root(folder: Path) -> Path:
    """The bundle in a download folder: some artifact stores keep the last part of the source path."""
    inner = list(folder.iterdir())
    return inner[0] if len(inner) == 1 and inner[0].is_dir() else folder


def _client(tracking_uri: str | None) -> MlflowClient:
    return MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)
