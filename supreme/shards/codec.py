"""How signals become the bytes of the `signal` column, and arrays again; lossless in every codec.

``zstd`` and ``none`` hold ``12 x samples`` int16 microvolts, little-endian, lead-major in the order of
`ecg.LEADS`. ``delta`` holds as many bytes, of what little is left after prediction: the four derived limb
leads become their difference from Einthoven's and Goldberger's equations, the other eight leads theirs from
the sample before; 128 is added, so that small numbers of either sign have a high byte of zero; all high bytes
come before all low bytes. Every step is exact modulo 2^16, also where a difference overflows. Compression
itself is Parquet's (`compression`).
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import pyarrow as pa

from supreme.ecg import N_LEADS

Codec = Literal["zstd", "none", "delta"]
CODECS: tuple[Codec, ...] = get_args(Codec)

#: III, aVR, aVL, aVF.
_LIMB = slice(2, 6)
_OTHERS = (slice(0, 2), slice(6, N_LEADS))
_OFFSET = 128


def compression(codec: Codec) -> tuple[str, int | None]:
    """Name and level of the Parquet compression that belongs to a codec."""
    return {"zstd": ("zstd", 3), "none": ("none", None), "delta": ("zstd", 1)}[codec]


def encode(signal_uv: np.ndarray, codec: Codec) -> bytes:
    """``(12, T)`` int16 microvolts as the bytes of one row of the `signal` column."""
    assert signal_uv.shape[0] == N_LEADS
    assert signal_uv.dtype.newbyteorder("<") == "<i2"
    plain = np.ascontiguousarray(signal_uv, "<i2")
    if codec != "delta":
        return plain.tobytes()
    left = plain.copy()
    left[_LIMB] -= _predicted_limb_leads(plain)
    for leads in _OTHERS:
        left[leads, 1:] -= plain[leads, :-1]
    left += _OFFSET
    return np.ascontiguousarray(left.view(np.uint8).reshape(-1, 2).T[::-1]).tobytes()


def decode(column: pa.ChunkedArray | pa.Array, samples: int, codec: Codec) -> np.ndarray:
    """The `signal` column as a read-only int16 array ``(N, 12, samples)`` in microvolts.

    Without ``delta`` it shares the column's memory where that is one chunk, as in a row group.

    Raises:
        ValueError: a row holds another number of samples.
    """
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    parts = [_bytes(chunk, samples) for chunk in chunks if len(chunk)]
    held = parts[0] if len(parts) == 1 else np.concatenate([_no_rows(samples), *parts])
    plain = _decode_delta(held, samples) if codec == "delta" else held.view("<i2")
    signal_uv = plain.reshape(len(held), N_LEADS, samples)
    signal_uv.flags.writeable = False
    return signal_uv


def plain_column(signal_uv: np.ndarray) -> pa.BinaryArray:
    """``(N, 12, T)`` int16 microvolts as a column of plain bytes, without a copy; `none` decodes it."""
    offsets = np.arange(len(signal_uv) + 1, dtype=np.int32) * np.int32(signal_uv[:1].nbytes)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(signal_uv)]
    return pa.Array.from_buffers(pa.binary(), len(signal_uv), buffers)


def _predicted_limb_leads(signal_uv: np.ndarray) -> np.ndarray:
    """III, aVR, aVL and aVF from I and II, ``(..., 12, T)`` to ``(..., 4, T)``, modulo 2^16."""
    one, two = signal_uv[..., 0, :], signal_uv[..., 1, :]
    return np.stack([two - one, -((one + two) >> 1), one - (two >> 1), two - (one >> 1)], axis=-2)


def _decode_delta(held: np.ndarray, samples: int) -> np.ndarray:
    """``(N, bytes)`` to ``(N, 12, samples)`` int16."""
    # All rows in a call: long calls let other threads run, which short ones would not.
    high, low = held[:, : held.shape[1] // 2], held[:, held.shape[1] // 2 :]
    left = np.multiply(high, np.uint16(256), dtype="<u2")
    left += low
    left -= _OFFSET
    signal_uv = left.view("<i2").reshape(-1, N_LEADS, samples)
    for leads in _OTHERS:
        np.add.accumulate(signal_uv[:, leads], axis=-1, out=signal_uv[:, leads])
    signal_uv[:, _LIMB] += _predicted_limb_leads(signal_uv)
    return signal_uv


def _bytes(chunk: pa.BinaryArray, samples: int) -> np.ndarray:
    """``(N, bytes)`` uint8 view of a binary array."""
    width = N_LEADS * samples * 2
    _, offset_buffer, data = chunk.buffers()
    offset_type = np.int64 if pa.types.is_large_binary(chunk.type) else np.int32
    offsets = np.frombuffer(offset_buffer, offset_type)[chunk.offset : chunk.offset + len(chunk) + 1]
    if chunk.null_count or (np.diff(offsets) != width).any():
        raise ValueError(f"a signal is not {N_LEADS} x {samples} int16: these shards have another length")
    flat = np.frombuffer(data, np.uint8, count=len(chunk) * width, offset=int(offsets[0]))
    return flat.reshape(len(chunk), width)


def _no_rows(samples: int) -> np.ndarray:
    return np.empty((0, N_LEADS * samples * 2), np.uint8)
