"""Rates of machines, as `jobs/bench.py rates` measures them."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from supreme import storage
from supreme.config import ConfigError

STORED = Path(__file__).with_name("rates.json")
MAX_BYTES = 1 << 20


class TrainingRate(BaseModel):
    """Speed of one worker with one encoder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    encoder: str
    samples: int = Field(gt=0)
    """Of a lead."""
    records_per_s: float = Field(gt=0)
    """Forward, backward and optimizer in bf16, fusion network and 256 queries included."""
    scored_per_s: float | None = Field(default=None, gt=0)
    """Forward alone."""


class HostRates(BaseModel):
    """Speed of one CPU core."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    built_per_s: float = Field(gt=0)
    """Records of 12 x 5,000 from WFDB files to shards."""
    labelled_per_s: float = Field(gt=0)
    """Reports, by the rules."""
    read_per_s: float = Field(gt=0)
    """Records of 12 x 5,000 from shards."""


class MachineRates(BaseModel):
    """Speed of one core, or one GPU, of a machine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    suite: Literal["rates"] = "rates"
    machine: str
    device: Literal["cpu", "gpu"]
    """What trained."""
    measured: date
    by: str
    """How the rates were got; anything but ``jobs/bench.py`` is shown as a warning."""
    host: HostRates | None = None
    training: tuple[TrainingRate, ...]

    @property
    def source(self) -> str:
        """Machine, date and method, for people."""
        return f"{self.machine}, {self.measured:%Y-%m-%d}, {self.by}"


class RatesFile(BaseModel):
    """The file of rates that come with the project."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    machines: tuple[MachineRates, ...]


def load(uri: str) -> tuple[MachineRates, ...]:
    """The rates that come with the project, and before them those of a result file.

    Raises:
        ConfigError: the file is missing, or no result of `jobs/bench.py rates`.
    """
    stored = RatesFile.model_validate_json(STORED.read_bytes()).machines
    if not uri:
        return stored
    try:
        own = MachineRates.model_validate_json(storage.read_bytes(uri, MAX_BYTES))
    except storage.Unavailable:
        raise
    except (storage.StorageError, ValidationError) as error:
        what = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        command = "python jobs/bench.py rates --result-file FILE"
        raise ConfigError(f"plan.rates={uri}: {what}; `{command}` writes such a file") from error
    return (own, *stored)
