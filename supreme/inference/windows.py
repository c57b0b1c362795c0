"""A record cut into the windows that a model of ours looks at."""

from __future__ import annotations

import math

import numpy as np

from supreme.inference.convention import InputConvention
from supreme.preparation import resample_uv

#: Of one record; longer records are looked at in windows spread evenly over them.
MAX_WINDOWS = 6


def windows_uv(signal: np.ndarray, rate_hz: float, convention: InputConvention) -> np.ndarray:
    """One record as int16 microvolts ``(W, 12, samples)`` at the model's rate and in its lead order.

    Args:
        signal: ``(12, T)`` in the order of `ecg.LEADS`: int16 microvolts or float millivolts.
    """
    window_s, total_s = convention.duration_s, signal.shape[1] / rate_hz
    # A few samples more than a window are no reason for a second one.
    count = min(MAX_WINDOWS, max(1, math.ceil(total_s / window_s - 0.01)))
    starts = np.linspace(0, max(0.0, total_s - window_s) * rate_hz, count).round().astype(int)
    ordered = signal[convention.lead_order]
    return np.stack(
        [
            resample_uv(ordered[:, start:], rate_hz, convention.rate_hz, convention.samples)[0]
            for start in starts
        ]
    )
