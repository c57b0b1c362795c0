"""A node's notice of preemption, seen by all workers at the same step, makes a checkpoint at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import ray.train
from ray.train import PreemptionInfo

from supreme import log
from supreme.training.run.checkpoint import State
from supreme.training.run.hooks import StepEvent

#: Notices come half a minute or more ahead; a poll costs all workers a round trip to one process.
POLL_EVERY_S = 2.0
_FIRST_POLL, _MAX_STEPS = 8, 200

logger = log.get("train")


@dataclass
class PreemptionWatcher:
    """Polls Ray Train about every `POLL_EVERY_S`, on all workers at the same step."""

    mean: Callable[[float], float]
    """The mean of a number over all workers."""
    rank: int = 0
    every: int = _FIRST_POLL
    """Steps between two polls."""
    steps: int = 0
    since: float = field(default_factory=time.monotonic)
    notice: PreemptionInfo | None = None
    is_new: bool = False

    def on_step(self, event: StepEvent) -> bool:
        """Poll; True where there is a new notice."""
        self.is_new = self.poll()
        return self.is_new

    def on_report(self, state: State, *, is_report: bool) -> None:
        """Log the notice that asked for this checkpoint."""
        if self.is_new and self.rank == 0:
            logger.warning("a node will be taken away: checkpoint at epoch %.2f", state.epoch)

    def on_end(self) -> None:
        """Nothing is left to do."""

    def poll(self) -> bool:
        """Called after every step: whether there is a notice that was not there before."""
        self.steps += 1
        if self.steps < self.every:
            return False
        seconds_per_step = self.mean((time.monotonic() - self.since) / self.steps)
        self.every = max(1, min(_MAX_STEPS, round(POLL_EVERY_S / seconds_per_step)))
        self.steps, self.since = 0, time.monotonic()
        before, self.notice = self.notice, ray.train.get_preemption_info()
        return self.notice is not None and self.notice != before
