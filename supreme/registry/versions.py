"""Registered models: bundles become versions with aliases, and a URI becomes a model that answers queries.

Aliases: `candidate` is the newest registered bundle, `champion` the one in use, `previous` the one before it.
One process at a time registers or promotes a model, see `supreme.registry.lock`; requests are patient, see
`supreme.tracking.server`.
"""

from __future__ import annotations

import math
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
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

from supreme import config, log
from supreme.inference.bundle import BundleError, files
from supreme.inference.query_model import EcgQueryModel
from supreme.registry import lock
from supreme.tracking import server
from supreme.tracking.logged import safe_value
from supreme.training.run.summary import PretrainResult

CHAMPION, CANDIDATE, PREVIOUS = "champion", "candidate", "previous"
SHA256, REASON = "sha256", "promotion_reason"
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


def load(uri: str, tracking_uri: str | None = None, *, quality_checked: bool = False) -> EcgQueryModel:
    """The model of ``models:/name@alias``, ``models:/name/3`` or of a bundle folder.

    Args:
        tracking_uri: of the registry; MLFLOW_TRACKING_URI when None.
        quality_checked: every record that will be scored has passed `quality.check` already.

    Raises:
        ConfigError: there is no such version.
        BundleError: the files are not those that were registered, or hold anything but a bundle.
        TrackingError: the tracking server is away, or refuses the login.
    """
    return EcgQueryModel.from_files(read_bundle(uri, tracking_uri), quality_checked=quality_checked)


def read_bundle(uri: str, tracking_uri: str | None = None) -> files.BundleFiles:
    """The verified bytes of the model that :func:`load` loads. Raises as that."""
    if not uri.startswith("models:"):
        return files.read(uri)
    version = resolve(uri, tracking_uri)
    source = str(version.source)
    with tempfile.TemporaryDirectory() as folder:
        download = partial(mlflow.artifacts.download_artifacts, dst_path=folder, tracking_uri=tracking_uri)
        server.call(tracking_uri, lambda: download(source), f"download {uri}", limit_s=server.TRANSFER_S)
        return files.read(str(_root(Path(folder))), _sha256(version))


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
    client = server.connect(tracking_uri)
    try:
        if parts["alias"]:
            version = client.get_model_version_by_alias(parts["name"], parts["alias"])
        else:
            version = client.get_model_version(parts["name"], parts["version"])
    except MlflowException as error:
        if error.error_code not in _ABSENT:
            raise
        job = "promote" if parts["alias"] not in (None, CANDIDATE) else "register"
        raise config.ConfigError(f"{uri}: {error.message}; run jobs/{job}.py first") from None
    if not str(version.version).isdecimal():
        raise server.TrackingError(
            f"{server.address(tracking_uri)} answers without a version, as no MLflow server does; give the "
            "address of one as tracking.uri or MLFLOW_TRACKING_URI"
        )
    return version


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
    """Make a bundle a version of ``model`` with the alias `candidate`.

    A bundle is registered once only, however many processes ask for it. Its files become artifacts of the
    run; their digest becomes the version's tag `sha256`, against which every load is checked.

    Raises:
        BundleError: the folder is no intact bundle.
        TrackingError: the tracking server is away, or refuses the login.
    """
    bundle = files.read(folder)
    client = server.connect(tracking_uri)
    version = _registered(client, model, bundle.digest)
    if version is not None and _is_in_place(version, tracking_uri):
        logger.info("%s is version %s of %s already", folder, version.version, model)
        return client.get_model_version(model, version.version)
    try:
        client.create_registered_model(model)
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
            raise
    with lock.exclusive(model, tracking_uri) as still_mine:
        version = _registered(client, model, bundle.digest)
        if version is not None:
            logger.info("%s is version %s of %s already", folder, version.version, model)
        else:
            source = _upload(client, bundle, run_id)
            texts = {key: safe_value(value, key) for key, value in (tags or {}).items()}
            still_mine()
            client.create_model_version(model, source, run_id, tags=texts | {SHA256: bundle.digest})
            # A request whose answer was lost is repeated: the first version counts.
            version = _registered(client, model, bundle.digest)
            assert version is not None
            logger.info("registered %s as version %s of %s", folder, version.version, model)
        champion = find(f"models:/{model}@{CHAMPION}", tracking_uri)
        if not same(champion, version):
            client.set_registered_model_alias(model, CANDIDATE, version.version)
    return client.get_model_version(model, version.version)


def promote(version: ModelVersion, *, tracking_uri: str, reason: str) -> None:
    """Give a version the alias `champion`, whoever has it; the champion before it becomes `previous`.

    Raises:
        TrackingError: the tracking server is away, or refuses the login.
    """
    with lock.exclusive(version.name, tracking_uri) as still_mine:
        champion = find(f"models:/{version.name}@{CHAMPION}", tracking_uri)
        still_mine()
        _promote(version, champion, tracking_uri, reason)


def replace_champion(
    version: ModelVersion, champion: ModelVersion | None, *, tracking_uri: str, reason: str
) -> bool:
    """As :func:`promote`, if ``champion`` is the champion still (None: if there is none); else False.

    Of several processes that have compared their candidates with the same champion only one replaces it.

    Raises:
        TrackingError: the tracking server is away, or refuses the login.
    """
    with lock.exclusive(version.name, tracking_uri) as still_mine:
        current = find(f"models:/{version.name}@{CHAMPION}", tracking_uri)
        is_unchanged = same(current, champion) if champion else current is None
        if is_unchanged:
            still_mine()
            _promote(version, current, tracking_uri, reason)
        return is_unchanged


def _promote(version: ModelVersion, champion: ModelVersion | None, tracking_uri: str, reason: str) -> None:
    client = server.connect(tracking_uri)
    if champion is not None and not same(champion, version):
        client.set_registered_model_alias(version.name, PREVIOUS, champion.version)
    client.set_model_version_tag(version.name, version.version, REASON, safe_value(reason, REASON))
    client.set_registered_model_alias(version.name, CHAMPION, version.version)
    logger.info("version %s of %s is the champion: %s", version.version, version.name, reason)


def _is_in_place(version: ModelVersion, tracking_uri: str) -> bool:
    """Whether a version is the champion or the candidate, so that registering it again changes nothing."""
    aliases = (CHAMPION, CANDIDATE)
    return any(same(find(f"models:/{version.name}@{alias}", tracking_uri), version) for alias in aliases)


def _registered(client: MlflowClient, model: str, digest: str) -> ModelVersion | None:
    """The first version with this digest."""
    versions = client.search_model_versions(f"name = '{model}' and tags.{SHA256} = '{digest}'")
    return min(versions, key=lambda item: int(item.version), default=None)


def _upload(client: MlflowClient, bundle: files.BundleFiles, run_id: str) -> str:
    """Make the verified bytes of a bundle artifacts of a run; where they are."""
    # The digest in the path keeps an earlier bundle of the same run intact.
    place = f"bundle-{bundle.digest[:12]}"
    with tempfile.TemporaryDirectory() as temporary:
        for name, content in bundle.contents.items():
            (Path(temporary) / name).write_bytes(content)
        client.log_artifacts(run_id, temporary, place)
    return f"{client.get_run(run_id).info.artifact_uri}/{place}"


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
