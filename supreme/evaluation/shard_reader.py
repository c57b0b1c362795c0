"""Records of shards, or some of them, for the scoring engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from supreme.inference.engine import BATCH_SIZE, Signal, Unit
from supreme.shards.read import RowGroup, ShardDataset

Crop = Callable[[np.ndarray, float], np.ndarray]
"""What a protocol looks at of a signal ``(12, T)`` at a rate in Hz."""

_COLUMNS = ("record_id", "signal", "n_valid", "source_rate_hz")


@dataclass(frozen=True)
class ShardReader:
    """Reads the selected records of shards."""

    shards: ShardDataset
    groups: tuple[tuple[tuple[RowGroup, np.ndarray], ...], ...]
    """Of each unit: row groups, and which of their rows are selected."""
    crop: Crop | None = None

    @classmethod
    def of(cls, shards: ShardDataset, selected: np.ndarray, crop: Crop | None = None) -> ShardReader:
        """Units of about as many records as a batch holds.

        Args:
            selected: bool ``(N,)``, for each row of ``shards.table()``.
        """
        units: list[tuple[tuple[RowGroup, np.ndarray], ...]] = []
        waiting: list[tuple[RowGroup, np.ndarray]] = []
        start = 0
        for group in shards.row_groups():
            rows = np.flatnonzero(selected[start : start + group.rows])
            start += group.rows
            if len(rows):
                waiting.append((group, rows))
            if sum(len(rows) for _, rows in waiting) >= BATCH_SIZE:
                units.append(tuple(waiting))
                waiting = []
        return cls(shards, tuple(units + ([tuple(waiting)] if waiting else [])), crop)

    @property
    def units(self) -> list[Unit]:
        """One a few row groups."""
        return [
            Unit(f"{number:06d}", sum(len(rows) for _, rows in groups))
            for number, groups in enumerate(self.groups)
        ]

    def read(self, index: int) -> tuple[pa.Table, list[Signal | None]]:
        """Ids and signals of one unit."""
        tables = [
            self.shards.read_row_group(group, _COLUMNS).take(pa.array(rows))
            for group, rows in self.groups[index]
        ]
        signals: list[Signal | None] = []
        for table in tables:
            for values, rate_hz in self.shards.records_uv(table):
                signals.append(Signal(self.crop(values, rate_hz) if self.crop else values, rate_hz))
        return pa.concat_tables([table.select(["record_id"]) for table in tables]), signals
