"""Read finished shards: metadata as one table, signals row group by row group, as int16 arrays.

What comes out is plain, whatever codec the shards are held in: the `signal` column of every table is the
bytes of int16 microvolts, and `signals_uv` makes an array of it without a copy.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from supreme import manifest, storage
from supreme.config import ConfigError
from supreme.records import SPLITS
from supreme.shards import codec, packed_pages, plain_page
from supreme.shards.codec import Codec
from supreme.shards.result import SHARDS, ShardManifest
from supreme.shards.schema import METADATA_COLUMNS, SCHEMA

#: Signals that are decoded at a time where Arrow unpacks them: what a core has beside it.
_CACHED_BYTES = 2**20


@dataclass(frozen=True, order=True)
class RowGroup:
    """The smallest unit that is read from a shard."""

    file: str
    """Name relative to the shard folder."""
    index: int
    rows: int


@dataclass(frozen=True)
class Shards:
    """A finished shard folder. It holds no open file, and may be sent to other processes."""

    folder: str
    manifest: ShardManifest
    rate_hz: int
    samples: int
    row_group_size: int
    codec: Codec
    files: dict[str, int] = field(repr=False)
    """Shard file -> rows, sorted by name."""

    @classmethod
    def open(cls, folder: str) -> Shards:
        """Open a folder made by `shards.build`; every shard must be there and as long as it was.

        Raises:
            ConfigError: the folder is unfinished, a shard is missing or of another size, or signals are held
                in a way that is not read here.
        """
        made = manifest.require(folder, SHARDS)
        section = made.config["shards"]
        if (held := section["compression"]) not in codec.CODECS:
            raise ConfigError(
                f"{folder}: its signals are held as {held!r}, which is none of {', '.join(codec.CODECS)}: "
                "make it afresh with jobs/shard.py --new"
            )
        files = {name: entry.rows or 0 for name, entry in sorted(made.files.items()) if "/" not in name}
        _check_sizes(folder, {name: made.files[name].bytes for name in files})
        samples = round(section["rate_hz"] * section["duration_s"])
        return cls(
            folder,
            made,
            section["rate_hz"],
            samples,
            section["row_group_size"],
            held,
            files,
        )

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
        """The rows of one row group, in shard order.

        Raises:
            StorageError: it cannot be read; the message names shard and row group.
        """
        try:
            with self._open(group.file) as shard:
                # Callers read several row groups at once; threads for one column would only cost time.
                table = shard.read_row_group(group.index, columns=_columns(columns), use_threads=False)
        except (OSError, pa.ArrowInvalid) as error:
            raise self._damaged(f"{group.file}, row group {group.index}", error) from error
        return self._plain(table)

    def copy_signals(
        self,
        group: RowGroup,
        rows: np.ndarray,
        out: np.ndarray,
        places: np.ndarray,
        columns: Sequence[str],
    ) -> pa.Table:
        """Copy the signals of ``rows`` of a row group to ``places`` in ``out`` (any, 12, samples) int16.

        Gives other ``columns`` of those rows. The fastest way to read: a page of few rows at a time is
        unpacked, decoded and copied before it leaves the processor's cache.

        Raises:
            StorageError: it cannot be read; the message names shard and row group.
        """
        in_shard = np.argsort(rows, kind="stable")
        pairs = list(zip(rows[in_shard].tolist(), places[in_shard].tolist(), strict=True))
        try:
            with self._open(group.file) as shard:
                if self._copy_local(shard, group, pairs, out):
                    rest = shard.read_row_group(group.index, columns=list(columns), use_threads=False)
                else:
                    rest = self._copy_decoded(shard, group, pairs, out, columns)
        except (OSError, pa.ArrowInvalid) as error:
            raise self._damaged(f"{group.file}, row group {group.index}", error) from error
        return rest.take(pa.array(rows))

    def _copy_local(
        self, shard: pq.ParquetFile, group: RowGroup, pairs: list[tuple[int, int]], out: np.ndarray
    ) -> bool:
        """Copy from the pages of a local file; False: Arrow is to read it, and to say what is wrong."""
        system, path = storage.filesystem(storage.join(self.folder, group.file))
        if not isinstance(system, fs.LocalFileSystem):
            return False
        if self.codec == "none":
            return plain_page.copy(path, shard.metadata, group.index, pairs, out)
        pages = packed_pages.unpacked(path, shard.metadata, group.index, out[0].nbytes)
        try:
            _place((codec.unpack(held, self.samples, self.codec) for held in pages), pairs, out)
        except (ValueError, LookupError, OSError):
            return False
        return True

    def _copy_decoded(
        self,
        shard: pq.ParquetFile,
        group: RowGroup,
        pairs: list[tuple[int, int]],
        out: np.ndarray,
        columns: Sequence[str],
    ) -> pa.Table:
        rest: list[pa.RecordBatch] = []

        def decoded() -> Iterator[np.ndarray]:
            for batch in shard.iter_batches(
                max(1, _CACHED_BYTES // out[0].nbytes), [group.index], [*columns, "signal"], use_threads=False
            ):
                rest.append(batch.select(list(columns)))
                yield codec.decode(batch.column("signal"), self.samples, self.codec)

        _place(decoded(), pairs, out)
        return pa.Table.from_batches(rest)

    def table(
        self, columns: Sequence[str] = METADATA_COLUMNS, splits: str | Sequence[str] | None = None
    ) -> pa.Table:
        """Chosen columns of every record of the splits, meant for metadata: it is held in memory whole."""
        wanted = [name for name in self.files if name.rpartition("-")[0] in _splits(splits)]
        parts = [pa.schema([SCHEMA.field(name) for name in columns]).empty_table()]
        parts += [self.read_file(name, columns) for name in wanted]
        return pa.concat_tables(parts)

    def read_file(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of one shard.

        Raises:
            StorageError: it cannot be read; the message names it.
        """
        try:
            with self._open(name) as shard:
                return self._plain(shard.read(columns=_columns(columns)))
        except (OSError, pa.ArrowInvalid) as error:
            raise self._damaged(name, error) from error

    def batches(
        self,
        split: str | Sequence[str] | None = None,
        batch_size: int = 256,
        columns: Sequence[str] | None = None,
    ) -> Iterator[pa.Table]:
        """Every record of the splits in shard order, ``batch_size`` at a time, the last batch shorter."""
        return _rebatch((self.read_row_group(group, columns) for group in self.row_groups(split)), batch_size)

    def _open(self, name: str) -> AbstractContextManager[pq.ParquetFile]:
        uri = storage.join(self.folder, name)
        return _parquet_file(uri, metadata=_footer(uri, self.manifest.files[name].sha256))

    def _plain(self, table: pa.Table) -> pa.Table:
        if self.codec == "none" or "signal" not in table.column_names:
            return table
        signal_uv = codec.decode(table.column("signal"), self.samples, self.codec)
        return table.set_column(
            table.column_names.index("signal"), SCHEMA.field("signal"), codec.plain_column(signal_uv)
        )

    def _damaged(self, what: str, error: Exception) -> storage.StorageError:
        if isinstance(error, storage.StorageError):
            return error
        why = " ".join(str(error).split())
        return storage.StorageError(
            f"{self.folder}: {what} cannot be read ({why}); bring the file back, or delete it "
            "and run jobs/shard.py, which makes it again"
        )


def _place(parts: Iterable[np.ndarray], pairs: Iterable[tuple[int, int]], out: np.ndarray) -> None:
    """Copy rows of consecutive parts of a row group: pairs of row and place, by row."""
    first, waiting = 0, deque(pairs)
    for signal_uv in parts:
        while waiting and waiting[0][0] < first + len(signal_uv):
            row, place = waiting.popleft()
            out[place] = signal_uv[row - first]
        first += len(signal_uv)


def signals_uv(table: pa.Table, samples: int) -> np.ndarray:
    """The `signal` column of a table that was read as a read-only int16 array ``(N, 12, samples)``.

    Microvolts. It shares the table's memory where the column is one chunk, as in a row group.

    Raises:
        ValueError: a row holds another number of samples.
    """
    return codec.decode(table.column("signal"), samples, "none")


def _check_sizes(folder: str, expected: dict[str, int]) -> None:
    found = storage.sizes(folder, recursive=False)
    wrong = {name: found.get(name) for name, size in expected.items() if found.get(name) != size}
    for name, size in wrong.items():
        what = "is missing" if size is None else f"has {size:,} bytes instead of {expected[name]:,}"
        raise ConfigError(
            f"{folder}: {name} {what} ({len(wrong)} of {len(expected)} shards differ from the manifest); "
            "bring the files back, or run jobs/shard.py again, which makes them again"
        )


@lru_cache(maxsize=512)
def _footer(uri: str, sha256: str) -> pq.FileMetaData:
    """The parsed footer of a shard; the sha256 tells it from another shard of that name."""
    with _parquet_file(uri) as shard:
        return shard.metadata


@contextmanager
def _parquet_file(uri: str, metadata: pq.FileMetaData | None = None) -> Iterator[pq.ParquetFile]:
    system, path = storage.filesystem(uri)
    if isinstance(system, fs.LocalFileSystem):
        # Mapped, a page is copied once, from the page cache into the array.
        with pq.ParquetFile(path, metadata=metadata, memory_map=True, pre_buffer=False) as shard:
            yield shard
        return
    # Requests for neighbouring columns become one.
    with (
        storage.open_file(uri) as stream,
        pq.ParquetFile(stream, metadata=metadata, pre_buffer=True) as shard,
    ):
        yield shard


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
