"""Parquet tables from and to a URI: the one way for whole tables, and for tables written piece by piece.

Pages are written with checksums and verified when read. Column types are checked before a value is read:
extension types may run code of the file's author when their values become Python objects.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from supreme import storage
from supreme.storage.errors import StorageError

_EXTENSION_NAME = b"ARROW:extension:name"


def read_table(
    uri: str, columns: Sequence[str] | None = None, *, schema: pa.Schema | None = None
) -> pa.Table:
    """Read a Parquet file, local or on S3.

    Args:
        columns: names of what is read; without them all columns of ``schema``, or of the file.
        schema: the type that each of the columns read must have exactly.

    Raises:
        StorageError: no such file, it is damaged, or a column is missing, of another type, or no plain data.
    """
    names = list(columns) if columns is not None else schema.names if schema is not None else None
    expected = schema if schema is None else pa.schema([schema.field(name) for name in names or ()])
    with storage.open_file(uri) as stream, _damage_named(uri), open_parquet(stream) as file:
        check_types(uri, file.schema_arrow, expected)
        return read_row_groups(file, names)


def write_table(uri: str, table: pa.Table) -> None:
    """Write a table, compressed with zstd: the whole file or none."""
    with writer(uri, table.schema) as file:
        file.write_table(table)


@contextmanager
def writer(uri: str, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    """A Parquet file that gets its name only when the block has ended well."""
    with storage.writing(uri) as stream, parquet_writer(stream, schema, compression="zstd") as file:
        yield file


def parquet_writer(stream: Any, schema: pa.Schema, **options: Any) -> pq.ParquetWriter:
    """A writer with page checksums; ``options`` are those of `pyarrow.parquet.ParquetWriter`."""
    return pq.ParquetWriter(stream, schema, write_page_checksum=True, **options)


def open_parquet(source: Any, **options: Any) -> pq.ParquetFile:
    """A reader that verifies page checksums; ``options`` are those of `pyarrow.parquet.ParquetFile`."""
    return pq.ParquetFile(source, page_checksum_verification=True, **options)


def read_row_group(file: pq.ParquetFile, group: int, columns: Sequence[str] | None) -> pa.Table:
    """The rows of one row group, in this thread.

    Raises:
        StorageError: it has fewer or more rows than the footer says.
    """
    names = None if columns is None else list(columns)
    table = file.read_row_group(group, columns=names, use_threads=False)
    check_rows(len(table), file.metadata.row_group(group).num_rows)
    return table


def read_row_groups(file: pq.ParquetFile, columns: Sequence[str] | None) -> pa.Table:
    """All rows of a file.

    Checksums do not cover the headers of pages, which hold their numbers of rows: read in one go, a damaged
    number would go unnoticed and shift the rows of the row groups that follow.
    """
    tables = [read_row_group(file, number, columns) for number in range(file.num_row_groups)]
    if tables:
        return pa.concat_tables(tables)
    empty = file.schema_arrow.empty_table()
    return empty if columns is None else empty.select(list(columns))


def check_rows(rows: int, expected: int) -> None:
    """Raises StorageError if they differ."""
    if rows != expected:
        raise StorageError(f"{rows:,} rows instead of {expected:,}")


def check_types(uri: str, schema: pa.Schema, expected: pa.Schema | None = None) -> None:
    """Refuse a file whose columns are not plain data of the expected types; reads no value.

    Raises:
        StorageError: naming the file, the column and both types.
    """
    for field in schema:
        if not _is_plain(field):
            raise StorageError(
                f"{uri}: column {field.name!r} is of the extension type {_type_name(field)}, which is not "
                "plain data and may run code when it is read: do not use this file"
            )
    for field in expected or ():
        position = schema.get_field_index(field.name)
        if position < 0:
            raise StorageError(f"{uri}: has no column {field.name!r} ({', '.join(schema.names)})")
        if schema.field(position).type != field.type:
            raise StorageError(
                f"{uri}: column {field.name!r} is of type {schema.field(position).type}, not {field.type}"
            )


def _is_plain(field: pa.Field) -> bool:
    """Whether neither a field nor one nested in it has an extension type, known to this process or not."""
    kind = field.type
    if isinstance(kind, pa.BaseExtensionType) or _EXTENSION_NAME in (field.metadata or {}):
        return False
    if pa.types.is_dictionary(kind):
        return _is_plain(pa.field("", kind.value_type))
    return all(_is_plain(kind.field(number)) for number in range(kind.num_fields))


def _type_name(field: pa.Field) -> str:
    name = (field.metadata or {}).get(_EXTENSION_NAME, b"").decode(errors="replace")
    return name or str(field.type)


@contextmanager
def _damage_named(uri: str) -> Iterator[None]:
    try:
        yield
    except StorageError:
        raise
    except (OSError, pa.ArrowException) as error:
        why = " ".join(str(error).split())
        raise StorageError(
            f"{uri} is damaged or no Parquet file ({why}): bring it back, or make it again with --new"
        ) from error
