"""Asynchronous successive halving (Li et al. 2020, ASHA) over the fraction of a trial that is done."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median

#: Fractions at which a trial is compared with those that came there before it.
RUNGS = (0.25, 0.5)


@dataclass
class Halving:
    """Values of the trials at each rung; a trial below the median of those before it is stopped.

    At its end a trial is not judged: it has seen all its samples.
    """

    values: dict[float, dict[str, float]] = field(default_factory=lambda: {rung: {} for rung in RUNGS})

    def judge(self, name: str, progress: float, value: float | None) -> str:
        """Why a trial is stopped after this report; empty where it goes on.

        Args:
            progress: fraction of its samples that the trial has seen.
        """
        reached = [rung for rung in RUNGS if progress >= rung and name not in self.values[rung]]
        if value is None or progress >= 1 or not reached:
            return ""
        rung = reached[-1]
        before = list(self.values[rung].values())
        for passed in reached:
            self.values[passed][name] = value
        if before and value < (middle := median(before)):
            return (
                f"stopped at {100 * rung:.0f} %: {value:.4f} is below {middle:.4f}, the median of "
                f"{len(before)} {'trial' if len(before) == 1 else 'trials'}"
            )
        return ""

    def replay(self, name: str, reports: Iterable[tuple[float, float | None]]) -> None:
        """Take in an earlier trial's reports: progress and value."""
        for progress, value in reports:
            self.judge(name, progress, value)
