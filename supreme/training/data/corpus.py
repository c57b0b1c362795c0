"""The row groups that training reads, over all sources, and their rows in training order.

Free of PyTorch: Ray Data's reading tasks import it in processes of their own.
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
from supreme.shards.read import RowGroup, ShardDataset
from supreme.shards.schema import SCHEMA
from supreme.training.data.order import Order

COLUMNS = ("record_id", "signal")


@dataclass(frozen=True)
class Corpus:
    """The row groups of one split over all sources, as one numbered list."""

    shards: tuple[ShardDataset, ...]
    groups: tuple[tuple[int, RowGroup], ...]
    """Position in ``shards``, and the row group there; as often as its source is weighted."""

    @classmethod
    def open(cls, folders: Sequence[str], split: str) -> Corpus:
        """Open finished shard folders. Raises as `ShardDataset.open` and `of`."""
        return cls.of([ShardDataset.open(folder) for folder in folders], split)

    @classmethod
    def of(cls, shards: Sequence[ShardDataset], split: str, weights: Sequence[int] = ()) -> Corpus:
        """One split of shard folders that are open.

        Args:
            weights: how often the records of each folder are seen in an epoch; once when empty.

        Raises:
            ConfigError: two of them hold signals of different length or rate.
        """
        shapes = {(s.rate_hz, s.samples): s.folder for s in shards}
        if len(shapes) != 1:
            raise ConfigError(
                f"shards differ in (rate_hz, samples): {shapes}; build them with one [shards] section"
            )
        groups: list[tuple[int, RowGroup]] = []
        for i, (s, weight) in enumerate(zip(shards, weights or [1] * len(shards), strict=True)):
            groups += [(i, group) for group in s.row_groups(split)] * weight
        return cls(tuple(shards), tuple(groups))

    def part(self, fraction: float, seed: int) -> Corpus:
        """This share of the row groups, rounded up, drawn by the seed; a smaller one is part of a larger."""
        if fraction == 1:
            return self
        distinct = list(dict.fromkeys(self.groups))  # those of a weighted source are listed several times
        count = int(np.ceil(fraction * len(distinct)))
        drawn = np.random.default_rng(seed).permutation(len(distinct))[:count]
        part = {distinct[place] for place in drawn}
        return Corpus(self.shards, tuple(group for group in self.groups if group in part))

    @property
    def sizes(self) -> np.ndarray:
        """Rows of each of ``groups``."""
        return np.array([group.rows for _, group in self.groups], np.int64)

    @property
    def samples(self) -> int:
        """Samples of a lead."""
        return self.shards[0].samples

    def read(self, group: int, columns: Sequence[str] = COLUMNS) -> pa.Table:
        """Columns of one row group, in shard order."""
        source, row_group = self.groups[group]
        return self.shards[source].read_row_group(row_group, columns)

    def read_rows(self, groups: np.ndarray, rows: np.ndarray, columns: Sequence[str] = COLUMNS) -> pa.Table:
        """Signals and the other ``columns`` of rows (a row group and a row in it each), in the order given.

        Each row group is read once, and each signal is copied once: the signal column is one chunk.
        """
        others = [name for name in columns if name != "signal"]
        size = len(rows) * N_LEADS * self.samples
        # Arrow reuses freed memory; fresh pages from the system would cost more than the copy.
        signal_uv = np.frombuffer(pa.allocate_buffer(2 * size), "<i2").reshape(-1, N_LEADS, self.samples)
        parts, positions = [], []
        for group in np.unique(groups):
            at = np.flatnonzero(groups == group)
            source, row_group = self.groups[int(group)]
            parts.append(self.shards[source].copy_signals(row_group, rows[at], signal_uv, at, others))
            positions.append(at)
        rest = pa.concat_tables(parts).take(pa.array(np.argsort(np.concatenate(positions))))
        schema = pa.schema([SCHEMA.field(name) for name in [*others, "signal"]])
        return pa.table([*rest.itercolumns(), plain_column(signal_uv)], schema)

    def read_steps(
        self, order: Order, rank: int, first: int, last: int, columns: Sequence[str] = COLUMNS
    ) -> pa.Table:
        """The records of one worker in the steps from ``first`` to before ``last``, in training order."""
        groups, rows = [], []
        for step in order.rounds(first, last):
            window = order.window(step, rank)
            begin, end = step - window.first_step, min(last - window.first_step, window.steps)
            part = slice(begin * order.batch_size, end * order.batch_size)
            groups.append(window.groups[part])
            rows.append(window.rows[part])
        return self.read_rows(np.concatenate(groups), np.concatenate(rows), columns)

    def read_ahead(
        self,
        order: Order,
        rank: int,
        pieces: Iterable[tuple[int, int]],
        threads: int,
        columns: Sequence[str] = COLUMNS,
    ) -> Iterator[pa.Table]:
        """`read_steps` of each piece (first step, last step) in turn, with a piece per thread in flight."""

        def read(piece: tuple[int, int]) -> pa.Table:
            return self.read_steps(order, rank, *piece, columns)

        for future in futures_ahead(read, pieces, threads=threads, depth=threads):
            yield future.result()

    def record_ids(self, split: str) -> list[str]:
        """Record ids of a split, in shard order."""
        return [i for s in self.shards for i in s.table(["record_id"], split).column("record_id").to_pylist()]
