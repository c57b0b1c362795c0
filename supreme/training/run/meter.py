"""Means between two reports, the loss curve, and the progress line with its ETA."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from supreme import log
from supreme.training.run.checkpoint import State
from supreme.training.run.history import Point
from supreme.training.run.hooks import StepEvent

PROGRESS_EVERY_S = 10.0

logger = log.get("train")


@dataclass
class ProgressLine:
    """A line every ten seconds."""

    total_steps: int
    records_per_epoch: int
    records_per_step: int
    logged_at: float = field(default_factory=time.monotonic)

    def log(self, event: StepEvent, seconds_per_step: float) -> None:
        """Log where training is, if it is time to."""
        now = time.monotonic()
        if now - self.logged_at < PROGRESS_EVERY_S:
            return
        self.logged_at = now
        step = event.step + 1
        minutes, seconds = divmod(round(seconds_per_step * (self.total_steps - step)), 60)
        logger.info(
            "step %d/%d loss %.4f lr %.2e %d ms %.0f ECGs/s epoch %.2f ETA %d:%02d",
            step,
            self.total_steps,
            event.metrics["loss"],
            event.metrics["learning_rate"],
            1000 * seconds_per_step,
            self.records_per_step / seconds_per_step,
            event.samples_seen / self.records_per_epoch,
            minutes,
            seconds,
        )


@dataclass
class Meter:
    """Sums of one worker since the last report, and the loss curve."""

    curve_every: int
    """Steps between two points of the curve."""
    records_per_step: int
    """Of all workers."""
    mean: Callable[[float], float]
    """The mean of a number over all workers."""
    progress: ProgressLine | None = None
    """On the worker that logs."""
    curve: list[Point] = field(default_factory=list)
    steps: int = 0
    loss: float = 0.0
    loader_s: float = 0.0
    step_s: float = 0.0
    since: float = field(default_factory=time.monotonic)

    def on_step(self, event: StepEvent) -> bool:
        """Count the step, add a point to the curve, log progress."""
        self.steps += 1
        self.loss += event.metrics["loss"]
        self.loader_s, self.step_s = self.loader_s + event.loader_s, self.step_s + event.step_s
        if (event.step + 1) % self.curve_every == 0:
            values = {"step_loss": self.mean(event.metrics["loss"]), **without_loss(event.metrics)}
            self.curve.append(Point(event.samples_seen, round(time.time(), 3), values))
        if self.progress:
            self.progress.log(event, (time.monotonic() - self.since) / self.steps)
        return False

    def on_report(self, state: State, *, is_report: bool) -> None:
        """Begin anew after a report."""
        if is_report:
            self.curve = []
            self.steps, self.loss, self.loader_s, self.step_s = 0, 0.0, 0.0, 0.0
            self.since = time.monotonic()

    def on_end(self) -> None:
        """Nothing is left to do."""

    def summary(self) -> dict[str, float]:
        """Mean loss and rates since the last report; records and loss are those of all workers."""
        seconds = time.monotonic() - self.since
        return {
            "loss": self.mean(self.loss / self.steps),
            "records_per_s": self.steps * self.records_per_step / seconds,
            "loader_wait_fraction": self.loader_s / (self.loader_s + self.step_s),
            "step_ms": 1000 * self.step_s / self.steps,
        }


def without_loss(metrics: dict[str, float]) -> dict[str, float]:
    """The other metrics of a step."""
    return {name: value for name, value in metrics.items() if name != "loss"}
