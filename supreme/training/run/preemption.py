"""The notice that a node will be taken away, heard by all workers at the same step."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import ray.train
from ray.train import PreemptionInfo

#: A notice comes half a minute or more ahead; to ask costs all workers a round trip to one process.
ASK_EVERY_S = 2.0
_FIRST_ASKED, _MOST_STEPS = 8, 200


@dataclass
class Watch:
    """Asks Ray Train each time about `ASK_EVERY_S` have passed, on all workers at the same step."""

    agree: Callable[[float], float]
    """The mean of a number over all workers."""
    every: int = _FIRST_ASKED
    steps: int = 0
    since: float = field(default_factory=time.monotonic)
    heard: PreemptionInfo | None = None

    def hears(self) -> bool:
        """Called after every step: whether there is a notice that was not there before."""
        self.steps += 1
        if self.steps < self.every:
            return False
        seconds_a_step = self.agree((time.monotonic() - self.since) / self.steps)
        self.every = max(1, min(_MOST_STEPS, round(ASK_EVERY_S / seconds_a_step)))
        self.steps, self.since = 0, time.monotonic()
        before, self.heard = self.heard, ray.train.get_preemption_info()
        return self.heard is not None and self.heard != before
