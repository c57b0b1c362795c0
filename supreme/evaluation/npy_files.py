"""Plain numpy arrays in `.npy` files, read in pieces, local or on S3; Python objects are refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, NamedTuple, cast

import numpy as np
from numpy.lib import format as npy_format

from supreme import storage
from supreme.config import ConfigError
from supreme.evaluation.record_tables import RECORD_ID, raw_batches, read_header, record_ids

_PIECE_BYTES = 1 << 24


class _Layout(NamedTuple):
    shape: tuple[int, ...]
    dtype: np.dtype
    offset: int


def shape(uri: str) -> tuple[int, int]:
    """Rows and columns.

    Raises:
        ConfigError: as :func:`rows`.
    """
    n_rows, width = _layout(uri).shape
    return n_rows, width


def rows(uri: str) -> Iterator[np.ndarray]:
    """A float array ``(N, D)`` some rows at a time, as float64.

    Raises:
        ConfigError: no such file, no such array, it holds Python objects, or is cut off.
    """
    layout = _layout(uri)
    n_rows, width = layout.shape
    row_bytes = width * layout.dtype.itemsize
    step = max(1, _PIECE_BYTES // row_bytes)
    with storage.open_file(uri) as stream:
        stream.seek(layout.offset)
        for first in range(0, n_rows, step):
            count = min(step, n_rows - first)
            content = stream.read(count * row_bytes)
            if len(content) < count * row_bytes:
                raise ConfigError(
                    f"{uri} is cut off in row {first + len(content) // row_bytes}: write it again"
                )
            yield np.frombuffer(content, layout.dtype).reshape(count, width).astype(np.float64)


def read_ids(uri: str) -> tuple[str, ...]:
    """The column ``record_id`` of a CSV, of which each is there once."""
    header, seen = read_header(uri, ids_alone=True), set[str]()
    ids: list[str] = []
    for batch in raw_batches(uri, header, []):
        ids += record_ids(uri, batch.column(RECORD_ID), seen, len(ids))
    return tuple(ids)


def _layout(uri: str) -> _Layout:
    remedy = "write it with np.save(file, np.ascontiguousarray(values, np.float32))"
    try:
        with storage.open_file(uri) as stream:
            file = cast(IO[bytes], stream)
            version = npy_format.read_magic(file)
            read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
            shape, fortran, dtype = read(file)
            offset = stream.tell()
    except storage.Unavailable:
        raise
    except storage.StorageError as error:
        raise ConfigError(str(error)) from None
    except ValueError as error:
        raise ConfigError(f"{uri} is no .npy file ({str(error).splitlines()[0]}): {remedy}") from None
    if dtype.hasobject or dtype.kind != "f":
        raise ConfigError(f"{uri} holds {dtype}, not floats: {remedy}")
    if len(shape) != 2 or fortran or 0 in shape:
        order = " in Fortran's order" if fortran else ""
        raise ConfigError(f"{uri} has the shape {shape}{order}, not (records, width): {remedy}")
    return _Layout(shape, dtype, offset)
