"""What a sweep knows of its trials, and what a finished one says of itself."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, JsonValue

from supreme.manifest import Manifest, Stage
from supreme.training.run.summary import RUN_FILES

PAGE = "sweep.html"

Status = Literal["waiting", "running", "stopped", "failed", "finished"]


class TrialRecord(BaseModel):
    """One training run of a sweep."""

    model_config = ConfigDict(frozen=True)

    number: int
    """Of the setting: runs that differ only in seed or length share it. 0 is the recipe itself."""
    name: str
    """Also of its folder and its MLflow run."""
    changes: dict[str, JsonValue] = {}
    """Dotted key -> value, where it differs from the recipe."""
    seed: int
    full: bool = False
    """Whether it is trained as the recipe says, and not as short as a trial."""
    status: Status = "waiting"
    reason: str = ""
    """Why it was stopped or failed."""
    tries: int = 0
    """How often it was begun and then came to its end, was stopped, or failed."""
    value: float | None = None
    """Metric of the weights that it leaves, or last reported; None without one."""
    samples_seen: int = 0
    seconds: float = 0.0

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing left to do."""
        return self.status in ("stopped", "failed", "finished")


class TrialOutcome(TrialRecord):
    """A trial in the result, with its place."""

    place: int | None
    """Among the trials of the same length that came to their end, 1 the best; None for any other."""


class SweepResult(BaseModel):
    """The winner and every trial."""

    model_config = ConfigDict(frozen=True)

    model_uri: str
    """The registered version of the winner; empty without finalists."""
    bundle: str
    """Folder of the winner's bundle; empty without finalists."""
    best: str
    """Name of the winner."""
    changes: dict[str, JsonValue]
    """What the winner changes in the recipe."""
    value: float | None
    """Of the winner, at the length that decided."""
    recipe_value: float | None
    """Of trial 0, the recipe itself, as short as every trial."""
    run_id: str
    """MLflow run of the sweep."""
    trials: dict[str, TrialOutcome]


SWEEP = Stage(
    name="sweep",
    job="sweep",
    result=SweepResult,
    files=(
        *("run.json", "trials.json", PAGE, "bundle/*", "tune/**", "*/failure.json"),
        *(f"*/{name}" for name in RUN_FILES),
    ),
)
SweepManifest = Manifest[SweepResult]
