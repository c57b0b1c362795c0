"""One MLflow run as it is on the server: every call goes there at once and raises what goes wrong there."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag

from supreme import config, storage
from supreme.tracking.logged import redacted, redacted_file, safe_name, safe_value
from supreme.tracking.server import connect
from supreme.training.run.history import Point

#: MLflow refuses larger batches.
_MAX_PARAMS = 100
_MAX_METRICS = 1000


@dataclass(frozen=True)
class Measurement:
    """A value, and the data it was measured on."""

    name: str
    value: float
    dataset: Dataset | None = None


@dataclass
class TrackingRun:
    """One MLflow run; every method may be called again after an interruption."""

    uri: str
    run_id: str
    client: MlflowClient = field(repr=False)

    @classmethod
    def attach(cls, uri: str, run_id: str) -> TrackingRun:
        """A run that was begun elsewhere.

        Its requests are patient and raise `TrackingError`, see `supreme.tracking.server`.
        """
        return cls(uri, run_id, connect(uri))

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log a nested mapping as ``a.b.c``; secrets are redacted, long values cut, known keys left alone."""
        flat = {safe_name(k): v for k, v in config.flatten(_number_lists(dict(params))).items()}
        known = self.client.get_run(self.run_id).data.params
        new = [Param(k, safe_value(v, k)) for k, v in flat.items() if k not in known]
        for start in range(0, len(new), _MAX_PARAMS):
            self.client.log_batch(self.run_id, params=new[start : start + _MAX_PARAMS])

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Log values at a step that they have not reached before; others are left alone.

        A name is made one that MLflow takes, see `safe_name`.
        """
        self.log_points([Point(step, time.time(), dict(metrics))])

    def log_points(self, points: Iterable[Point]) -> None:
        """Log what the server does not have yet: of every metric the steps after its last one there.

        A point's time is its own, so that a server which got it twice (it may take a batch and be gone before
        it answers) sees that it is the same.
        """
        last = self.last_steps()
        new: dict[tuple[str, int], Metric] = {}
        for point in points:
            time_ms = round(1000 * point.unix_time_s)
            for name, value in point.values.items():
                name = safe_name(name)
                if point.samples_seen > last.get(name, -1):
                    # The last point of a curve is also a report: the first counts.
                    metric = Metric(name, value, time_ms, point.samples_seen)
                    new.setdefault((name, point.samples_seen), metric)
        metrics = list(new.values())
        for start in range(0, len(metrics), _MAX_METRICS):
            self.client.log_batch(self.run_id, metrics=metrics[start : start + _MAX_METRICS])

    def log_measurements(self, measurements: Sequence[Measurement], model_id: str = "") -> None:
        """Log values, each at the step after its last one, linked to the data and to a logged model."""
        last, now_ms, metrics = self.last_steps(), round(1000 * time.time()), []
        for one in measurements:
            name, data = safe_name(one.name), one.dataset
            metrics.append(
                Metric(
                    name,
                    one.value,
                    now_ms,
                    last.get(name, -1) + 1,
                    model_id=model_id or None,
                    dataset_name=data.name if data else None,
                    dataset_digest=data.digest if data else None,
                    run_id=self.run_id,
                )
            )
        used = {(one.dataset.name, one.dataset.digest): one.dataset for one in measurements if one.dataset}
        context = [InputTag("mlflow.data.context", "evaluation")]
        if used:
            self.client.log_inputs(self.run_id, [DatasetInput(data, context) for data in used.values()])
        for start in range(0, len(metrics), _MAX_METRICS):
            self.client.log_batch(self.run_id, metrics=metrics[start : start + _MAX_METRICS])

    def last_steps(self) -> dict[str, int]:
        """The last step at which each metric was logged, by whichever process."""
        data: Any = self.client.get_run(self.run_id).data
        return {metric.key: metric.step for metric in data.to_proto().metrics}

    def last_step(self, metric: str) -> int:
        """The last step at which a metric was logged; -1 for none."""
        return self.last_steps().get(safe_name(metric), -1)

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        self.client.log_batch(
            self.run_id, tags=[RunTag(safe_name(k), safe_value(v, k)) for k, v in tags.items()]
        )

    def log_dict(self, value: dict[str, Any], name: str) -> None:
        """Store a dictionary as the JSON or YAML artifact ``name``; secrets are redacted."""
        self.client.log_dict(self.run_id, redacted(value), name)

    def log_file(self, uri: str, folder: str = "") -> None:
        """Store a file (local or S3) as an artifact under its own name; secrets in texts are redacted."""
        with tempfile.TemporaryDirectory() as temporary:
            copy = Path(temporary) / uri.partition("?")[0].rpartition("/")[2]
            copy.write_bytes(redacted_file(copy.name, storage.read_bytes(uri)))
            self.client.log_artifact(self.run_id, str(copy), folder or None)

    def read_file(self, name: str) -> bytes | None:
        """An artifact of the run's root folder; None where it has none of this name."""
        if name not in [item.path for item in self.client.list_artifacts(self.run_id)]:
            return None
        with tempfile.TemporaryDirectory() as temporary:
            return Path(self.client.download_artifacts(self.run_id, name, temporary)).read_bytes()

    def log_text(self, text: str, name: str) -> None:
        """Store a text, for instance a figure as SVG, as the artifact ``name``; secrets are redacted."""
        self.client.log_text(self.run_id, redacted_file(name, text.encode()).decode(), name)


def _number_lists(values: dict[str, Any]) -> dict[str, Any]:
    """Lists of tables to tables keyed by position, so that ``sources.0.kind`` is a parameter of its own."""
    numbered: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, list | tuple) and value and all(isinstance(item, dict) for item in value):
            value = {str(position): item for position, item in enumerate(value)}
        numbered[key] = _number_lists(value) if isinstance(value, dict) else value
    return numbered
