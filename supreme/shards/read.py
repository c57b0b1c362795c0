"""Read finished shards: metadata as one table, signals row group by row group, as int16 arrays.

Whatever the codec of the shards, the `signal` column of every table that comes out is the bytes of int16
microvolts, and `signals_uv` makes an array of it without a copy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from supreme import manifest, storage
from supreme.config import ConfigError
from supreme.ecg import N_LEADS
from supreme.records import SPLITS
from supreme.shards import codec, plain_page
from supreme.shards.codec import Codec
from supreme.shards.file import ShardFile
from supreme.shards.result import SHARDS, ShardManifest
from supreme.shards.schema import METADATA_COLUMNS, SCHEMA
from supreme.storage.parquet import check_rows, read_row_group, read_row_groups

#: Signals that are decoded at a time: what fits into the cache of a core.
_CACHED_BYTES = 2**20


@dataclass(frozen=True, order=True)
class RowGroup:
    """The smallest unit that is read from a shard."""

    file: str
    """Name relative to the shard folder."""
    index: int
    rows: int


@dataclass(frozen=True)
class ShardDataset:
    """A finished shard folder. It holds no open file and may be sent to other processes."""

    folder: str
    manifest: ShardManifest
    rate_hz: int
    """Of every record; 0 in evaluation shards, where each has the rate of its source."""
    samples: int
    """Of every record; 0 in evaluation shards, where each has the length of its source."""
    row_group_size: int
    codec: Codec
    files: dict[str, int] = field(repr=False)
    """Shard file -> rows, sorted by name."""

    @classmethod
    def open(cls, folder: str) -> ShardDataset:
        """Open a folder made by `shards.build`; every shard must be there with the size it was written with.

        Raises:
            ConfigError: the folder is unfinished, a shard is missing or of another size, or the codec is
                unknown.
        """
        described = manifest.require(folder, SHARDS)
        section = described.config["shards"]
        if (compression := section["compression"]) not in codec.CODECS:
            raise ConfigError(
                f"{folder}: its signals are encoded as {compression!r}, which is none of "
                f"{', '.join(codec.CODECS)}: make it afresh with jobs/shard.py --new"
            )
        files = {name: entry.rows or 0 for name, entry in sorted(described.files.items()) if "/" not in name}
        _check_sizes(folder, {name: described.files[name].bytes for name in files})
        return cls(
            folder,
            described,
            section["rate_hz"],
            round(section["rate_hz"] * section["duration_s"]),
            section["row_group_size"],
            compression,
            files,
        )

    def row_groups(self, split: str | Sequence[str] | None = None) -> list[RowGroup]:
        """The row groups of one split, several or all, by file and index.

        Their sizes follow from the manifest: no file is opened.
        """
        size, groups = self.row_group_size, []
        for name in self._names(split):
            rows = self.files[name]
            starts = enumerate(range(0, rows, size))
            groups += [RowGroup(name, index, min(size, rows - start)) for index, start in starts]
        return groups

    def read_row_group(self, group: RowGroup, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of one row group, in shard order.

        Raises:
            StorageError: it cannot be read or is damaged; the message names shard and row group.
        """
        with self._open(group.file, group.index) as shard:
            table = read_row_group(shard, group.index, columns)
            check_rows(len(table), group.rows)
            return self._decoded(table)

    def copy_signals(
        self, group: RowGroup, rows: np.ndarray, out: np.ndarray, places: np.ndarray, columns: Sequence[str]
    ) -> pa.Table:
        """Copy signals of a row group to their places in a larger array, the fastest way to read.

        Args:
            rows: which rows of the row group, ``(N,)``.
            out: int16 ``(any, 12, samples)``, written in place.
            places: where in ``out`` each of ``rows`` goes, ``(N,)``.

        Returns:
            Other ``columns`` of those rows.

        Raises:
            StorageError: it cannot be read or is damaged; the message names shard and row group.
        """
        in_shard = np.argsort(rows, kind="stable")
        pairs = list(zip(rows[in_shard].tolist(), places[in_shard].tolist(), strict=True))
        with self._open(group.file, group.index) as shard:
            if self._copy_plain(shard, group, pairs, out):
                rest = read_row_group(shard, group.index, columns)
            else:
                rest = self._copy_decoded(shard, group, pairs, out, columns)
        return rest.take(pa.array(rows))

    def _copy_plain(
        self, shard: pq.ParquetFile, group: RowGroup, pairs: list[tuple[int, int]], out: np.ndarray
    ) -> bool:
        """Copy straight from a local file that needs no decoding; False: Arrow has to read it."""
        file = self._file(group.file)
        if self.codec != "none" or (path := file.local_path) is None:
            return False
        file.verify_signals(group.index)
        return plain_page.copy(path, shard.metadata, group.index, pairs, out)

    def _copy_decoded(
        self,
        shard: pq.ParquetFile,
        group: RowGroup,
        pairs: list[tuple[int, int]],
        out: np.ndarray,
        columns: Sequence[str],
    ) -> pa.Table:
        """Decode and copy few rows at a time, before they leave the processor's cache."""
        rest: list[pa.RecordBatch] = []
        names, size = [*columns, "signal"], max(1, _CACHED_BYTES // out[0].nbytes)
        first, number = 0, 0
        for batch in shard.iter_batches(size, [group.index], names, use_threads=False):
            rest.append(batch.select(list(columns)))
            signal_uv = codec.decode(batch.column("signal"), self.samples, self.codec)
            while number < len(pairs) and pairs[number][0] < first + len(signal_uv):
                row, place = pairs[number]
                out[place] = signal_uv[row - first]
                number += 1
            first += len(signal_uv)
        check_rows(first, group.rows)
        return pa.Table.from_batches(rest)

    def table(
        self, columns: Sequence[str] = METADATA_COLUMNS, splits: str | Sequence[str] | None = None
    ) -> pa.Table:
        """Some columns of every record of the splits, all in memory: meant for metadata."""
        parts = [pa.schema([SCHEMA.field(name) for name in columns]).empty_table()]
        parts += [self.read_file(name, columns) for name in self._names(splits)]
        return pa.concat_tables(parts)

    def read_file(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of one shard.

        Raises:
            StorageError: it cannot be read or is damaged; the message names it.
        """
        with self._open(name) as shard:
            return self._decoded(read_row_groups(shard, columns))

    def batches(
        self,
        split: str | Sequence[str] | None = None,
        batch_size: int = 256,
        columns: Sequence[str] | None = None,
    ) -> Iterator[pa.Table]:
        """Every record of the splits in shard order, ``batch_size`` at a time, the last batch shorter."""
        return _rebatch((self.read_row_group(group, columns) for group in self.row_groups(split)), batch_size)

    def records_uv(self, table: pa.Table) -> Iterator[tuple[np.ndarray, float]]:
        """Each record of a table that was read: int16 microvolts ``(12, T)`` without padding, and its rate.

        Args:
            table: with `signal`, `n_valid` and `source_rate_hz`.
        """
        columns = (table.column(name).to_pylist() for name in ("n_valid", "source_rate_hz"))
        for row, n_valid, source_rate_hz in zip(table.column("signal"), *columns, strict=True):
            signal_uv = np.frombuffer(row.as_buffer(), "<i2").reshape(N_LEADS, -1)
            yield signal_uv[:, :n_valid], float(self.rate_hz or source_rate_hz)

    def _names(self, split: str | Sequence[str] | None) -> list[str]:
        splits = SPLITS if split is None else (split,) if isinstance(split, str) else tuple(split)
        return [name for name in self.files if name.rpartition("-")[0] in splits]

    def _file(self, name: str) -> ShardFile:
        uri, sha256 = storage.join(self.folder, name), self.manifest.files[name].sha256
        return ShardFile(uri, sha256, self.files[name])

    @contextmanager
    def _open(self, name: str, group: int | None = None) -> Iterator[pq.ParquetFile]:
        """An open shard; whatever goes wrong with it in the block names it and the remedy."""
        try:
            with self._file(name).open() as shard:
                yield shard
        except storage.Unavailable:
            raise
        except (OSError, ValueError, pa.ArrowException) as error:
            what, why = name if group is None else f"{name}, row group {group}", " ".join(str(error).split())
            raise storage.StorageError(
                f"{self.folder}: {what} is damaged or cannot be read ({why}); jobs/verify.py checks all "
                "shards; bring the file back, or delete it and run jobs/shard.py, which makes it again "
                "(--new makes all of them again)"
            ) from error

    def _decoded(self, table: pa.Table) -> pa.Table:
        if self.codec == "none" or "signal" not in table.column_names:
            return table
        position = table.column_names.index("signal")
        if self.samples:
            plain = codec.plain_column(codec.decode(table.column("signal"), self.samples, self.codec))
        else:
            rows = [np.frombuffer(row.as_buffer(), np.uint8)[None] for row in table.column("signal")]
            each = [codec.unpack(row, row.size // (2 * N_LEADS), self.codec) for row in rows]
            plain = pa.array([signal_uv.tobytes() for signal_uv in each], pa.binary())
        return table.set_column(position, SCHEMA.field("signal"), plain)


def signals_uv(table: pa.Table, samples: int) -> np.ndarray:
    """The `signal` column of a table that was read as a read-only int16 array ``(N, 12, samples)``.

    Microvolts. It shares the table's memory where the column is one chunk, as in a row group.

    Raises:
        ValueError: a row holds another number of samples.
    """
    return codec.decode(table.column("signal"), samples, "none")


def _check_sizes(folder: str, expected: dict[str, int]) -> None:
    sizes = storage.sizes(folder, recursive=False)
    wrong = {name: sizes.get(name) for name, size in expected.items() if sizes.get(name) != size}
    for name, size in wrong.items():
        what = "is missing" if size is None else f"has {size:,} bytes instead of {expected[name]:,}"
        raise ConfigError(
            f"{folder}: {name} {what} ({len(wrong)} of {len(expected)} shards differ from the manifest); "
            "bring the files back, or run jobs/shard.py again, which makes them again"
        )


def _rebatch(tables: Iterable[pa.Table], batch_size: int) -> Iterator[pa.Table]:
    waiting: list[pa.Table] = []
    rows = 0
    for table in tables:
        waiting.append(table)
        rows += len(table)
        while rows >= batch_size:
            whole = pa.concat_tables(waiting)
            yield whole.slice(0, batch_size)
            waiting, rows = [whole.slice(batch_size)], rows - batch_size
    if rows:
        yield pa.concat_tables(waiting)
