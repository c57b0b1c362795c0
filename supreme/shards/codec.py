"""How signals become the bytes of the `signal` column, and arrays again; lossless in every codec.

``none`` holds ``12 x samples`` int16 microvolts, little-endian, lead-major in the order of `ecg.LEADS`. The
others hold as many bytes, of the small residual after prediction: the four derived limb leads become their
difference from Einthoven's and Goldberger's equations and, in ``delta`` only, the other eight leads theirs
from the sample before; 128 is added, so that small numbers of either sign have a high byte of zero; all high
bytes come before all low bytes. Every step is exact modulo 2^16, also where a difference overflows.
Compression itself is Parquet's (`compression`): any Parquet reader gives these bytes.

Bytes apart are smaller and faster than int16 as it is: zstd takes 62 us instead of 98 for 120 kB of real ECG,
at 0.29 of the size instead of 0.44. LZ4 only copies what it cannot compress, as most low bytes are, and high
bytes it compresses well: half the time again. What takes time in ``delta`` is adding up the differences.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

import numpy as np
import pyarrow as pa

from supreme.ecg import N_LEADS

Codec = Literal["lz4", "zstd-3", "none", "delta"]
CODECS: tuple[Codec, ...] = get_args(Codec)

#: All but III, aVR, aVL, aVF.
_OTHERS = (slice(0, 2), slice(6, N_LEADS))
_OFFSET = 128


def compression(codec: Codec) -> tuple[str, int | None]:
    """Name and level of the Parquet compression that belongs to a codec."""
    return {"lz4": ("lz4", None), "zstd-3": ("zstd", 3), "none": ("none", None), "delta": ("zstd", 1)}[codec]


def page_bytes(codec: Codec) -> int:
    """A page of signals ends with the row that reaches so many bytes.

    Small pages are unpacked where the processor's cache holds them; one page needs no unpacking
    (:mod:`supreme.shards.plain_page`).
    """
    return 2**30 if codec == "none" else 900_000


def encode(signal_uv: np.ndarray, codec: Codec) -> bytes:
    """``(12, T)`` int16 microvolts as the bytes of one row of the `signal` column."""
    encoded = np.empty(signal_uv.nbytes, np.uint8)
    pack(signal_uv, codec, encoded)
    return encoded.tobytes()


def pack(signal_uv: np.ndarray, codec: Codec, encoded: np.ndarray) -> None:
    """As :func:`encode`, into ``encoded``: contiguous uint8, as many bytes as the signal has."""
    assert signal_uv.shape[0] == N_LEADS
    assert signal_uv.dtype.newbyteorder("<") == "<i2"
    if codec == "none":
        encoded.view("<i2").reshape(signal_uv.shape)[:] = signal_uv
        return
    residual = signal_uv + np.int16(_OFFSET)
    for lead, predicted in _limb_leads(signal_uv):
        residual[lead] -= predicted
    if codec == "delta":
        for leads in _OTHERS:
            residual[leads, 1:] -= signal_uv[leads, :-1]
    high, low = encoded.reshape(2, *signal_uv.shape)
    high[:] = residual >> 8
    low[:] = residual  # their low bytes


def decode(column: pa.ChunkedArray | pa.Array, samples: int, codec: Codec) -> np.ndarray:
    """The `signal` column as a read-only int16 array ``(N, 12, samples)`` in microvolts.

    In ``none`` it shares the column's memory, if that is one chunk, as in a row group.

    Raises:
        ValueError: a row holds another number of samples.
    """
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    parts = [_bytes(chunk, samples) for chunk in chunks if len(chunk)]
    encoded = parts[0] if len(parts) == 1 else np.concatenate([_no_rows(samples), *parts])
    signal_uv = unpack(encoded, samples, codec)
    signal_uv.flags.writeable = False
    return signal_uv


def unpack(encoded: np.ndarray, samples: int, codec: Codec) -> np.ndarray:
    """``(N, bytes)`` uint8 as the `signal` column holds them to int16 ``(N, 12, samples)``.

    In ``none`` it shares the memory, which need not be contiguous from row to row.
    """
    if codec == "none":
        return encoded.view("<i2").reshape(len(encoded), N_LEADS, samples)
    signal_uv = _joined(encoded).reshape(len(encoded), N_LEADS, samples)
    _add_predicted(signal_uv, codec)
    return signal_uv


def plain_column(signal_uv: np.ndarray) -> pa.BinaryArray:
    """``(N, 12, T)`` int16 microvolts as a column of plain bytes, without a copy; `none` decodes it."""
    offsets = np.arange(len(signal_uv) + 1, dtype=np.int32) * np.int32(signal_uv[:1].nbytes)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(signal_uv)]
    return pa.Array.from_buffers(pa.binary(), len(signal_uv), buffers)


def _limb_leads(signal_uv: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """III, aVR, aVL and aVF from I and II, by number: ``(12, T)`` to ``(T,)`` each, modulo 2^16."""
    one, two = signal_uv[0], signal_uv[1]
    yield 2, two - one
    yield 3, -((one + two) >> 1)
    yield 4, one - (two >> 1)
    yield 5, two - (one >> 1)


def _joined(encoded: np.ndarray) -> np.ndarray:
    """``(N, bytes)``, high bytes before low bytes, to ``(N, bytes / 2)`` int16."""
    high, low = encoded[:, : encoded.shape[1] // 2], encoded[:, encoded.shape[1] // 2 :]
    residual = high.astype("<u2")
    residual *= 256
    residual += low
    residual -= _OFFSET
    return residual.view("<i2")


def _add_predicted(signal_uv: np.ndarray, codec: Codec) -> None:
    """Residuals ``(N, 12, T)`` become signals, in place."""
    if codec == "delta":
        for leads in _OTHERS:
            np.add.accumulate(signal_uv[:, leads], axis=-1, out=signal_uv[:, leads])
    by_lead = signal_uv.swapaxes(0, 1)
    for lead, predicted in _limb_leads(by_lead):
        by_lead[lead] += predicted


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
