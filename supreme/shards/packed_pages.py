"""Signals of compressed shards on a local disk, page by page, without the copy that Arrow makes of each.

A page of a Parquet column is a header, a struct in Thrift's compact protocol, and a compressed block. In it,
values of a binary column lie one behind the other, each after its length in four bytes.
Source: https://github.com/apache/parquet-format, "Data Pages", and parquet.thrift.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

#: Parquet's name -> Arrow's. What is written as LZ4 today is LZ4_RAW, under the old name in the metadata.
_COMPRESSIONS = {"ZSTD": "zstd", "LZ4": "lz4_raw"}
_LENGTH = np.dtype("<i4")
#: Of PageHeader: the kind of page and both sizes; of the DataPageHeader in its field 5: the encoding.
_KIND, _UNPACKED, _PACKED, _DATA_PAGE, _ENCODING = 1, 2, 3, 5, 2
_DATA, _PLAIN = 0, 0
#: DataPageHeader and its Statistics.
_DEEPEST = 2
_STOP, _BOOLEANS, _INTEGERS, _BINARY, _STRUCT = 0, (1, 2), (4, 5, 6), 8, 12


def unpacked(file: str, metadata: pq.FileMetaData, group: int, width: int) -> Iterator[np.ndarray]:
    """The values of `signal` in a row group: (rows of a page, ``width``) uint8 for each page.

    Raises:
        ValueError: the pages are not such as shards are written with, or are damaged.
    """
    row_group = metadata.row_group(group)
    column = row_group.column(metadata.schema.names.index("signal"))
    if column.compression not in _COMPRESSIONS:
        raise ValueError(f"pages packed with {column.compression}")
    packing = pa.Codec(_COMPRESSIONS[column.compression])
    with pa.memory_map(file) as mapped:
        mapped.seek(column.data_page_offset)
        chunk = mapped.read_buffer(column.total_compressed_size)
    view, at, rows = memoryview(chunk).cast("B"), 0, 0
    while at < len(view):
        header, at = _struct(view, at)
        page = header.get(_DATA_PAGE)
        packed, size = header.get(_PACKED, 0), header.get(_UNPACKED, 0)
        is_plain = isinstance(page, dict) and page.get(_ENCODING) == _PLAIN
        if not is_plain or header.get(_KIND) != _DATA:
            raise ValueError("a page of another kind")
        if packed <= 0 or not 0 < size <= column.total_uncompressed_size:
            raise ValueError(f"a page of {packed} bytes that would be {size}")
        values = packing.decompress(chunk.slice(at, packed), size)
        of_rows = np.frombuffer(values, np.uint8).reshape(-1, _LENGTH.itemsize + width)
        if (of_rows[:, : _LENGTH.itemsize].copy().view(_LENGTH) != width).any():
            raise ValueError(f"a value that is not {width} bytes long")
        yield of_rows[:, _LENGTH.itemsize :]
        at, rows = at + packed, rows + len(of_rows)
    if rows != row_group.num_rows:
        raise ValueError(f"{rows} of {row_group.num_rows} rows")


def _struct(view: memoryview, at: int, depth: int = 0) -> tuple[dict[int, Any], int]:
    """Integers and structs among the fields, by number, and where the struct ends."""
    if depth > _DEEPEST:
        raise ValueError("a page header with structs in structs in structs")
    fields: dict[int, Any] = {}
    number = 0
    while (head := view[at]) != _STOP:
        step, kind = divmod(head, 16)
        at += 1
        if step:
            number += step
        else:
            number, at = _signed(view, at)
        if kind in _INTEGERS:
            fields[number], at = _signed(view, at)
        elif kind == _BINARY:
            size, at = _varint(view, at)
            at += size
        elif kind == _STRUCT:
            fields[number], at = _struct(view, at, depth + 1)
        elif kind not in _BOOLEANS:
            raise ValueError(f"a page header with a field of type {kind}")
    return fields, at + 1


def _signed(view: memoryview, at: int) -> tuple[int, int]:
    value, at = _varint(view, at)
    return (value >> 1) ^ -(value & 1), at


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    """Seven bits a byte, the lowest first, and where it ends."""
    value, shift = 0, 0
    while True:
        byte = view[at]
        at, value, shift = at + 1, value | (byte & 127) << shift, shift + 7
        if byte < 128:
            return value, at
        if shift > 63:
            raise ValueError("a page header with an endless number")
