"""Fingerprints of signals, by which the same recording is found again at another rate, scale or rounding.

128 signs of random projections (SimHash: Charikar, STOC 2002) of how the block means of each lead change
from block to block: amplitude and baseline have no part in it, and neither has the sampling rate.
"""

from __future__ import annotations

import hashlib
from functools import cache

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

BITS = 128
#: Of the first seconds, where CPSC2018, PTB-XL and MIMIC-IV-ECG have a signal in every record.
SPAN_S, BLOCK_S = 5.0, 0.04
#: The other four limb leads follow from I and II.
_INDEPENDENT = (0, 1, 6, 7, 8, 9, 10, 11)
_BLOCKS = int(SPAN_S / BLOCK_S)
CHANGES = len(_INDEPENDENT) * (_BLOCKS - 1)
#: Fingerprints that share a band are compared; each bit of the same recording differs with a chance of about
#: 1 % (another rate) or 0.1 % (another rounding), of two recordings with 50 %.
_BAND_BITS = 32
MOST_DIFFERENT_BITS = 12
_STEPS_PER_UV = 16


def fingerprints(signals_uv: np.ndarray, rate_hz: float) -> np.ndarray:
    """Signals ``(N, 12, T)`` in int16 microvolts to ``(N, 16)`` uint8; less than 5 s are padded."""
    return signs(changes(signals_uv, rate_hz))


def changes(signals_uv: np.ndarray, rate_hz: float) -> np.ndarray:
    """How each lead changes from block to block: ``(..., 12, T)`` to ``(..., CHANGES)`` whole numbers.

    Sums of them are exact, so that their signs are the same on every machine.
    """
    left, part = _edges(rate_hz)
    span_uv = signals_uv[..., _INDEPENDENT, : left[-1] + 1]
    if absent := left[-1] + 1 - span_uv.shape[-1]:
        span_uv = np.pad(span_uv, [(0, 0)] * (span_uv.ndim - 1) + [(0, absent)])
    sums_uv = np.add.reduceat(span_uv, left, axis=-1, dtype=np.int32)[..., :-1]
    integrals = sums_uv + np.diff(span_uv[..., left] * part)
    steps = np.rint(_STEPS_PER_UV / (BLOCK_S * rate_hz) * np.diff(integrals))
    return steps.reshape(*signals_uv.shape[:-2], CHANGES)


def signs(changes: np.ndarray) -> np.ndarray:
    """:func:`changes` of many signals, ``(N, CHANGES)``, to their fingerprints ``(N, 16)`` uint8.

    One at a time costs several times as much: the projection is larger than what else a signal needs.
    """
    return np.packbits(changes @ _projection() > 0, axis=1)


def in_hexadecimal(prints: np.ndarray) -> list[str]:
    """Fingerprints ``(N, 16)`` as 32 digits each."""
    return [one.tobytes().hex() for one in prints]


def same_recording(prints: np.ndarray) -> np.ndarray:
    """Group numbers ``(N,)`` of fingerprints ``(N, 16)``: equal where two show the same recording."""
    prints = np.ascontiguousarray(prints)
    bands = prints.view(f"u{_BAND_BITS // 8}")
    pairs = [np.empty((2, 0), np.int64)]
    for band in bands.T:
        order = np.argsort(band, kind="stable")
        equal = np.flatnonzero(band[order][1:] == band[order][:-1])
        pairs.append(np.stack([order[equal], order[equal + 1]]))
    one, other = np.concatenate(pairs, axis=1)
    differing = np.bitwise_count(prints[one] ^ prints[other]).sum(axis=1)
    one, other = one[differing <= MOST_DIFFERENT_BITS], other[differing <= MOST_DIFFERENT_BITS]
    graph = coo_array((np.ones(len(one), bool), (one, other)), shape=(len(prints), len(prints)))
    return connected_components(graph, directed=False)[1]


@cache
def _edges(rate_hz: float) -> tuple[np.ndarray, np.ndarray]:
    """The samples in which blocks begin, and how much of them lies before.

    A sample stands for the time about it: its integral is taken between edges that lie in between.
    """
    edges = np.arange(_BLOCKS + 1) * BLOCK_S * rate_hz + 0.5
    return edges.astype(int), edges % 1


@cache
def _projection() -> np.ndarray:
    """``(CHANGES, 128)`` of +1 and -1, the same on every machine."""
    drawn = np.frombuffer(hashlib.shake_256(b"signal fingerprint").digest(CHANGES * BITS // 8), np.uint8)
    return np.unpackbits(drawn).reshape(CHANGES, BITS) * 2.0 - 1
