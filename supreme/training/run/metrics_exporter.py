"""The hook that puts the pace of a worker on Ray's metrics endpoint."""

from __future__ import annotations

import time

from supreme.runtime import observability
from supreme.training.run.checkpoint import State
from supreme.training.run.hooks import StepEvent


class MetricsExporter:
    """Counts steps, records and seconds of this worker.

    Args:
        batch_size: records of this worker in a step.
    """

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size
        # The age of a checkpoint counts from the start until there is one.
        observability.put("supreme_checkpoint_timestamp_seconds", time.time())

    def on_step(self, event: StepEvent) -> bool:
        """Never asks for a checkpoint."""
        observability.add("supreme_steps_total")
        observability.add("supreme_records_total", self.batch_size)
        observability.add("supreme_step_seconds_total", event.step_s)
        observability.add("supreme_loader_wait_seconds_total", event.loader_s)
        return False

    def on_report(self, state: State, *, is_report: bool) -> None:
        """Nothing: a checkpoint counts when it is written, which `CheckpointWriter` says."""

    def on_end(self) -> None:
        """Nothing is left to do."""
