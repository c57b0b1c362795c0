"""Fingerprints that recognise the same recording at another rate, scale or rounding.

128 signs of random projections (SimHash: Charikar, STOC 2002) of the differences between the means of
neighbouring blocks of each lead, which depend neither on amplitude and baseline nor on the sampling rate.
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
DIFFERENCES = len(_INDEPENDENT) * (_BLOCKS - 1)
#: Fingerprints that share a band are compared; each bit of the same recording differs with a chance of about
#: 1 % (another rate) or 0.1 % (another rounding), of two recordings with 50 %.
_BAND_BITS = 32
MOST_DIFFERENT_BITS = 12
_STEPS_PER_UV = 16


def fingerprints(signals_uv: np.ndarray, rate_hz: float) -> np.ndarray:
    """Signals ``(N, 12, T)`` in int16 microvolts to ``(N, 16)`` uint8; less than 5 s are padded."""
    return simhash_bits(block_differences(signals_uv, rate_hz))


def block_differences(signals_uv: np.ndarray, rate_hz: float) -> np.ndarray:
    """Differences between the means of neighbouring blocks of each lead, as whole numbers.

    Sums of whole numbers are exact, so that their signs are the same on every machine.

    Args:
        signals_uv: int16 ``(..., 12, T)``.

    Returns:
        ``(..., DIFFERENCES)`` float64.
    """
    starts, fraction = _edges(rate_hz)
    span_uv = signals_uv[..., _INDEPENDENT, : starts[-1] + 1]
    if absent := starts[-1] + 1 - span_uv.shape[-1]:
        span_uv = np.pad(span_uv, [(0, 0)] * (span_uv.ndim - 1) + [(0, absent)])
    sums_uv = np.add.reduceat(span_uv, starts, axis=-1, dtype=np.int32)[..., :-1]
    integrals = sums_uv + np.diff(span_uv[..., starts] * fraction)
    steps = np.rint(_STEPS_PER_UV / (BLOCK_S * rate_hz) * np.diff(integrals))
    return steps.reshape(*signals_uv.shape[:-2], DIFFERENCES)


def simhash_bits(differences: np.ndarray) -> np.ndarray:
    """:func:`block_differences` of many signals ``(N, DIFFERENCES)`` to fingerprints ``(N, 16)`` uint8.

    One at a time costs several times as much: the projection is larger than everything else a signal needs.
    """
    return np.packbits(differences @ _projection() > 0, axis=1)


def to_hex(fingerprints: np.ndarray) -> list[str]:
    """Fingerprints ``(N, 16)`` as 32 hexadecimal digits each."""
    return [one.tobytes().hex() for one in fingerprints]


def same_recording(fingerprints: np.ndarray) -> np.ndarray:
    """Group numbers ``(N,)`` of fingerprints ``(N, 16)``: equal where two show the same recording."""
    fingerprints = np.ascontiguousarray(fingerprints)
    bands = fingerprints.view(f"u{_BAND_BITS // 8}")
    pairs = [np.empty((2, 0), np.int64)]
    for band in bands.T:
        order = np.argsort(band, kind="stable")
        equal = np.flatnonzero(band[order][1:] == band[order][:-1])
        pairs.append(np.stack([order[equal], order[equal + 1]]))
    one, other = np.concatenate(pairs, axis=1)
    differing = np.bitwise_count(fingerprints[one] ^ fingerprints[other]).sum(axis=1)
    one, other = one[differing <= MOST_DIFFERENT_BITS], other[differing <= MOST_DIFFERENT_BITS]
    graph = coo_array((np.ones(len(one), bool), (one, other)), shape=(len(fingerprints),) * 2)
    return connected_components(graph, directed=False)[1]


@cache
def _edges(rate_hz: float) -> tuple[np.ndarray, np.ndarray]:
    """The samples in which blocks begin, and the fraction of each that belongs to the block before.

    A sample stands for the time around it, so that most block edges lie within one.
    """
    edges = np.arange(_BLOCKS + 1) * BLOCK_S * rate_hz + 0.5
    return edges.astype(int), edges % 1


@cache
def _projection() -> np.ndarray:
    """``(DIFFERENCES, 128)`` of +1 and -1, the same on every machine."""
    random_bytes = np.frombuffer(
        hashlib.shake_256(b"signal fingerprint").digest(DIFFERENCES * BITS // 8), np.uint8
    )
    return np.unpackbits(random_bytes).reshape(DIFFERENCES, BITS) * 2.0 - 1
