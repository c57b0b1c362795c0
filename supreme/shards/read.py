"""Read finished shards: metadata as one table, signals row group by row group, as zero-copy int16 arrays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from supreme import manifest, storage
from supreme.ecg import N_LEADS
from supreme.records import SPLITS
from supreme.shards.schema import METADATA_COLUMNS, SCHEMA


@dataclass(frozen=True, order=True)
class RowGroup:
    """The smallest unit that is read from a shard."""

    file: str
    """Name relative to the shard folder."""
    index: int
    rows: int


@dataclass(frozen=True)
class Shards:
    """A finished shard folder."""

    folder: str
    manifest: manifest.Manifest
    rate_hz: int
    samples: int
    row_group_size: int
    files: dict[str, int] = field(repr=False)
    """Shard file -> rows, sorted by name."""

    @classmethod
    def open(cls, folder: str) -> Shards:
        """Open a folder made by `shards.build`.

        Raises:
            ConfigError: when the folder is unfinished.
        """
        made = manifest.require(folder, "shard")
        section = made.config["shards"]
        files = {name: entry.rows or 0 for name, entry in sorted(made.files.items()) if "/" not in name}
        samples = round(section["rate_hz"] * section["duration_s"])
        return cls(folder, made, section["rate_hz"], samples, section["row_group_size"], files)

    def row_groups(self, split: str | Sequence[str] | None = None) -> list[RowGroup]:
        """The row groups of one split, several or all, by file and index.

        Their sizes follow from the manifest: no file is opened.
        """
        groups = []
        for name, rows in self.files.items():
            if name.rpartition("-")[0] in _splits(split):
                starts = range(0, rows, self.row_group_size)
                groups += [
                    RowGroup(name, i, min(self.row_group_size, rows - at)) for i, at in enumerate(starts)
                ]
        return groups

    def read_row_group(self, group: RowGroup, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of one row group, in shard order."""
        with self._open(group.file) as shard:
            return shard.read_row_group(group.index, columns=_columns(columns))

    def table(
        self, columns: Sequence[str] = METADATA_COLUMNS, splits: str | Sequence[str] | None = None
    ) -> pa.Table:
        """Chosen columns of every record of the splits, meant for metadata: it is held in memory whole."""
        wanted = [name for name in self.files if name.rpartition("-")[0] in _splits(splits)]
        parts = []
        for name in wanted:
            with self._open(name) as shard:
                parts.append(shard.read(columns=_columns(columns)))
        empty = pa.schema([SCHEMA.field(name) for name in columns]).empty_table()
        return pa.concat_tables(parts) if parts else empty

    def batches(
        self,
        split: str | Sequence[str] | None = None,
        batch_size: int = 256,
        columns: Sequence[str] | None = None,
    ) -> Iterator[pa.Table]:
        """Every record of the splits in shard order, ``batch_size`` at a time, the last batch shorter."""
        return _rebatch((self.read_row_group(group, columns) for group in self.row_groups(split)), batch_size)

    def _open(self, name: str) -> pq.ParquetFile:
        system, path = storage.filesystem(storage.join(self.folder, name))
        return pq.ParquetFile(path, filesystem=system, pre_buffer=False)


def signals_uv(table: pa.Table, samples: int) -> np.ndarray:
    """The `signal` column as a read-only int16 array ``(N, 12, samples)`` in microvolts.

    It shares the table's memory where the column is one chunk, as in a row group.

    Raises:
        ValueError: a row holds another number of samples.
    """
    parts = [_chunk_uv(chunk, samples) for chunk in table.column("signal").chunks if len(chunk)]
    if len(parts) == 1:
        return parts[0]
    return np.concatenate(parts) if parts else np.empty((0, N_LEADS, samples), np.int16)


def _chunk_uv(chunk: pa.BinaryArray, samples: int) -> np.ndarray:
    width = N_LEADS * samples * 2
    _, offset_buffer, data = chunk.buffers()
    offset_type = np.int64 if pa.types.is_large_binary(chunk.type) else np.int32
    offsets = np.frombuffer(offset_buffer, offset_type)[chunk.offset : chunk.offset + len(chunk) + 1]
    if chunk.null_count or (np.diff(offsets) != width).any():
        raise ValueError(f"a signal is not {N_LEADS} x {samples} int16: these shards have another length")
    flat = np.frombuffer(data, "<i2", count=len(chunk) * N_LEADS * samples, offset=int(offsets[0]))
    flat.flags.writeable = False
    return flat.reshape(len(chunk), N_LEADS, samples)


def _rebatch(tables: Iterable[pa.Table], batch_size: int) -> Iterator[pa.Table]:
    held: list[pa.Table] = []
    rows = 0
    for table in tables:
        held.append(table)
        rows += len(table)
        while rows >= batch_size:
            whole = pa.concat_tables(held)
            yield whole.slice(0, batch_size)
            held, rows = [whole.slice(batch_size)], rows - batch_size
    if rows:
        yield pa.concat_tables(held)


def _splits(split: str | Sequence[str] | None) -> tuple[str, ...]:
    if split is None:
        return SPLITS
    return (split,) if isinstance(split, str) else tuple(split)


def _columns(columns: Sequence[str] | None) -> list[str] | None:
    return None if columns is None else list(columns)
