"""SCP-ECG's default Huffman table (EN 1064, Annex C): bits to differences.

Codes for -8 to 8 have 1 to 10 bits; two more announce 8 or 16 bits of a number.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from supreme.ecg import BadRecord

#: The longest code, which is followed by up to 16 bits.
_PREFIX_BITS = 10
_IN_8_BITS, _IN_16_BITS = 0b1111111110, 0b1111111111


def decode(content: bytes, samples: int) -> np.ndarray:
    """The first ``samples`` numbers of a lead, int32.

    Raises:
        BadRecord: `truncated`.
    """
    bits = np.unpackbits(np.frombuffer(content, np.uint8)).astype(np.int32)
    if len(bits) < samples:
        raise BadRecord("truncated", f"{len(content):,} bytes cannot hold {samples:,} samples")
    values, lengths = _codes_everywhere(bits)
    place, steps, places = 0, lengths.tolist(), []
    total = len(bits)
    for _ in range(samples):
        places.append(place)
        if place >= total:
            raise BadRecord("truncated", f"compressed data end before {samples:,} samples")
        place += steps[place]
    if place > total:
        raise BadRecord("truncated", f"compressed data end before {samples:,} samples")
    return values[places]


def _codes_everywhere(bits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What a code that begins at each bit stands for, and how many bits it has."""
    padded = np.concatenate([bits, np.zeros(_PREFIX_BITS + 16, np.int32)])

    def number(start: int, width: int) -> np.ndarray:
        total = np.zeros(len(bits), np.int32)
        for offset in range(start, start + width):
            total = (total << 1) | padded[offset : offset + len(bits)]
        return total

    prefix = number(0, _PREFIX_BITS)
    table_values, table_lengths = _table()
    values, lengths = table_values[prefix], table_lengths[prefix]
    for code, width in ((_IN_8_BITS, 8), (_IN_16_BITS, 16)):
        where = prefix == code
        unsigned = number(_PREFIX_BITS, width)[where]
        values[where] = unsigned - ((unsigned >> (width - 1)) << width)
        lengths[where] = _PREFIX_BITS + width
    return values, lengths


@cache
def _table() -> tuple[np.ndarray, np.ndarray]:
    """Value and length of the code that the next ten bits begin with."""
    values, lengths = np.zeros(1 << _PREFIX_BITS, np.int32), np.zeros(1 << _PREFIX_BITS, np.int32)
    codes = {"0": 0}
    for size in range(1, 9):
        codes["1" * size + "00"] = size
        codes["1" * size + "01"] = -size
    for code, value in codes.items():
        free = _PREFIX_BITS - len(code)
        start = int(code, 2) << free
        values[start : start + (1 << free)] = value
        lengths[start : start + (1 << free)] = len(code)
    return values, lengths
