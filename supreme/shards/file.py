"""One shard file, opened: what its manifest and schema say of it is checked before anything is read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import NamedTuple

import pyarrow.parquet as pq
from pyarrow import fs

from supreme import storage
from supreme.shards.schema import SCHEMA
from supreme.storage.errors import StorageError
from supreme.storage.parquet import check_rows, check_types, open_parquet, read_row_group


class ShardFile(NamedTuple):
    """A shard as its manifest describes it; not open."""

    uri: str
    sha256: str
    """Tells it from another shard of that name."""
    rows: int

    @contextmanager
    def open(self) -> Iterator[pq.ParquetFile]:
        """Open it with the footer that was parsed and checked the first time.

        Raises:
            StorageError: it is not there, or its footer is not that of the shard that was written.
        """
        with _parquet_file(self.uri, _footer(self)) as shard:
            yield shard

    @property
    def local_path(self) -> str | None:
        """None on object storage."""
        system, path = storage.filesystem(self.uri)
        return path if isinstance(system, fs.LocalFileSystem) else None

    def verify_signals(self, group: int) -> None:
        """Verify the checksums of the signals of a row group, once in a process.

        For a reader that does not verify them itself.
        """
        _verify_signals(self, group)


@lru_cache(maxsize=512)
def _footer(shard: ShardFile) -> pq.FileMetaData:
    with _parquet_file(shard.uri) as file:
        metadata = file.metadata
        check_types(shard.uri, file.schema_arrow, SCHEMA)
        if file.schema_arrow.names != SCHEMA.names:
            raise StorageError(f"has other columns than a shard ({', '.join(file.schema_arrow.names)})")
    check_rows(sum(metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)), shard.rows)
    return metadata


@lru_cache(maxsize=2**16)
def _verify_signals(shard: ShardFile, group: int) -> None:
    with shard.open() as file:
        read_row_group(file, group, ["signal"])


@contextmanager
def _parquet_file(uri: str, metadata: pq.FileMetaData | None = None) -> Iterator[pq.ParquetFile]:
    system, path = storage.filesystem(uri)
    if isinstance(system, fs.LocalFileSystem):
        # Mapped, a page is copied once, from the page cache into the array.
        with open_parquet(path, metadata=metadata, memory_map=True, pre_buffer=False) as shard:
            yield shard
        return
    # Requests for neighbouring columns become one.
    with (
        storage.open_file(uri) as stream,
        open_parquet(stream, metadata=metadata, pre_buffer=True) as shard,
    ):
        yield shard
