"""What is told of training: means between two reports, the loss curve, the progress line with its ETA."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from supreme import log

PROGRESS_EVERY_S = 10.0

logger = log.get("train")


@dataclass
class Meter:
    """Sums since the last report, of one worker."""

    steps: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    """Of what a step gives: loss, parts of the loss."""
    loader_s: float = 0.0
    step_s: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)
    since: float = field(default_factory=time.monotonic)

    def add(self, found: dict[str, float], loader_s: float, step_s: float) -> None:
        """Count a step: what it found, how long it waited for data, how long it took."""
        self.steps += 1
        for name, value in found.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.loader_s, self.step_s = self.loader_s + loader_s, self.step_s + step_s

    def mean(self, name: str) -> float:
        return self.sums[name] / self.steps

    def speed(self, records_per_step: int) -> dict[str, float]:
        """Rates since the last report; records are those of all workers."""
        return {
            "records_per_s": self.steps * records_per_step / (time.monotonic() - self.since),
            "loader_wait_fraction": self.loader_s / (self.loader_s + self.step_s),
            "step_ms": 1000 * self.step_s / self.steps,
        }


class Progress:
    """A line each ten seconds."""

    def __init__(self, total_steps: int, records_per_epoch: int, records_per_step: int) -> None:
        self.total_steps = total_steps
        self.records_per_epoch, self.records_per_step = records_per_epoch, records_per_step
        self.told = time.monotonic()

    def tell(self, step: int, samples: int, found: dict[str, float], meter: Meter) -> None:
        """Log where training is after ``step`` steps and ``samples`` records, if it is time to."""
        now = time.monotonic()
        if now - self.told < PROGRESS_EVERY_S:
            return
        self.told = now
        per_step = (now - meter.since) / meter.steps
        minutes, seconds = divmod(round(per_step * (self.total_steps - step)), 60)
        logger.info(
            "step %d/%d loss %.4f lr %.2e %d ms %.0f ECGs/s epoch %.2f ETA %d:%02d",
            step,
            self.total_steps,
            found["loss"],
            found["learning_rate"],
            1000 * per_step,
            self.records_per_step / per_step,
            samples / self.records_per_epoch,
            minutes,
            seconds,
        )
