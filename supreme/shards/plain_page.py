"""Signals of uncompressed shards, copied once: by the operating system from its page cache to their places.

Parquet writes values of a binary column one behind the other, each after its length in four bytes. Where a
row group has them in one uncompressed page, one system call reads them all to their places. Checksums are
not verified here: :meth:`supreme.shards.file.ShardFile.verify_signals` does so first.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import numpy as np
import pyarrow.parquet as pq

_LENGTH = np.dtype("<i4")
#: A call takes 1,024 buffers at most: two a row.
_ROWS_PER_CALL = 256


def copy(
    file: str, metadata: pq.FileMetaData, group: int, pairs: Iterable[tuple[int, int]], out: np.ndarray
) -> bool:
    """Copy signals of a row group of a local file into ``out`` (any, 12, T): pairs of row and place.

    False where its signals do not lie in one page, each as long as one of ``out``: nothing is of use then.
    """
    width, row_group = out[0].nbytes, metadata.row_group(group)
    page = row_group.column(metadata.schema.names.index("signal"))
    end = page.data_page_offset + page.total_compressed_size
    start = end - row_group.num_rows * (_LENGTH.itemsize + width)
    if page.compression != "UNCOMPRESSED" or start <= page.data_page_offset:
        return False
    first_place: dict[int, int] = {}
    again = [(place, first_place[row]) for row, place in pairs if first_place.setdefault(row, place) != place]
    if not _read(file, start, row_group.num_rows, first_place, out):
        return False
    for place, same in again:
        out[place] = out[same]
    return True


def _read(file: str, start: int, rows: int, places: dict[int, int], out: np.ndarray) -> bool:
    unused, width = np.empty_like(out[0]), out[0].nbytes
    lengths = np.zeros((rows, 1), _LENGTH)
    n_read = 0
    descriptor = os.open(file, os.O_RDONLY)
    try:
        for first in range(0, rows, _ROWS_PER_CALL):
            buffers: list[memoryview] = []
            for row in range(first, min(rows, first + _ROWS_PER_CALL)):
                signal_uv = out[places[row]] if row in places else unused
                buffers += [lengths[row].data, signal_uv.data]
            n_read += os.preadv(descriptor, buffers, start + first * (_LENGTH.itemsize + width))
    finally:
        os.close(descriptor)
    return n_read == rows * (_LENGTH.itemsize + width) and bool((lengths == width).all())
