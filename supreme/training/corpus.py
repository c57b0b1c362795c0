"""The row groups that training reads, over all sources, and rows of them in the order of training.

Without PyTorch: this is what Ray Data's reading tasks import, in processes of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from supreme.config import ConfigError
from supreme.shards.read import RowGroup, Shards
from supreme.training.order import Window

COLUMNS = ("record_id", "signal")


@dataclass(frozen=True)
class Corpus:
    """The row groups of one split over all sources, as one numbered list."""

    shards: tuple[Shards, ...]
    groups: tuple[tuple[int, RowGroup], ...]
    """Position in ``shards``, and the row group there."""

    @classmethod
    def open(cls, folders: Sequence[str], split: str) -> Corpus:
        """Open finished shard folders.

        Raises:
            ConfigError: a folder is unfinished, or two hold signals of another length or rate.
        """
        shards = tuple(Shards.open(folder) for folder in folders)
        shapes = {(s.rate_hz, s.samples): s.folder for s in shards}
        if len(shapes) != 1:
            raise ConfigError(
                f"shards differ in (rate_hz, samples): {shapes}; build them with one [shards] section"
            )
        return cls(shards, tuple((i, group) for i, s in enumerate(shards) for group in s.row_groups(split)))

    @property
    def sizes(self) -> np.ndarray:
        """Rows of each row group."""
        return np.array([group.rows for _, group in self.groups], np.int64)

    @property
    def samples(self) -> int:
        """Samples of a lead."""
        return self.shards[0].samples

    def read(self, group: int) -> pa.Table:
        """Record ids and signals of one row group, in shard order."""
        source, row_group = self.groups[group]
        return self.shards[source].read_row_group(row_group, columns=COLUMNS)

    def read_rows(self, groups: np.ndarray, rows: np.ndarray) -> pa.Table:
        """Record ids and signals of chosen rows, in the order asked for; each row group is read once."""
        parts, places = [], np.empty(len(rows), np.int64)
        done = 0
        for group in np.unique(groups):
            here = groups == group
            wanted, inverse = np.unique(rows[here], return_inverse=True)
            parts.append(self.read(int(group)).take(pa.array(wanted)))
            places[here] = done + inverse
            done += len(wanted)
        return pa.concat_tables(parts).combine_chunks().take(pa.array(places))

    def read_window(self, window: Window, first: int, last: int) -> pa.Table:
        """The rows of a window in training order, for its steps from ``first`` on and before ``last``."""
        batch_size = len(window.rows) // window.steps
        begin, end = (
            (max(step, window.first_step) - window.first_step) * batch_size for step in (first, last)
        )
        return self.read_rows(window.groups[begin:end], window.rows[begin:end])

    def record_ids(self, split: str) -> list[str]:
        return [i for s in self.shards for i in s.table(["record_id"], split).column("record_id").to_pylist()]
