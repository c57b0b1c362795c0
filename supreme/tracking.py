"""MLflow runs: where they are kept, and one run a stage that goes on where it was interrupted.

Everything goes through an explicit client: there is no global active run, so that the driver, a controller
in another process and a resumed stage can all write to the same run.
"""

from __future__ import annotations

import fcntl
import logging
import posixpath
import re
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import mlflow
import mlflow.db
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, RESOURCE_DOES_NOT_EXIST, ErrorCode

from supreme import __version__, config, log, storage

RUN_FILE = "run.json"
PROBE_TIMEOUT_S = 2.5
_DATABASE = "mlflow.db"
_ARTIFACTS = "mlartifacts"
#: MLflow refuses longer values and larger batches.
_MAX_KEY = 250
_MAX_VALUE = 500
_MAX_PARAMS = 100
_MAX_METRICS = 1000

logger = log.get("tracking")


def open_store(tracking: config.Tracking, root: str) -> str:
    """The tracking URI of a recipe, ready to be written to.

    With an empty ``tracking.uri`` that is a sqlite file ``<root>/mlflow.db``, created or migrated under a
    file lock so that several processes may start at once; its artifacts lie in ``<root>/mlartifacts``. A
    server is asked at once whether it answers.

    Raises:
        ConfigError: no server answers, the URI holds a password, or ``root`` is on S3 and no server is named.
    """
    uri = tracking.uri or _embedded_uri(root)
    scheme = urlsplit(uri).scheme
    if scheme == "sqlite":
        _migrate(uri)
    elif scheme in ("http", "https"):
        _probe(uri)
    else:
        raise config.ConfigError(
            f"tracking.uri: {scheme or 'a path'} is no tracking store: give http(s)://host:port or sqlite:////file"
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
    database.parent.mkdir(parents=True, exist_ok=True)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
    with (database.parent / f"{database.name}.lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.seek(0)
        if database.exists() and lock.read() == mlflow.__version__:
            return
        migrate: Any = mlflow.db.upgrade.callback  # what `mlflow db upgrade` runs
        if database.exists():
            migrate(uri)
        else:
            # Its many steps are no transaction: killed between two of them, they could not be begun again.
            fresh = database.with_name(f"{database.name}.partial")
            fresh.unlink(missing_ok=True)
            migrate(f"sqlite:///{fresh}")
            fresh.replace(database)
        lock.truncate(0)
        lock.write(mlflow.__version__)


def _probe(uri: str) -> None:
    parts = urlsplit(uri)
    address = f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
    if "@" in parts.netloc:
        raise config.ConfigError(
            f"tracking.uri: leave the login out of {address} and set MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD in the environment (a recipe is copied into runs and manifests)"
        )
    try:
        urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=PROBE_TIMEOUT_S).close()
    except (OSError, ValueError) as error:
        if getattr(error, "code", 0) in (401, 403):
            return  # it answers; what it refuses is said by the first real request
        reason = getattr(error, "reason", error)
        raise config.ConfigError(
            f"tracking server {address} does not answer ({reason}): start it, correct tracking.uri, "
            "or leave tracking.uri empty for a local sqlite store"
        ) from None


@dataclass
class Run:
    """One MLflow run; every method may be called again after an interruption."""

    uri: str
    run_id: str
    client: MlflowClient = field(repr=False)
    _last_step: dict[str, int] = field(default_factory=dict, repr=False)

    @classmethod
    def attach(cls, uri: str, run_id: str) -> Run:
        """The run from another process (for instance the training controller)."""
        return cls(uri, run_id, MlflowClient(tracking_uri=uri, registry_uri=uri))

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log a nested mapping as ``a.b.c``; secrets are redacted, long values cut, known keys left alone."""
        flat = {_key(k): v for k, v in config.flatten(_number_lists(dict(params))).items()}
        known = self.client.get_run(self.run_id).data.params
        new = [Param(k, _text(v, k)) for k, v in flat.items() if k not in known]
        for start in range(0, len(new), _MAX_PARAMS):
            self.client.log_batch(self.run_id, params=new[start : start + _MAX_PARAMS])

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Log values at ``step`` (samples seen); a step that a metric has passed is not logged again."""
        now_ms = int(time.time() * 1000)
        fresh = [Metric(k, float(v), now_ms, step) for k, v in metrics.items() if step > self.last_step(k)]
        for start in range(0, len(fresh), _MAX_METRICS):
            self.client.log_batch(self.run_id, metrics=fresh[start : start + _MAX_METRICS])
        self._last_step |= {metric.key: step for metric in fresh}

    def last_step(self, metric: str) -> int:
        """The last step at which a metric was logged, by whichever process; -1 for none."""
        if metric not in self._last_step:
            history = self.client.get_metric_history(self.run_id, metric)
            self._last_step[metric] = max((point.step for point in history), default=-1)
        return self._last_step[metric]

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        self.client.log_batch(self.run_id, tags=[RunTag(_key(k), _text(v, k)) for k, v in tags.items()])

    def log_dict(self, value: dict[str, Any], name: str) -> None:
        """Store a dictionary as the JSON or YAML artifact ``name``."""
        self.client.log_dict(self.run_id, value, name)

    def log_file(self, uri: str, folder: str = "") -> None:
        """Store a file (local or S3) as an artifact under its own name."""
        with tempfile.TemporaryDirectory() as temporary:
            copy = Path(temporary) / uri.partition("?")[0].rpartition("/")[2]
            copy.write_bytes(storage.read_bytes(uri))
            self.client.log_artifact(self.run_id, str(copy), folder or None)

    def log_text(self, text: str, name: str) -> None:
        """Store a text, for instance a figure as SVG, as the artifact ``name``."""
        self.client.log_text(self.run_id, text, name)

    def finish(self, status: Literal["FINISHED", "FAILED", "KILLED"] = "FINISHED") -> None:
        self.client.set_terminated(self.run_id, status)


def start_or_resume(
    uri: str,
    experiment: str,
    folder: str,
    name: str,
    params: Mapping[str, Any],
    tags: Mapping[str, Any] | None = None,
    parent: str = "",
) -> Run:
    """The run of a stage folder: the one named in its ``run.json``, or a new one.

    Args:
        uri: from :func:`open_store`.
        folder: stage folder; a stage that is killed and started again goes on in the same run.
        params: nested parameters, normally ``recipe.model_dump(mode="json")``.
        tags: for instance the digests of the data; git commit and code version are added.
        parent: run id under which this run is shown.
    """
    note = storage.join(folder, RUN_FILE)
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    run_id = storage.read_json(note)["run_id"] if storage.exists(note) else ""
    if run_id and _run_exists(client, run_id):
        client.update_run(run_id, status="RUNNING")
        logger.info("going on in run %s", run_id)
    else:
        run_id = client.create_run(_experiment_id(client, uri, experiment), run_name=name).info.run_id
        storage.write_json(note, {"run_id": run_id})
    run = Run(uri, run_id, client)
    nested = {"mlflow.parentRunId": parent} if parent else {}
    run.set_tags({"supreme.code_version": __version__, **_git_tags(), **(tags or {}), **nested})
    run.log_params(params)
    return run


@contextmanager
def closing(run: Run) -> Iterator[Run]:
    """Finish the run at the end of the block: FAILED after an exception, KILLED after an interrupt."""
    try:
        yield run
    except Exception:
        run.finish("FAILED")
        raise
    except BaseException:
        run.finish("KILLED")
        raise
    run.finish()


def _experiment_id(client: MlflowClient, uri: str, name: str) -> str:
    if client.get_experiment_by_name(name) is None:
        try:
            return client.create_experiment(name, artifact_location=_artifact_location(uri))
        except MlflowException as error:
            if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
                raise  # unless another process was faster
    found: Any = client.get_experiment_by_name(name)
    if found.lifecycle_stage == "deleted":
        raise config.ConfigError(
            f"tracking.experiment: {name!r} was deleted on the tracking store: restore it "
            f"(mlflow experiments restore -x {found.experiment_id}) or give another name"
        )
    return found.experiment_id


def _artifact_location(uri: str) -> str | None:
    """Beside a sqlite file; a server knows its own place."""
    if not uri.startswith("sqlite:"):
        return None
    return (Path(uri.removeprefix("sqlite:///")).parent / _ARTIFACTS).as_uri()


def _run_exists(client: MlflowClient, run_id: str) -> bool:
    try:
        return client.get_run(run_id).info.lifecycle_stage == "active"
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
            raise
        logger.warning("run %s is not on this tracking store: a new one is begun", run_id)
        return False


def _number_lists(values: dict[str, Any]) -> dict[str, Any]:
    """Lists of tables to tables keyed by position, so that ``sources.0.kind`` is a parameter of its own."""
    numbered: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, list | tuple) and value and all(isinstance(item, dict) for item in value):
            value = {str(position): item for position, item in enumerate(value)}
        numbered[key] = _number_lists(value) if isinstance(value, dict) else value
    return numbered


def _key(name: str) -> str:
    """A name that MLflow takes: it refuses absolute paths and most punctuation."""
    return posixpath.normpath(re.sub(r"[^/\w.\- :]", "_", name)).lstrip("/.")[:_MAX_KEY]


def _text(value: Any, key: str) -> str:
    # The key is part of what redact() looks at.
    shown = log.redact(f"{key}={value}")[len(key) + 1 :]
    return shown if len(shown) <= _MAX_VALUE else f"{shown[: _MAX_VALUE - 3]}..."


def _git_tags() -> dict[str, str]:
    """Commit and state of the checkout that this package runs from; empty for an installed package."""
    checkout = Path(__file__).resolve().parents[1]
    if not (checkout / ".git").exists():
        return {}
    try:
        commit = _git(checkout, "rev-parse", "HEAD")
        changed = _git(checkout, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"mlflow.source.git.commit": commit, "supreme.git.changed": str(bool(changed)).lower()}


def _git(checkout: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(checkout), *arguments], capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()
