"""What a finished sweep says of itself."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from supreme.manifest import Manifest, Stage
from supreme.training.run.summary import RUN_FILES


class TrialOutcome(BaseModel):
    """How far a trial came."""

    model_config = ConfigDict(frozen=True)

    completed: bool
    value: float | None
    """Metric of the weights that it leaves; None without one."""
    samples_seen: int


class SweepResult(BaseModel):
    """The winner and every trial."""

    model_config = ConfigDict(frozen=True)

    model_uri: str
    best: str
    run_id: str
    trials: dict[str, TrialOutcome]


SWEEP = Stage(
    name="sweep",
    job="sweep",
    result=SweepResult,
    files=("run.json", "bundle/*", "tune/**", *(f"*/{name}" for name in RUN_FILES)),
)
SweepManifest = Manifest[SweepResult]
