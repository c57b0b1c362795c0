"""Bring a 12-lead signal to a model's rate and length: one way, for training, evaluation and use alike."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from scipy.signal import resample_poly

from supreme.ecg import to_millivolts


def resample(signal: np.ndarray, from_hz: float, to_hz: float) -> np.ndarray:
    """Polyphase resampling of ``(n_leads, T)``, with the anti-alias filter of `scipy.signal.resample_poly`.

    A straight line through the first and last sample is subtracted before filtering and added afterwards, so
    that an offset or a drift does not ring at the edges. At the same rate the signal is returned as it is.

    Args:
        signal: int16 microvolts or float millivolts.

    Returns:
        ``(n_leads, T * to_hz / from_hz)`` float32 millivolts; at the same rate the signal itself.
    """
    if to_hz == from_hz:
        return signal
    ratio = Fraction(to_hz / from_hz).limit_denominator(1000)
    return resample_poly(to_millivolts(signal), ratio.numerator, ratio.denominator, axis=-1, padtype="line")


def first_seconds(signal: np.ndarray, rate_hz: float, duration_s: float) -> np.ndarray:
    """The first ``duration_s`` of ``(n_leads, T)``, as a view."""
    return signal[..., : int(np.ceil(duration_s * rate_hz))]


def crop_or_pad(signal: np.ndarray, samples: int) -> tuple[np.ndarray, int]:
    """The first ``samples`` of ``(n_leads, T)``, zero-padded at the end, and how many of them are signal."""
    n_valid = min(signal.shape[-1], samples)
    if n_valid == samples:
        return signal[..., :samples], n_valid
    fixed = np.zeros((*signal.shape[:-1], samples), signal.dtype)
    fixed[..., :n_valid] = signal[..., :n_valid]
    return fixed, n_valid


def prepare(signal: np.ndarray, rate_hz: float, to_rate_hz: float, samples: int) -> tuple[np.ndarray, int]:
    """``(n_leads, T)`` at any rate to ``(n_leads, samples)`` at ``to_rate_hz``, and how many are signal."""
    start = first_seconds(signal, rate_hz, samples / to_rate_hz)
    return crop_or_pad(resample(start, rate_hz, to_rate_hz), samples)
