"""Embeddings of records that another program, or this one, wrote."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from supreme import storage
from supreme.config import ConfigError
from supreme.evaluation import npy_files
from supreme.evaluation.record_tables import (
    RECORD_ID,
    TableHeader,
    batches,
    raw_batches,
    read_header,
    record_ids,
    refuse_non_finite,
)
from supreme.evaluation.score_files import rows_of
from supreme.storage.parquet import write_table

EMBEDDING = "embedding"
_NUMBERED = re.compile(r"(.*?)(\d+)")


@dataclass(frozen=True)
class Embeddings:
    """One vector a record."""

    record_ids: tuple[str, ...]
    values: np.ndarray
    """float32 ``(N, D)``, finite."""

    @property
    def width(self) -> int:
        return int(self.values.shape[1])

    def align(self, record_ids: Sequence[str], benchmark: str, uri: str = "embeddings") -> Embeddings:
        """Those of a benchmark's records, in their order.

        Args:
            uri: where they were read, for the message.

        Raises:
            ConfigError: a record of the benchmark has none; the message names the first and the remedy.
        """
        row_of = {record: row for row, record in enumerate(self.record_ids)}
        return Embeddings(tuple(record_ids), self.values[rows_of(uri, row_of, record_ids, benchmark)])


def read_embeddings(
    uri: str, record_ids: Collection[str] | None = None, *, width: int | None = None
) -> Embeddings:
    """Read embeddings, local or on S3.

    Parquet with ``record_id`` and a list column ``embedding``; Parquet or CSV with ``record_id`` and numbered
    columns (``e0``, ``e1`` ...); or ``X.npy`` ``(N, D)`` with the ids in ``X.csv`` or ``records.csv`` beside.

    Args:
        record_ids: the records that are kept; all when None.
        width: the ``D`` that is expected; any when None.

    Raises:
        ConfigError: no such file, it is damaged or empty, an id is missing or there twice, vectors differ in
            width, or a value is empty, text, NaN or infinite; the message names file, record and remedy.
    """
    only = None if record_ids is None else frozenset(record_ids)
    selected: list[str] = []
    parts: list[np.ndarray] = []
    for records, values in _vectors(uri):
        if width is not None and values.shape[1] != width:
            raise ConfigError(
                f"{uri}: embeddings of width {values.shape[1]}, but {width} is expected: they are of another "
                "model or layer; give the file of this one"
            )
        if only is not None:
            mask = np.array([record in only for record in records], bool)
            records = [record for record, here in zip(records, mask, strict=True) if here]
            values = values[mask]
        selected += records
        parts.append(values.astype(np.float32))
    return Embeddings(tuple(selected), np.concatenate(parts))


def has_embeddings(uri: str) -> bool:
    """Whether a CSV or Parquet file holds embeddings: a column ``embedding``, or numbered columns alone.

    Raises:
        ConfigError: as :func:`read_embeddings`.
    """
    names = read_header(uri).names
    return EMBEDDING in names or _in_order(names) is not None


def write_embeddings(uri: str, embeddings: Embeddings) -> None:
    """Write a Parquet file that :func:`read_embeddings` reads: the whole file or none."""
    flat = pa.array(np.ascontiguousarray(embeddings.values, np.float32).ravel())
    vectors = pa.FixedSizeListArray.from_arrays(flat, embeddings.width)
    write_table(uri, pa.table({RECORD_ID: pa.array(embeddings.record_ids, pa.string()), EMBEDDING: vectors}))


def _vectors(uri: str) -> Iterator[tuple[list[str], np.ndarray]]:
    path = uri.partition("?")[0] if uri.startswith("s3://") else uri
    if path.endswith(".npy"):
        yield from _npy(uri)
        return
    header = read_header(uri)
    if EMBEDDING in header.names:
        yield from _lists(uri, header)
    else:
        yield from batches(uri, header, _numbered(uri, header.names))


def _numbered(uri: str, names: Sequence[str]) -> list[str]:
    """Columns that differ in a number alone, which runs from 0 or 1 without a gap."""
    ordered = _in_order(names)
    if ordered is None:
        example = next((name for name in names if not _NUMBERED.fullmatch(name)), names[-1])
        raise ConfigError(
            f"{uri}: embeddings are a list column {EMBEDDING!r}, or columns numbered from 0 or 1 without a "
            f"gap (e0, e1 ...); {example!r} does not fit: rename or drop it"
        )
    return ordered


def _in_order(names: Sequence[str]) -> list[str] | None:
    """The columns by their numbers; None where they are not numbered in one way, without a gap."""
    matches = {name: match for name in names if (match := _NUMBERED.fullmatch(name))}
    ordered = sorted(matches, key=lambda name: int(matches[name][2]))
    numbers = [int(matches[name][2]) for name in ordered]
    count = len(names)
    is_numbered = numbers in (list(range(count)), list(range(1, count + 1)))
    return ordered if is_numbered and len({match[1] for match in matches.values()}) == 1 else None


def _lists(uri: str, header: TableHeader) -> Iterator[tuple[list[str], np.ndarray]]:
    seen: set[str] = set()
    first, width = 0, None
    for batch in raw_batches(uri, header, [EMBEDDING]):
        records = record_ids(uri, batch.column(RECORD_ID), seen, first)
        column = batch.column(EMBEDDING)
        if not records:
            continue
        width = width or _length_of(column[0])
        first += len(records)
        yield records, _matrix(uri, column, records, width)
    if not first:
        raise ConfigError(f"{uri} has no row: it was written empty, or cut off: write it again")


def _length_of(value: pa.Scalar) -> int:
    items = value.as_py() if isinstance(value, pa.ListScalar) else None
    return len(items) if items else 0


def _matrix(uri: str, column: pa.Array, records: Sequence[str], width: int) -> np.ndarray:
    kind = column.type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not is_list or not (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type)):
        raise ConfigError(f"{uri}: column {EMBEDDING!r} is of type {kind}: write lists of numbers")
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_pylist()
    for record, length in zip(records, lengths, strict=True):
        if length != width or not width:
            raise ConfigError(
                f"{uri}: the embedding of record {record!r} has {length} values, that of the first record "
                f"{width}: write vectors of one width"
            )
    # A missing item becomes NaN.
    values = column.flatten().cast(pa.float64()).to_numpy(zero_copy_only=False).reshape(len(records), width)
    refuse_non_finite(uri, values, records, [f"{EMBEDDING}[{d}]" for d in range(width)])
    return values


def _npy(uri: str) -> Iterator[tuple[list[str], np.ndarray]]:
    ids_uri = _ids_beside(uri)
    ids = npy_files.read_ids(ids_uri)
    first = 0
    for values in npy_files.rows(uri):
        records = list(ids[first : first + len(values)])
        first += len(values)
        if first > len(ids):
            break
        refuse_non_finite(uri, values, records, [f"column {d}" for d in range(values.shape[1])])
        yield records, values
    total = npy_files.shape(uri)[0]
    if total != len(ids):
        raise ConfigError(
            f"{uri} has {total:,} rows, but {ids_uri} names {len(ids):,} records: write one row a record, in "
            "the order of that file"
        )


def _ids_beside(uri: str) -> str:
    path, mark, query = uri.partition("?") if uri.startswith("s3://") else (uri, "", "")
    same_stem = f"{path.removesuffix('.npy')}.csv{mark}{query}"
    if storage.exists(same_stem):
        return same_stem
    folder = path.rpartition("/")[0] or "."
    beside = f"{folder}/records.csv{mark}{query}"
    if storage.exists(beside):
        return beside
    raise ConfigError(f"{uri}: the record ids of its rows are missing: write {same_stem} with {RECORD_ID}")
