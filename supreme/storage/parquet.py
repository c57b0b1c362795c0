"""Parquet tables from and to a URI: the one way for whole tables, and for tables written piece by piece."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from supreme import storage


def read_table(uri: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a Parquet file, local or on S3; all its columns unless some are named.

    Raises:
        StorageError: no such file, or it cannot be read.
    """
    with storage.open_file(uri) as stream:
        return pq.read_table(stream, columns=None if columns is None else list(columns))


def write_table(uri: str, table: pa.Table) -> None:
    """Write a table, compressed with zstd: the whole file or none."""
    with writer(uri, table.schema) as file:
        file.write_table(table)


@contextmanager
def writer(uri: str, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    """A Parquet file that gets its name only when the block has ended well."""
    with storage.writing(uri) as stream, pq.ParquetWriter(stream, schema, compression="zstd") as file:
        yield file
