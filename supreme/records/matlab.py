"""Structs in MATLAB 5 files, read without trust.

scipy's `loadmat` follows whatever nesting and sizes a file announces: 1 MB of it can end the process, and 216
bytes can take 7 GB. Here nothing is nested deeper than the fields of a struct, and no more memory is taken
than the file holds or inflates to. Both are as fast as zlib, which takes nearly all of the time.

Source: MAT-File Level 5 File Format, MathWorks.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from math import prod

import numpy as np

from supreme.ecg import BadRecord

_HEADER_BYTES = 128
_LITTLE_ENDIAN_5 = b"\x00\x01IM"
_MATRIX, _COMPRESSED = 14, 15
_STRUCT, _CHARACTERS, _NUMBERS = 2, 4, range(6, 16)
_COMPLEX = 0x0800
_MAX_DIMENSIONS, _MAX_NAME, _MAX_FIELDS, _MAX_TEXT = 8, 64, 64, 1000
_DTYPES = {
    **{1: "<i1", 2: "<u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4"},
    **{7: "<f4", 9: "<f8", 12: "<i8", 13: "<u8"},
}
_CODECS = {1: "utf-8", 2: "utf-8", 16: "utf-8", 4: "utf-16-le", 17: "utf-16-le"}

_Elements = Iterator[tuple[int, memoryview]]


def read_struct(content: bytes, name: str, max_bytes: int) -> dict[str, np.ndarray | str]:
    """Numbers and texts of the struct variable ``name``; other fields are left out.

    Arrays are read-only, of the type in which the file stores them. ``max_bytes``: of all that is inflated.

    Raises:
        BadRecord: `unreadable`.
    """
    if content[_HEADER_BYTES - 4 : _HEADER_BYTES] != _LITTLE_ENDIAN_5:
        raise BadRecord("unreadable", "not a little-endian MATLAB 5 file")
    for kind, body in _elements(memoryview(content)[_HEADER_BYTES:]):
        if kind == _COMPRESSED:
            inflated = _inflate(body, max_bytes)
            max_bytes -= len(inflated)
            kind, body = next(_elements(memoryview(inflated)), (0, body))
        if kind == _MATRIX:
            matrix_class, shape, variable, parts = _matrix(body)
            if variable == name:
                if matrix_class != _STRUCT or prod(shape) != 1:
                    raise BadRecord("unreadable", f"{name!r} is not a struct")
                return _fields(parts)
    raise BadRecord("unreadable", f"no variable {name!r}")


def _elements(data: memoryview) -> _Elements:
    """Type and content of the elements that stand one after the other."""
    while len(data) >= 8:
        kind, size = struct.unpack_from("<II", data)
        start, padded = 8, 8 + size + (-size % 8 if kind != _COMPRESSED else 0)
        if kind >> 16:
            kind, size, start, padded = kind & 0xFFFF, kind >> 16, 4, 8
        if start + size > min(padded, len(data)):
            raise BadRecord("unreadable", f"an element of {size:,} bytes, cut off")
        yield kind, data[start : start + size]
        data = data[padded:]


def _inflate(data: memoryview, max_bytes: int) -> bytes:
    inflater = zlib.decompressobj()
    try:
        inflated = inflater.decompress(data, max(max_bytes, 1))
    except zlib.error as error:
        raise BadRecord("unreadable", f"compressed variable: {error}") from error
    if not inflater.eof:
        raise BadRecord("unreadable", f"a compressed variable is cut off or larger than {max_bytes:,} bytes")
    return inflated


def _matrix(body: memoryview) -> tuple[int, tuple[int, ...], str, _Elements]:
    """Class, shape and name of an array, and the elements that hold its content; class 0: complex numbers."""
    parts = _elements(body)
    (_, flags), (_, shape), (_, name) = (next(parts, (0, memoryview(b""))) for _ in range(3))
    if len(flags) != 8 or len(shape) % 4 or len(shape) > 4 * _MAX_DIMENSIONS or len(name) > _MAX_NAME:
        raise BadRecord("unreadable", "an array without class, shape or name")
    (flag,) = struct.unpack_from("<I", flags)
    dimensions = struct.unpack(f"<{len(shape) // 4}i", shape)
    return 0 if flag & _COMPLEX else flag & 0xFF, dimensions, bytes(name).decode("latin-1"), parts


def _fields(parts: _Elements) -> dict[str, np.ndarray | str]:
    (_, length), (_, names) = (next(parts, (0, memoryview(b""))) for _ in range(2))
    width = int.from_bytes(length, "little")
    if not 0 < width <= _MAX_NAME or len(names) > width * _MAX_FIELDS:
        raise BadRecord("unreadable", "a struct without names of its fields, or with too many")
    fields: dict[str, np.ndarray | str] = {}
    for start in range(0, len(names), width):
        name = bytes(names[start : start + width]).partition(b"\0")[0].decode("latin-1")
        kind, body = next(parts, (0, memoryview(b"")))
        value = _value(body) if kind == _MATRIX and len(body) else None
        if value is not None:
            fields[name] = value
    return fields


def _value(body: memoryview) -> np.ndarray | str | None:
    matrix_class, shape, _, parts = _matrix(body)
    kind, data = next(parts, (0, memoryview(b"")))
    if matrix_class == _CHARACTERS and kind in _CODECS:
        return bytes(data[:_MAX_TEXT]).decode(_CODECS[kind], "replace")
    if matrix_class not in _NUMBERS or kind not in _DTYPES:
        return None
    dtype = np.dtype(_DTYPES[kind])
    if min(shape, default=-1) < 0 or prod(shape) * dtype.itemsize != len(data):
        raise BadRecord("unreadable", f"an array of shape {shape} in {len(data):,} bytes")
    return np.frombuffer(data, dtype).reshape(shape, order="F")
