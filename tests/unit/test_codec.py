"""Codecs of the signal column: exact for every int16, of one width, and worth their time."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from wfdb_writer import ecg_mv

from supreme.ecg import LEADS, to_microvolts
from supreme.shards import codec
from supreme.shards.codec import CODECS, Codec

pytestmark = pytest.mark.unit

EXTREMES = (-32768, -32767, -1, 0, 1, 32766, 32767)
values = st.one_of(st.sampled_from(EXTREMES), st.integers(-32768, 32767))
signals = st.integers(1, 40).flatmap(
    lambda samples: arrays.arrays(np.int16, (3, len(LEADS), samples), elements=values)
)


def _column(signal_uv: np.ndarray, name: Codec) -> pa.Array:
    return pa.array([codec.encode(one, name) for one in signal_uv], pa.binary())


@settings(deadline=None, max_examples=60)
@given(signals)
def test_every_codec_is_exact_for_every_int16(signal_uv: np.ndarray) -> None:
    samples = signal_uv.shape[2]
    for name in CODECS:
        column = _column(signal_uv, name)
        assert {len(row.as_py()) for row in column} == {len(LEADS) * samples * 2}
        np.testing.assert_array_equal(codec.decode(column, samples, name), signal_uv)
    plain = codec.plain_column(signal_uv)
    assert plain.to_pylist() == [one.astype("<i2").tobytes() for one in signal_uv]
    np.testing.assert_array_equal(codec.decode(plain, samples, "none"), signal_uv)


@pytest.mark.parametrize("name", CODECS)
def test_slices_and_chunks_are_decoded_where_they_are(name: Codec) -> None:
    rows = 70  # more than are decoded at once
    signal_uv = np.random.default_rng(0).integers(-32768, 32768, (rows, len(LEADS), 400), dtype=np.int16)
    column = _column(signal_uv, name)
    np.testing.assert_array_equal(codec.decode(column.slice(3, 60), 400, name), signal_uv[3:63])
    chunks = pa.chunked_array([column.slice(0, 10), column.slice(10, 0), column.slice(10)])
    np.testing.assert_array_equal(codec.decode(chunks, 400, name), signal_uv)
    assert codec.decode(chunks.slice(0, 0), 400, name).shape == (0, len(LEADS), 400)
    assert not codec.decode(column, 400, name).flags.writeable
    assert np.shares_memory(codec.decode(column, 400, name), _memory(column)) == (name == "none")


def _memory(column: pa.Array) -> np.ndarray:
    return np.frombuffer(column.buffers()[2], np.uint8)


def test_the_bytes_of_a_codec_are_for_ever() -> None:
    """Shards outlive the code that wrote them."""
    signal_uv = np.array([[100 * lead + 3 * step for step in range(3)] for lead in range(12)], np.int16)
    signal_uv[2:6] = [[103, 102, 101], [-50, -53, -58], [-50, 7, 8], [99, 100, 104]]
    assert codec.encode(signal_uv, "none") == signal_uv.tobytes()
    assert codec.encode(signal_uv, "zstd-3") == codec.encode(signal_uv, "lz4")
    high, low = codec.encode(signal_uv, "delta")[:36], codec.encode(signal_uv, "delta")[36:]
    left = (np.frombuffer(high, np.uint8) * np.uint16(256) + np.frombuffer(low, np.uint8)).view(np.int16)
    one, two = signal_uv[0].astype(int), signal_uv[1].astype(int)
    expected = np.diff(signal_uv.astype(int), axis=1, prepend=0)
    expected[2] = signal_uv[2] - (two - one)
    expected[3] = signal_uv[3] + np.floor((one + two) / 2)
    expected[4] = signal_uv[4] - (one - np.floor(two / 2))
    expected[5] = signal_uv[5] - (two - np.floor(one / 2))
    np.testing.assert_array_equal(left.reshape(12, 3), expected + 128)


def test_lz4_holds_the_limb_leads_as_what_prediction_leaves() -> None:
    signal_uv = np.arange(36, dtype=np.int16).reshape(12, 3)
    lz4 = np.frombuffer(codec.encode(signal_uv, "lz4"), np.uint8).astype(int)
    left = lz4[:36] * 256 + lz4[36:] - 128
    predicted = signal_uv.astype(int)
    one, two = predicted[0], predicted[1]
    predicted[2:6] -= [two - one, -((one + two) // 2), one - two // 2, two - one // 2]
    np.testing.assert_array_equal(left.reshape(12, 3), predicted)


def test_what_is_slower_to_read_is_smaller_on_an_ecg() -> None:
    signal_uv = np.stack([to_microvolts(ecg_mv(seed=seed)) for seed in range(4)])
    size = {}
    for name in CODECS:
        library, level = codec.compression(name)
        content = b"".join(codec.encode(one, name) for one in signal_uv)
        # Parquet's LZ4 is the raw format.
        packer = None if name == "none" else pa.Codec({"lz4": "lz4_raw"}.get(library, library), level)
        packed = content if packer is None else packer.compress(content)
        size[name] = len(packed) / signal_uv.nbytes
    plain = pa.Codec("zstd", 3).compress(signal_uv.tobytes())
    assert size["none"] == 1
    assert size["delta"] < 0.95 * size["zstd-3"] < 0.9 * size["lz4"] < 0.45
    assert size["zstd-3"] < 0.7 * len(plain) / signal_uv.nbytes, "bytes apart"


@pytest.mark.parametrize("name", CODECS)
def test_another_length_is_an_error_not_a_wrong_picture(name: Codec) -> None:
    column = _column(np.zeros((2, 12, 50), np.int16), name)
    with pytest.raises(ValueError, match="another length"):
        codec.decode(column, 25, name)
    with pytest.raises(ValueError, match="another length"):
        codec.decode(pa.array([column[0].as_py(), None]), 50, name)


def test_the_derived_limb_leads_are_the_ones_that_are_predicted() -> None:
    """Leads that obey Einthoven and Goldberger leave nothing but their rounding."""
    signal_uv = to_microvolts(ecg_mv())
    assert LEADS[2:6] == ("III", "aVR", "aVL", "aVF")
    high_then_low = np.frombuffer(codec.encode(signal_uv, "delta"), np.uint8).reshape(2, 12, -1)
    assert high_then_low[0, 2:6].max() == 0
    assert np.abs(high_then_low[1, 2:6].astype(int) - 128).max() <= 2
