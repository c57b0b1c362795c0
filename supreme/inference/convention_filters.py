"""Filters, resampling and normalisation of input conventions, on float64 ``(leads, samples)``."""

from __future__ import annotations

import numpy as np
from scipy import signal as scipy_signal

from supreme import signal
from supreme.inference.foreign_convention import (
    ButterworthFilter,
    FilterStep,
    FirFilter,
    ForeignConvention,
    NotchFilter,
)


def filtered(values: np.ndarray, step: FilterStep, rate_hz: float) -> np.ndarray:
    """The signal behind one filter."""
    if isinstance(step, NotchFilter):
        return scipy_signal.filtfilt(*scipy_signal.iirnotch(step.hz, step.quality, rate_hz), values)
    if isinstance(step, ButterworthFilter):
        return _butterworth(values, step, rate_hz)
    if isinstance(step, FirFilter):
        taps = scipy_signal.firwin(step.taps, [step.low_hz, step.high_hz], pass_zero=False, fs=rate_hz)
        return scipy_signal.lfilter(taps, 1.0, values)
    width = int(step.seconds * rate_hz) + 1
    width += 1 - width % 2
    return values - np.stack([scipy_signal.medfilt(lead, width) for lead in values])


def _butterworth(values: np.ndarray, step: ButterworthFilter, rate_hz: float) -> np.ndarray:
    kind = "lowpass" if step.low_hz is None else "highpass" if step.high_hz is None else "bandpass"
    edges = [edge for edge in (step.low_hz, step.high_hz) if edge is not None]
    edge = edges if len(edges) == 2 else edges[0]
    if step.sections:
        sections = scipy_signal.butter(step.order, edge, kind, output="sos", fs=rate_hz)
        return scipy_signal.sosfiltfilt(sections, values)
    return scipy_signal.filtfilt(*scipy_signal.butter(step.order, edge, kind, fs=rate_hz), values)


def resampled(values: np.ndarray, method: str, from_hz: float, to_hz: float) -> np.ndarray:
    """The signal at another rate; at the same rate itself."""
    if from_hz == to_hz:
        return values
    if method == "polyphase":
        return signal.resample(values, from_hz, to_hz).astype(np.float64)
    length = int(values.shape[1] * to_hz / from_hz)
    if method == "fourier":
        return scipy_signal.resample(values, length, axis=1)
    places = np.linspace(0, length - 1, values.shape[1])
    return np.stack([np.interp(np.arange(length), places, lead) for lead in values])


def normalised(values: np.ndarray, convention: ForeignConvention) -> np.ndarray:
    """The signal in the range or scale that a convention asks for."""
    method, axis = convention.normalisation, None
    if method == "none":
        return values
    if method.endswith("_by_lead"):
        axis = 1
    if method.startswith("min_max"):
        low = values.min(axis, keepdims=True)
        unit = _divided(values - low, values.max(axis, keepdims=True) - low, convention.epsilon)
        return unit if axis is None else 2 * unit - 1
    mean = values.mean(axis, keepdims=True)
    return _divided(values - mean, values.std(axis, keepdims=True), convention.epsilon)


def _divided(values: np.ndarray, scale: np.ndarray, epsilon: float) -> np.ndarray:
    """0 where the scale is 0 and nothing is added to it."""
    scale = np.broadcast_to(scale + epsilon, values.shape)
    return np.divide(values, scale, out=np.zeros_like(values), where=scale != 0)
