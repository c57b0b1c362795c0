"""Tables of numbers by record, CSV or Parquet, local or on S3: read in batches, checked cell by cell."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from supreme import log, storage
from supreme.config import ConfigError
from supreme.records import columns
from supreme.storage.parquet import check_rows, check_types, open_parquet

RECORD_ID = "record_id"
_BATCH_ROWS = 8192
#: A header of thousands of classes takes a tenth of it.
_HEADER_BYTES = 1 << 20
_BLOCK_BYTES = 1 << 22
_BOM = b"\xef\xbb\xbf"
_DELIMITERS = (",", ";", "\t", "|")

logger = log.get("evaluation")


class TableHeader(NamedTuple):
    """The columns of a table beside the record ids, and how a CSV is written."""

    names: tuple[str, ...]
    all_names: tuple[str, ...]
    delimiter: str = ""
    """Empty: a Parquet file."""
    rows_at: int = 0
    """Byte at which the first row begins."""


def read_header(uri: str, *, ids_alone: bool = False) -> TableHeader:
    """The columns of a table.

    Args:
        ids_alone: a table of nothing but record ids will do.

    Raises:
        ConfigError: no file, it is damaged or empty, has no column ``record_id``, or two of one name.
    """
    with _told(uri):
        if _is_parquet(uri):
            with storage.open_file(uri) as stream, open_parquet(stream) as file:
                check_types(uri, file.schema_arrow)
                header = TableHeader((), tuple(file.schema_arrow.names))
        else:
            with storage.open_file(uri) as stream:
                header = _csv_header(uri, stream.read(_HEADER_BYTES))
    names = header.all_names
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise ConfigError(f"{uri}: two columns are called {twice[0]!r}: rename or drop one")
    if RECORD_ID not in names:
        columns.match(uri, names, [RECORD_ID])  # which names what is alike
        raise ConfigError(f"{uri}: no column {RECORD_ID!r}: rename the column of the record ids to it")
    others = columns.unread(names, {RECORD_ID: RECORD_ID})
    if not others and not ids_alone:
        raise ConfigError(f"{uri}: no column beside {RECORD_ID!r}: add one column of numbers a class")
    return header._replace(names=tuple(others))


def batches(uri: str, header: TableHeader, names: Sequence[str]) -> Iterator[tuple[list[str], np.ndarray]]:
    """Record ids and float64 ``(rows, len(names))`` of some columns.

    Raises:
        ConfigError: a cell is empty, text, NaN or infinite, or a record id is missing or there twice; the
            message names column and record.
    """
    seen: set[str] = set()
    first = 0
    for batch in raw_batches(uri, header, names):
        records = record_ids(uri, batch.column(RECORD_ID), seen, first)
        first += len(records)
        numbers = [_numbers(uri, name, batch.column(name), records) for name in names]
        yield records, np.stack(numbers, axis=1)
    if not first:
        raise ConfigError(f"{uri} has no row: it was written empty, or cut off: write it again")


def raw_batches(uri: str, header: TableHeader, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Some columns and the record ids, as they are stored; those of a CSV are strings.

    Raises:
        ConfigError: the file is damaged, or a row has too many or too few cells.
    """
    with _told(uri), storage.open_file(uri) as stream:
        if not header.delimiter:
            with open_parquet(stream) as file:
                n_rows = 0
                for batch in file.iter_batches(_BATCH_ROWS, columns=[RECORD_ID, *names], use_threads=False):
                    n_rows += len(batch)
                    yield batch
                check_rows(n_rows, file.metadata.num_rows)
        else:
            yield from _csv_batches(uri, stream, header, [RECORD_ID, *names])


def record_ids(uri: str, column: pa.Array, seen: set[str], first: int) -> list[str]:
    """The ids of a batch, added to ``seen``; ``first`` is the number of rows before it.

    Raises:
        ConfigError: an id is missing, is no text or whole number, or was seen before.
    """
    if isinstance(column.type, pa.DictionaryType):
        column = column.dictionary_decode()
    kind = column.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind)):
        raise ConfigError(f"{uri}: column {RECORD_ID!r} is of type {kind}: write the ids as text")
    records: list[str] = []
    for number, value in enumerate(column.to_pylist(), first + 1):
        record = "" if value is None else str(value).strip()
        if not record:
            raise ConfigError(f"{uri}: row {number} has no {RECORD_ID}: repair or remove it")
        if record in seen:
            raise ConfigError(f"{uri}: record {record!r} is there twice (row {number}): keep one row of each")
        seen.add(record)
        records.append(record)
    return records


def refuse_non_finite(uri: str, values: np.ndarray, records: Sequence[str], names: Sequence[str]) -> None:
    """Raises ConfigError for the first value ``(rows, columns)`` that is NaN or infinite."""
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        row, column = bad[0]
        raise ConfigError(
            f"{uri}: column {names[column]!r} holds {values[row, column]} for record {records[row]!r} "
            f"({len(bad):,} such cells in these {len(values):,} rows): give a finite number for every "
            "record, or leave the column or the record out"
        )


def _numbers(uri: str, name: str, column: pa.Array, records: Sequence[str]) -> np.ndarray:
    kind = column.type
    if pa.types.is_string(kind):
        values = _parsed(uri, name, column, records)
    elif pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        values = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    else:
        raise ConfigError(f"{uri}: column {name!r} is of type {kind}: write numbers, or drop the column")
    if column.null_count:
        row = pc.index(pc.is_null(column), True).as_py()
        raise ConfigError(
            f"{uri}: column {name!r} is empty for record {records[row]!r} ({column.null_count:,} such cells "
            f"in these {len(records):,} rows): give a number for every record, or leave the column out"
        )
    refuse_non_finite(uri, values[:, None], records, [name])
    return values


def _parsed(uri: str, name: str, column: pa.Array, records: Sequence[str]) -> np.ndarray:
    """Texts as numbers; the first that is none is named."""
    trimmed = pc.utf8_trim_whitespace(column)
    try:
        return trimmed.cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        for record, text in zip(records, trimmed.to_pylist(), strict=True):
            what = "is empty" if not text else f"holds the text {text[:40]!r}"
            remedy = "give a number for every record" if not text else "write numbers with a point"
            try:
                float(text or "")
            except ValueError:
                raise ConfigError(
                    f"{uri}: column {name!r} {what} for record {record!r}: {remedy}, or leave the column out"
                ) from None
        raise


def _csv_header(uri: str, content: bytes) -> TableHeader:
    if not content.strip(_BOM + b" \t\r\n\0"):
        raise ConfigError(f"{uri} is empty: write it again")
    start = len(_BOM) if content.startswith(_BOM) else 0
    while True:
        line, newline, _ = content[start:].partition(b"\n")
        if line.strip():
            break
        logger.info(f"{uri}: a blank line before the header is skipped")
        start += len(line) + len(newline)
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise ConfigError(f"{uri}: the header is not UTF-8: save the file as UTF-8") from None
    delimiter = max(_DELIMITERS, key=text.count)
    names = [name.strip() for name in next(csv.reader(io.StringIO(text), delimiter=delimiter), [])]
    return TableHeader((), tuple(names), delimiter, start + len(line) + len(newline))


def _csv_batches(
    uri: str, stream: pa.NativeFile, header: TableHeader, names: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    bad: list[int] = []

    def remember(row: arrow_csv.InvalidRow) -> str:
        bad.append(row.number)
        return "skip"

    stream.seek(header.rows_at)
    if not stream.read(1):
        return
    stream.seek(header.rows_at)
    reader = arrow_csv.open_csv(
        stream,
        # Rows have numbers only where one thread reads.
        arrow_csv.ReadOptions(
            use_threads=False, column_names=list(header.all_names), block_size=_BLOCK_BYTES
        ),
        arrow_csv.ParseOptions(delimiter=header.delimiter, invalid_row_handler=remember),
        arrow_csv.ConvertOptions(
            include_columns=list(names),
            column_types=dict.fromkeys(names, pa.string()),
            strings_can_be_null=False,
        ),
    )
    for batch in reader:
        if bad:
            break
        yield batch
    if bad:
        raise ConfigError(f"{uri}: row {bad[0]} has not {len(header.all_names)} cells: repair or remove it")


def _is_parquet(uri: str) -> bool:
    path = uri.partition("?")[0] if uri.startswith("s3://") else uri
    return path.casefold().endswith((".parquet", ".pq"))


@contextmanager
def _told(uri: str) -> Iterator[None]:
    """What Arrow and the storage say of a file as a `ConfigError` that names it."""
    try:
        yield
    except storage.Unavailable:
        raise
    except storage.StorageError as error:
        raise ConfigError(str(error)) from None
    except (pa.ArrowException, csv.Error, OSError) as error:
        why = " ".join(str(error).split())[:300]
        raise ConfigError(f"{uri} is damaged or of another format ({why}): write it again") from None
