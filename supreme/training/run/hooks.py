"""The seam between the training loop and what goes along with it: progress, checkpoints, preemption."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from supreme.training.run.checkpoint import State


@dataclass(frozen=True)
class StepEvent:
    """One step that was made."""

    step: int
    """Steps of this order before this one."""
    samples_seen: int
    """Records seen by all workers after this step."""
    metrics: dict[str, float]
    """``loss``, ``gradient_norm``, ``learning_rate``, parts of the loss; of this worker."""
    loader_s: float
    """Seconds that the step waited for its batch."""
    step_s: float
    """Seconds of the step itself."""


class Hook(Protocol):
    """Called by the training loop, on all workers at the same steps, so that a hook may communicate."""

    def on_step(self, event: StepEvent) -> bool:
        """After every step; True asks for a checkpoint now, on all workers alike."""
        ...

    def on_report(self, state: State, *, is_report: bool) -> None:
        """At every checkpoint; ``is_report``: with validation and report, not only because a hook asked."""
        ...

    def on_end(self) -> None:
        """After the last step."""
        ...
