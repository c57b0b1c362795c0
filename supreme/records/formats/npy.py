"""NumPy's `.npy` files, one record at a time; no object arrays."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.lib import format as npy_format

from supreme import storage
from supreme.ecg import BadRecord

_MAX_HEADER = 10_000


@dataclass(frozen=True)
class NpyArray:
    """The array of a file."""

    uri: str
    shape: tuple[int, ...]
    dtype: np.dtype
    start: int
    """Of the samples, in bytes."""
    ids: tuple[str, ...] = ()

    @classmethod
    def open(cls, uri: str) -> NpyArray:
        """Read the header of a file.

        Raises:
            BadRecord: `unreadable`.
        """
        with storage.open_file(uri) as stream:
            version = npy_format.read_magic(stream)
            read_header = {
                (1, 0): npy_format.read_array_header_1_0,
                (2, 0): npy_format.read_array_header_2_0,
            }.get(version)
            if read_header is None:
                raise BadRecord("unreadable", f".npy version {version}")
            shape, is_fortran, dtype = read_header(stream, max_header_size=_MAX_HEADER)
            start = stream.tell()
        if is_fortran or dtype.hasobject or dtype.kind not in "iuf":
            raise BadRecord("unreadable", f"an array of {dtype}; numbers in C order are read")
        return cls(uri, tuple(shape), dtype, start)

    def row(self, row: int | None) -> np.ndarray:
        """Record ``row`` of three dimensions, or the whole array.

        Raises:
            BadRecord: `truncated`.
        """
        shape = self.shape if row is None else self.shape[1:]
        size = math.prod(shape) * self.dtype.itemsize
        with storage.open_file(self.uri) as stream:
            stream.seek(self.start + (row or 0) * size)
            content = stream.read(size)
        if len(content) < size:
            raise BadRecord("truncated", f"{len(content):,} of {size:,} bytes")
        return np.frombuffer(content, self.dtype).reshape(shape)
