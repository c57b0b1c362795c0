"""The row groups that training reads, over all sources, and rows of them in the order of training.

Without PyTorch: this is what Ray Data's reading tasks import, in processes of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from supreme.config import ConfigError
from supreme.ecg import N_LEADS
from supreme.read_ahead import futures_ahead
from supreme.shards.codec import plain_column
from supreme.shards.read import RowGroup, Shards
from supreme.shards.schema import SCHEMA
from supreme.training.data.order import Order

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

    def read(self, group: int, columns: Sequence[str] = COLUMNS) -> pa.Table:
        """Chosen columns of one row group, in shard order."""
        source, row_group = self.groups[group]
        return self.shards[source].read_row_group(row_group, columns)

    def read_rows(self, groups: np.ndarray, rows: np.ndarray, columns: Sequence[str] = COLUMNS) -> pa.Table:
        """Signals and the other ``columns`` of chosen rows, in the order asked for.

        Each row group is read once, and each signal is copied once, to its place: the column is one chunk.
        """
        others = [name for name in columns if name != "signal"]
        size = len(rows) * N_LEADS * self.samples
        # Arrow keeps the memory of what was freed; pages fresh from the system cost more than the copy.
        signal_uv = np.frombuffer(pa.allocate_buffer(2 * size), "<i2").reshape(-1, N_LEADS, self.samples)
        parts, places = [], []
        for group in np.unique(groups):
            here = np.flatnonzero(groups == group)
            source, row_group = self.groups[int(group)]
            parts.append(self.shards[source].copy_signals(row_group, rows[here], signal_uv, here, others))
            places.append(here)
        rest = pa.concat_tables(parts).take(pa.array(np.argsort(np.concatenate(places))))
        schema = pa.schema([SCHEMA.field(name) for name in [*others, "signal"]])
        return pa.table([*rest.itercolumns(), plain_column(signal_uv)], schema)

    def read_steps(
        self, order: Order, rank: int, first: int, last: int, columns: Sequence[str] = COLUMNS
    ) -> pa.Table:
        """What one worker trains on in the steps from ``first`` to before ``last``, in that order."""
        groups, rows = [], []
        for step in order.rounds(first, last):
            window = order.window(step, rank)
            begin, end = step - window.first_step, min(last - window.first_step, window.steps)
            kept = slice(begin * order.batch_size, end * order.batch_size)
            groups.append(window.groups[kept])
            rows.append(window.rows[kept])
        return self.read_rows(np.concatenate(groups), np.concatenate(rows), columns)

    def read_ahead(
        self,
        order: Order,
        rank: int,
        pieces: Iterable[tuple[int, int]],
        threads: int,
        columns: Sequence[str] = COLUMNS,
    ) -> Iterator[pa.Table]:
        """`read_steps` of each piece (first step, last step) in turn; as many are read at once as threads."""

        def read(piece: tuple[int, int]) -> pa.Table:
            return self.read_steps(order, rank, *piece, columns)

        for future in futures_ahead(read, pieces, threads=threads, depth=threads):
            yield future.result()

    def record_ids(self, split: str) -> list[str]:
        return [i for s in self.shards for i in s.table(["record_id"], split).column("record_id").to_pylist()]
