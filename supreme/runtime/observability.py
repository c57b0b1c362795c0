"""Our metrics on Ray's own Prometheus endpoint, with the run and the stage as labels.

Ray adds the prefix ``ray_``. It drops gauges of processes that have ended and keeps their counters, so an
alert on a counter asks for ``supreme_job_running`` too. Without a Ray session, or where the endpoint is
closed (``RAY_enable_metrics_collection=0``, the default of a session on one machine), nothing is recorded.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from supreme import log

if TYPE_CHECKING:
    from ray.util.metrics import Counter, Gauge


@dataclass(frozen=True)
class MetricSeries:
    """A metric of ours."""

    kind: Literal["counter", "gauge"]
    description: str
    labels: tuple[str, ...] = ()
    """Beside run, stage and rank."""


SERIES = {
    "supreme_job_running": MetricSeries("gauge", "1 while a job has a Ray session."),
    "supreme_records_total": MetricSeries("counter", "Records stored, labelled, trained on or scored."),
    "supreme_rejected_total": MetricSeries("counter", "Records that were refused by the shard stage."),
    "supreme_steps_total": MetricSeries("counter", "Training steps."),
    "supreme_step_seconds_total": MetricSeries("counter", "Seconds in steps, without the wait for data."),
    "supreme_loader_wait_seconds_total": MetricSeries("counter", "Seconds that steps waited for data."),
    "supreme_checkpoint_timestamp_seconds": MetricSeries(
        "gauge", "Unix time of the last finished checkpoint, or of the start."
    ),
    "supreme_trials": MetricSeries("gauge", "Trials of a sweep.", ("state",)),
    "supreme_llm_calls_total": MetricSeries("counter", "Requests to the language model."),
    "supreme_llm_failures_total": MetricSeries("counter", "Statements without an answer."),
    "supreme_llm_tokens_total": MetricSeries("counter", "Tokens of prompts and replies."),
    "supreme_tracking_up": MetricSeries("gauge", "1 while the tracking server takes reports."),
}
_SWITCH = "RAY_enable_metrics_collection"
_COMMON = ("run", "stage", "rank")
_metrics: dict[str, Counter | Gauge] = {}


def add(name: str, amount: float = 1.0, **labels: str) -> None:
    """Raise a counter of `SERIES`."""
    if amount > 0 and _is_on():
        metric = _metric(name)
        metric.inc(amount, _tags(labels))  # type: ignore[union-attr]


def put(name: str, value: float, **labels: str) -> None:
    """Set a gauge of `SERIES`."""
    if _is_on():
        metric = _metric(name)
        metric.set(value, _tags(labels))  # type: ignore[union-attr]


def _is_on() -> bool:
    # Looked up, not imported: stages without Ray do without its start-up.
    ray = sys.modules.get("ray")
    closed = os.environ.get(_SWITCH, "1").lower() in ("0", "false")
    return not closed and ray is not None and bool(ray.is_initialized())


def _metric(name: str) -> Counter | Gauge:
    if name not in _metrics:
        from ray.util.metrics import Counter, Gauge

        series = SERIES[name]
        keys = (*_COMMON, *series.labels)
        make = Counter if series.kind == "counter" else Gauge
        _metrics[name] = make(name, series.description, keys)
    return _metrics[name]


def _tags(labels: dict[str, str]) -> dict[str, str]:
    about = log.bound()
    return {"run": about.run, "stage": about.stage, "rank": str(about.rank), **labels}
