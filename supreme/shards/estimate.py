"""What a shard build will take, estimated without reading a signal."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from supreme import log, storage
from supreme.config import ConfigError
from supreme.ecg import N_LEADS
from supreme.settings.data import Shards

#: Share of its int16 size that a real ECG takes at 100 and 500 Hz: mean of 586 of PTB-XL, CSN, CPSC2018.
_FRACTION = {"lz4": (0.48, 0.36), "zstd-3": (0.41, 0.26), "none": (1.0, 1.0), "delta": (0.34, 0.2)}
_FRACTION_HZ = (100, 500)
#: On one core, resampled.
_SECONDS_PER_RECORD = 0.002


@dataclass(frozen=True)
class PlanSummary:
    """Records and shards of a build, and what the rest of it takes."""

    dataset: str
    folder: str
    finished: bool
    records: int
    records_to_do: int
    shards: int
    shards_to_do: int
    bytes: int
    """Of the shards to make."""
    seconds: float


def bytes_per_record(shards: Shards) -> float:
    """Of an average real ECG in a shard."""
    fraction = np.interp(shards.rate_hz, _FRACTION_HZ, _FRACTION[shards.compression])
    return float(N_LEADS * shards.samples * 2 * fraction)


def seconds(records: int) -> float:
    """On all cores of this machine."""
    return round(records * _SECONDS_PER_RECORD / (os.cpu_count() or 1), 1)


def check_room(root: str, plans: Sequence[PlanSummary]) -> None:
    """Compare the bytes to write with the disk; an object store is taken to be large enough.

    Raises:
        ConfigError: the disk could not hold them if it were empty. Less than that is a warning.
    """
    needed = sum(one.bytes for one in plans)
    if root.startswith("s3://") or not needed:
        return
    folder = Path(storage.filesystem(root)[1])
    while not folder.is_dir():
        folder = folder.parent
    disk = shutil.disk_usage(folder)
    problem = f"the shards to make take about {needed:,} bytes; {folder} has {disk.free:,} free"
    remedy = "lower shards.rate_hz, duration_s or records, or give another root=..."
    if needed > disk.total:
        raise ConfigError(f"{problem} of {disk.total:,}: {remedy}")
    if needed > disk.free:
        log.get(__name__).warning(f"{problem}: make room, or {remedy}")
