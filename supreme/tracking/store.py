"""Where runs are kept: a sqlite file of our own, or a tracking server."""

from __future__ import annotations

import fcntl
import logging
import os
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import mlflow
import mlflow.db
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode

from supreme import config, log, storage
from supreme.settings.tracking import Tracking
from supreme.storage import errors
from supreme.tracking import note

PROBE_TIMEOUT_S = 2.5
_DATABASE = "mlflow.db"
_ARTIFACTS = "mlartifacts"

#: What MLflow's page opens: runs and models by their metric, not traces of language models.
_EXPERIMENT = {
    "mlflow.experimentKind": "custom_model_development",
    "mlflow.experiment.primaryMetric.name": "validation_macro_auroc",
    "mlflow.experiment.primaryMetric.greaterIsBetter": "True",
}

logger = log.get("tracking")


def open_store(tracking: Tracking, root: str, folder: str = "") -> str:
    """The tracking URI of a recipe, ready to be written to.

    That of ``tracking.uri``, else of MLFLOW_TRACKING_URI. Without either it is a sqlite file
    ``<root>/mlflow.db``, created or migrated under a file lock so that several processes may start at once;
    its artifacts lie in ``<root>/mlartifacts``. A server is asked at once whether it answers; where the stage
    ``folder`` has begun its run already, it may be away: the stage goes on without it.

    Raises:
        ConfigError: no server answers, the URI holds a password, or ``root`` is on S3 and no server is named.
    """
    named = "tracking.uri" if tracking.uri else "MLFLOW_TRACKING_URI"
    uri = tracking.uri or os.environ.get(named) or _embedded_uri(root)
    scheme = urlsplit(uri).scheme
    if scheme == "sqlite":
        _migrate(uri)
    elif scheme in ("http", "https"):
        away = _probe(uri, named)
        if away and not (folder and note.is_started(folder)):
            raise config.ConfigError(
                f"{away}: start it, correct {named}, or leave it empty for a local sqlite store"
            )
        if away:
            logger.warning("%s: its run goes on without it", away)
    else:
        raise config.ConfigError(
            f"{named}: {scheme or 'a path'} is no tracking store: give http(s)://host:port or sqlite:////file"
        )
    return uri


def _embedded_uri(root: str) -> str:
    if root.startswith("s3://"):
        raise config.ConfigError(
            f"root={root} is object storage, where no sqlite file can live: "
            "start a tracking server (mlflow server) and name it with tracking.uri=http://host:port"
        )
    _, folder = storage.filesystem(root)
    return f"sqlite:///{folder}/{_DATABASE}"


def _migrate(uri: str) -> None:
    """Create or upgrade the tables once: concurrent first contacts race on migrations."""
    database = Path(uri.removeprefix("sqlite:///"))
    version = database.with_name(f"{database.name}.lock")
    try:
        if database.exists() and version.exists() and version.read_text() == mlflow.__version__:
            return  # also where nothing can be written: a store may only be read
        database.parent.mkdir(parents=True, exist_ok=True)
        with version.open("a+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            lock.seek(0)
            if not (database.exists() and lock.read() == mlflow.__version__):
                _make_tables(database)
                lock.truncate(0)
                lock.write(mlflow.__version__)
    except OSError as error:
        raise errors.of_file(str(database), error) from error


def _make_tables(database: Path) -> None:
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
    migrate: Any = mlflow.db.upgrade.callback  # what `mlflow db upgrade` runs
    if database.exists():
        migrate(f"sqlite:///{database}")
        return
    # Its many steps are no transaction: killed between two of them, they could not be begun again.
    fresh = database.with_name(f"{database.name}.partial")
    fresh.unlink(missing_ok=True)
    migrate(f"sqlite:///{fresh}")
    fresh.replace(database)


def _probe(uri: str, named: str) -> str:
    """Why a server cannot be used; empty where it answers."""
    parts = urlsplit(uri)
    address = f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
    if "@" in parts.netloc:
        raise config.ConfigError(
            f"{named}: leave the login out of {address} and set MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD in the environment (a recipe is copied into runs and manifests)"
        )
    try:
        opener = urllib.request.build_opener(_NoRedirect)
        with opener.open(f"{uri.rstrip('/')}/health", timeout=PROBE_TIMEOUT_S) as answer:
            kind, start = answer.headers.get_content_type(), answer.read(100)
    except (OSError, ValueError, HTTPException) as error:
        code = getattr(error, "code", 0)
        if code in (401, 403):
            return ""  # it answers; what it refuses is said by the first real request
        if 300 <= code < 400:
            place = urlsplit(str(error.headers.get("Location", "")))  # type: ignore[union-attr]
            there = f"{place.scheme}://{place.netloc.rpartition('@')[2]}" if place.netloc else "another page"
            return f"tracking server {address} redirects to {there} ({code}), which takes no requests"
        reason = f"{code} {error.reason}" if code else getattr(error, "reason", error)  # type: ignore[union-attr]
        return f"tracking server {address} does not answer ({reason})"
    if kind == "text/html" and start.lstrip().startswith(b"<"):
        return f"{address} answers with a web page, as no MLflow server does"
    return ""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Reports a redirect as an error: a request that changes something would lose its body on the way."""

    def redirect_request(self, *_: Any) -> None:
        return None


def experiment_id(client: MlflowClient, name: str) -> str:
    """The id of the experiment of this name, which is created where there is none.

    Raises:
        ConfigError: it was deleted.
    """
    if client.get_experiment_by_name(name) is None:
        place = _artifact_location(client.tracking_uri)
        try:
            return client.create_experiment(name, artifact_location=place, tags=_EXPERIMENT)
        except MlflowException as error:
            if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
                raise  # unless another process was faster
    experiment: Any = client.get_experiment_by_name(name)
    if experiment.lifecycle_stage == "deleted":
        raise config.ConfigError(
            f"tracking.experiment: {name!r} was deleted on the tracking store: restore it "
            f"(mlflow experiments restore -x {experiment.experiment_id}) or give another name"
        )
    for tag in _EXPERIMENT.keys() - experiment.tags.keys():
        client.set_experiment_tag(experiment.experiment_id, tag, _EXPERIMENT[tag])
    return str(experiment.experiment_id)


def _artifact_location(uri: str) -> str | None:
    """Beside a sqlite file; a server knows its own place."""
    if not uri.startswith("sqlite:"):
        return None
    return (Path(uri.removeprefix("sqlite:///")).parent / _ARTIFACTS).as_uri()
