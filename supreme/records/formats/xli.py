"""XLI, the compression of Philips Sierra ECGs: LZW with codes of 10 bits over second differences.

After the description in github.com/sixlettervariables/sierra-ecg-tools. A channel is a chunk: its size in
bytes (int32), an unused int16, the first difference (int16), and the codes. Their bytes are the high halves
of all differences, then the low halves.
"""

from __future__ import annotations

import struct

import numpy as np

from supreme.ecg import BadRecord

_HEADER_BYTES, _CODE_BITS, _LAST_CODE, _BIAS = 8, 10, 1022, 64
_MAX_CHANNELS = 32


def decode(content: bytes, max_samples: int) -> list[np.ndarray]:
    """Samples of each channel, int64; none has more than ``max_samples``.

    Raises:
        BadRecord: `truncated`, `too_large` or `unreadable`.
    """
    channels: list[np.ndarray] = []
    place = 0
    while place + _HEADER_BYTES <= len(content):
        size, _, first = struct.unpack_from("<ihh", content, place)
        place += _HEADER_BYTES
        if size <= 0 or place + size > len(content):
            raise BadRecord("truncated", f"channel {len(channels) + 1} of {size:,} bytes is cut off")
        if len(channels) == _MAX_CHANNELS:
            raise BadRecord("unreadable", f"more than {_MAX_CHANNELS} channels")
        channels.append(_samples(_inflate(content[place : place + size], 2 * max_samples), first))
        place += size
    return channels


def _inflate(chunk: bytes, max_bytes: int) -> bytes:
    bits = np.unpackbits(np.frombuffer(chunk, np.uint8))
    whole = bits[: len(bits) // _CODE_BITS * _CODE_BITS].reshape(-1, _CODE_BITS)
    codes = whole.astype(np.int32) @ (1 << np.arange(_CODE_BITS)[::-1])
    table = [bytes([value]) for value in range(256)]
    output: list[bytes] = []
    written, previous = 0, b""
    for code in codes.tolist():
        if code > _LAST_CODE:
            break
        if code < len(table):
            entry = table[code]
        elif code == len(table) and previous:
            entry = previous + previous[:1]
        else:
            raise BadRecord("unreadable", f"LZW code {code} before it is defined")
        output.append(entry)
        written += len(entry)
        if written > max_bytes:
            raise BadRecord("too_large", f"a channel inflates to more than {max_bytes:,} bytes")
        if previous and len(table) <= _LAST_CODE:
            table.append(previous + entry[:1])
        previous = entry
    return b"".join(output)


def _samples(packed: bytes, first: int) -> np.ndarray:
    count = len(packed) // 2
    if count < 2:
        raise BadRecord("truncated", "a channel of less than two samples")
    halves = np.frombuffer(packed, np.uint8, 2 * count).reshape(2, count).astype(np.int64)
    stored = (halves[0] << 8 | halves[1]).astype(np.uint16).view(np.int16).astype(np.int64)
    # What is stored at a place is the negative second difference of the next one, plus 64.
    seconds = -np.concatenate([[first], stored[2:-1] - _BIAS])[: count - 2]
    steps = np.concatenate([[stored[0], stored[1] - stored[0]], seconds])
    np.cumsum(steps[1:], out=steps[1:])
    return np.cumsum(steps)
