"""The result of a profile."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Profile(BaseModel):
    """Where the time of a training step goes, on the first worker."""

    model_config = ConfigDict(frozen=True)

    device: str
    workers: int
    threads: int
    precision: str
    batch_size: int
    milliseconds: dict[str, float]
    """Phase of a step -> its time."""
    step_ms: float
    """A whole step."""
    records_per_s: float
    """Of all workers."""
    gflop_per_record: float
    gflop_per_s: float
    """Of one worker."""
    peak_gflop_per_s: float
    """Of one large matrix product in the precision of the run, on one worker."""
    memory_mb: int
    """Peak of one worker."""
    advice: list[str] = []

    def share(self, phase: str) -> float:
        """The share of a step; 0 for a phase that it does not have."""
        return self.milliseconds.get(phase, 0.0) / self.step_ms

    @property
    def utilization(self) -> float:
        """Computing rate over the peak rate."""
        return self.gflop_per_s / self.peak_gflop_per_s
