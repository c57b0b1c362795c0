"""Registered models: bundles become versions with aliases, and a URI becomes a model that answers queries.

Aliases: `candidate` is the newest registered bundle, `champion` the one in use, `previous` the one before it.
One process at a time registers or promotes a model, see `supreme.registry.lock`; requests are patient, see
`supreme.tracking.server`.
"""

from __future__ import annotations

import math
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import mlflow.artifacts
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
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
from supreme.registry import facts, lock, logged_models
from supreme.tracking import server
from supreme.tracking.logged import safe_value
from supreme.training.run.summary import PretrainResult

CHAMPION, CANDIDATE, PREVIOUS = "champion", "candidate", "previous"
SHA256 = "sha256"
_URI = re.compile(r"models:/(?P<name>[^/@]+)(?:@(?P<alias>[\w-]+)|/(?P<version>\d+))$")
#: What MLflow says about a missing model, version and alias.
_ABSENT = {ErrorCode.Name(RESOURCE_DOES_NOT_EXIST), ErrorCode.Name(INVALID_PARAMETER_VALUE)}
#: What artifact stores say about a file that is not there.
_NO_FILE = re.compile("No such (artifact|file)")

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


def load(
    uri: str, tracking_uri: str | None = None, *, quality_checked: bool = False, device: str = "cpu"
) -> EcgQueryModel:
    """The model of ``models:/name@alias``, ``models:/name/3`` or of a bundle folder.

    Args:
        tracking_uri: of the registry; MLFLOW_TRACKING_URI when None.
        quality_checked: every record that will be scored has passed `quality.check` already.
        device: where the weights go, such as "cuda".

    Raises:
        ValueError: this machine has no such device.
        ConfigError: there is no such version.
        BundleError: the files are not those that were registered, or hold anything but a bundle.
        TrackingError: the tracking server is away, or refuses the login.
    """
    content = read_bundle(uri, tracking_uri)
    return EcgQueryModel.from_files(content, quality_checked=quality_checked).to(device)


def read_bundle(uri: str, tracking_uri: str | None = None) -> files.BundleFiles:
    """The verified bytes of the model that :func:`load` loads. Raises as that."""
    if not uri.startswith("models:"):
        return files.read(uri)
    with _downloaded(resolve(uri, tracking_uri), tracking_uri) as (bundle, digest):
        return files.read(bundle, digest)


def verify(version: ModelVersion, tracking_uri: str | None = None) -> None:
    """Read the bundle of a version from the artifact store, and compare it with what was registered.

    Raises:
        BundleError: its files are not there, or not those that were registered.
        TrackingError: the tracking server is away, or refuses the login.
    """
    with _downloaded(version, tracking_uri) as (bundle, digest):
        files.read(bundle, digest)


@contextmanager
def _downloaded(version: ModelVersion, tracking_uri: str | None) -> Iterator[tuple[str, str]]:
    """Local copy of a version's files for the block, and the digest that they must have."""
    digest, source = sha256_of(version), str(version.source)
    uri = f"models:/{version.name}/{version.version}"
    with tempfile.TemporaryDirectory() as folder:

        def download() -> bool:
            try:
                mlflow.artifacts.download_artifacts(source, dst_path=folder, tracking_uri=tracking_uri)
            except (OSError, MlflowException) as error:
                if not _NO_FILE.search(str(error)):
                    raise
                return False
            return True

        if not server.call(tracking_uri, download, f"download {uri}", limit_s=server.TRANSFER_S):
            raise BundleError(f"{uri}: its files are no longer in the artifact store: register it again")
        yield str(_root(Path(folder))), digest


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


def add_results(
    model: str, version: str, values: Mapping[str, facts.VersionValue], tracking_uri: str | None
) -> None:
    """Put the results of an evaluation into the description and the tag of a version."""
    client = server.connect(tracking_uri)
    description = client.get_model_version(model, version).description or ""
    client.set_model_version_tag(model, version, facts.RESULTS, facts.results_to_tag(values))
    client.update_model_version(model, version, facts.with_results(description, values))


def registered_model(name: str, tracking_uri: str | None) -> RegisteredModel:
    """A registered model with its aliases and tags.

    Raises:
        ConfigError: there is none of this name.
    """
    try:
        return server.connect(tracking_uri).get_registered_model(name)
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
            raise
        raise config.ConfigError(
            f"no registered model {name}: run jobs/register.py first, or correct tracking.model"
        ) from None


def same(one: ModelVersion | None, other: ModelVersion) -> bool:
    """Whether two answers of the registry mean one version (its number is int or str, by kind of store)."""
    return one is not None and int(one.version) == int(other.version)


def register(
    folder: str, run_id: str, *, tracking_uri: str, model: str, tags: Mapping[str, Any] | None = None
) -> ModelVersion:
    """Make a bundle a version of ``model`` with the alias `candidate`.

    A bundle is registered once only, however many processes ask for it. It becomes a logged model of the
    run; its digest becomes the version's tag `sha256`, against which every load is checked.

    Args:
        tags: more than the bundle says of itself.

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
            texts = facts.tags_of(bundle) | dict(tags or {})
            texts = {key: safe_value(value, key) for key, value in texts.items()}
            uploaded = logged_models.upload(client, bundle, run_id, model, texts)
            texts |= {SHA256: bundle.digest, logged_models.MODEL_ID: uploaded.model_id}
            still_mine()
            client.create_model_version(
                model,
                uploaded.artifact_location,
                run_id,
                tags=texts,
                description=facts.describe(bundle, texts),
                model_id=uploaded.model_id,
            )
            # A request whose answer was lost is repeated: the first version counts.
            version = _registered(client, model, bundle.digest)
            assert version is not None
            logged_models.link(client, uploaded.model_id, model, version.version)
            logger.info("registered %s as version %s of %s", folder, version.version, model)
        champion = find(f"models:/{model}@{CHAMPION}", tracking_uri)
        if not same(champion, version):
            client.set_registered_model_alias(model, CANDIDATE, version.version)
    return client.get_model_version(model, version.version)


def _is_in_place(version: ModelVersion, tracking_uri: str) -> bool:
    """Whether a version is the champion or the candidate, so that registering it again changes nothing."""
    aliases = (CHAMPION, CANDIDATE)
    return any(same(find(f"models:/{version.name}@{alias}", tracking_uri), version) for alias in aliases)


def _registered(client: MlflowClient, model: str, digest: str) -> ModelVersion | None:
    """The first version with this digest."""
    versions = client.search_model_versions(f"name = '{model}' and tags.{SHA256} = '{digest}'")
    return min(versions, key=lambda item: int(item.version), default=None)


def sha256_of(version: ModelVersion) -> str:
    """The digest of the bundle that was registered.

    Raises:
        BundleError: it is no version of this program.
    """
    if not version.tags.get(SHA256):
        raise BundleError(
            f"version {version.version} of {version.name} has no tag {SHA256}: register its bundle again"
        )
    return version.tags[SHA256]


def _root(folder: Path) -> Path:
    """The bundle in a download folder: some artifact stores keep the last part of the source path."""
    inner = list(folder.iterdir())
    return inner[0] if len(inner) == 1 and inner[0].is_dir() else folder
