"""MATLAB 5 structs: what `loadmat` reads, and nothing that a hostile file asks for."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.io import loadmat, savemat

from supreme.ecg import BadRecord
from supreme.records.matlab import read_struct

pytestmark = pytest.mark.unit

MAX_BYTES = 100_000
HEADER = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
ARRAYS = hnp.arrays(
    st.sampled_from(["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]),
    st.tuples(st.integers(0, 12), st.integers(0, 9)),
)


def _mat(variables: dict[str, object], *, compressed: bool = True) -> bytes:
    stream = io.BytesIO()
    savemat(stream, variables, do_compression=compressed)
    return stream.getvalue()


def _element(kind: int, content: bytes, size: int | None = None) -> bytes:
    return (
        struct.pack("<II", kind, len(content) if size is None else size) + content + bytes(-len(content) % 8)
    )


def _deflated(content: bytes) -> bytes:
    return struct.pack("<II", 15, len(content)) + content


def _head(matrix_class: int, *shape: int, name: bytes = b"ECG") -> bytes:
    sizes = struct.pack(f"<{len(shape)}i", *shape)
    return _element(6, struct.pack("<II", matrix_class, 0)) + _element(5, sizes) + _element(1, name)


def _refused(content: bytes) -> str:
    with pytest.raises(BadRecord) as caught:
        read_struct(content, "ECG", MAX_BYTES)
    assert caught.value.reason == "unreadable"
    return caught.value.detail


@settings(deadline=None)
@given(
    data=ARRAYS,
    age=st.integers(0, 120) | st.floats() | st.just([]),
    sex=st.sampled_from(["Male", "Female", "männlich", "♀", "M" * 200]),
    compressed=st.booleans(),
    order=st.permutations(["sex", "age", "data"]),
)
def test_structs_equal_what_loadmat_reads(data, age, sex, compressed, order):
    fields = {"data": data, "age": age, "sex": sex}
    ecg = {name: fields[name] for name in order}
    content = _mat({"before": np.ones(3), "ECG": ecg, "after": "x"}, compressed=compressed)
    found = read_struct(content, "ECG", MAX_BYTES)
    wanted = loadmat(io.BytesIO(content))["ECG"][0, 0]
    for name in ("data", "age"):
        assert found[name].dtype == wanted[name].dtype
        np.testing.assert_array_equal(found[name], wanted[name])
    assert found["sex"] == wanted["sex"][0]


@pytest.mark.real
def test_real_structs_equal_what_loadmat_reads(realdata):
    files = sorted((realdata / "cpsc2018").rglob("*.mat"))
    assert files
    for file in files:
        found, wanted = read_struct(file.read_bytes(), "ECG", 10_000_000), loadmat(file)["ECG"][0, 0]
        assert found["data"].tobytes() == wanted["data"].tobytes()
        assert (found["sex"], *found["age"]) == (wanted["sex"][0], *wanted["age"])


def test_fields_that_are_neither_numbers_nor_text_are_left_out():
    ecg = {
        "data": np.eye(2),
        "cell": np.array([1, "x"], object),
        "inner": {"a": 1},
        "complex": np.array([1j]),
    }
    assert read_struct(_mat({"ECG": ecg}), "ECG", MAX_BYTES).keys() == {"data"}


def test_other_files_are_refused():
    assert "not a little-endian MATLAB 5 file" in _refused(b"")
    assert "not a little-endian MATLAB 5 file" in _refused(b"garbage" * 99)
    assert "not a little-endian MATLAB 5 file" in _refused(HEADER[:-2] + b"MI" + bytes(64))
    assert "no variable 'ECG'" in _refused(HEADER)
    assert "no variable 'ECG'" in _refused(_mat({"x": 1}))
    assert "is not a struct" in _refused(_mat({"ECG": 3}))
    assert "is not a struct" in _refused(_mat({"ECG": np.zeros(2, [("a", "f8")])}))


def test_what_is_cut_off_is_refused():
    for compressed in (True, False):
        content = _mat({"ECG": {"data": np.arange(50.0)}}, compressed=compressed)
        for size in range(130, len(content) - 8, 7):
            _refused(content[:size])


def _nested(depth: int) -> bytes:
    body = b""
    for _ in range(depth):
        body = _element(14, _head(1, 1, 1, name=b"") + body)
    return body


def _struct_of(*fields: bytes, names: bytes = b"abc\0") -> bytes:
    return _element(14, _head(2, 1, 1) + _element(5, b"\4\0\0\0") + _element(1, names) + b"".join(fields))


def _numbers(*shape: int) -> bytes:
    return _element(14, _head(6, *shape, name=b"") + _element(9, bytes(80)))


_HOSTILE = {
    "nested cells": (_element(14, _head(1, 1, 1) + _nested(300)), "not a struct"),
    "900 million structs": (
        _element(14, _head(2, 30_000, 30_000) + _element(5, b"\4\0\0\0")),
        "not a struct",
    ),
    "an array larger than the file": (_struct_of(_numbers(2**30, 2**30)), "an array of shape"),
    "an array of negative shape": (_struct_of(_numbers(-1, -10)), "an array of shape"),
    "an element of 4 GB": (_element(14, _head(2, 1, 1), size=2**32 - 1), "cut off"),
    "20,000 dimensions": (_element(14, _head(2, *[1] * 20_000)), "without class, shape"),
    "90,000 fields": (_struct_of(names=bytes(90_000)), "too many"),
    "a bomb": (_deflated(zlib.compress(bytes(50_000_000))), "larger than"),
    "small bombs": (_deflated(zlib.compress(_numbers(2, 5) + bytes(60_000))) * 2, "larger than"),
    "half a deflated variable": (_deflated(zlib.compress(bytes(9000))[:-9]), "cut off"),
    "a deflated variable without its checksum": (_deflated(zlib.compress(_struct_of())[:-4]), "cut off"),
    "no deflated variable": (_deflated(b"nothing"), "compressed variable"),
    "an empty deflated variable": (_deflated(zlib.compress(b"")), "no variable"),
}


@pytest.mark.parametrize("name", _HOSTILE)
def test_hostile_files_take_neither_memory_nor_the_process(name):
    content, detail = _HOSTILE[name]
    tracemalloc.start()
    assert detail in _refused(HEADER + content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * MAX_BYTES


def test_what_is_nested_in_a_field_is_left_out():
    assert read_struct(HEADER + _struct_of(_nested(300)), "ECG", MAX_BYTES) == {}


def test_long_texts_are_cut():
    assert read_struct(_mat({"ECG": {"sex": "M" * 5000}}), "ECG", MAX_BYTES) == {"sex": "M" * 1000}


_VALID = [
    _mat({"ECG": {"sex": "Male", "age": 52, "data": np.arange(24.0).reshape(12, 2)}}, compressed=compressed)
    for compressed in (True, False)
]


@settings(max_examples=300, deadline=None)
@given(
    content=st.sampled_from(_VALID),
    changes=st.lists(st.tuples(st.integers(0, 700), st.integers(0, 4), st.binary(max_size=4)), max_size=4),
    kept=st.integers(100, 1000),
)
def test_no_file_does_anything_but_to_be_read_or_refused(content, changes, kept):
    for start, length, piece in changes:
        at = 128 + start % (len(content) - 128)
        content = content[:at] + piece + content[at + length :]
    try:
        fields = read_struct(content[:kept], "ECG", MAX_BYTES)
    except BadRecord:
        return
    assert all(isinstance(value, str | np.ndarray) for value in fields.values())
