"""A 12-lead signal as a model from elsewhere wants it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from supreme import ecg
from supreme.inference.convention_filters import filtered, normalised, resampled
from supreme.inference.foreign_convention import ForeignConvention
from supreme.inference.windows import MAX_WINDOWS

#: Raise it whenever :func:`apply` gives another result for some convention and record: exports that were made
#: before are then refused instead of being mixed with new ones.
CONVENTIONS_VERSION = 1


class Prepared(NamedTuple):
    """The input of a model, and what had to be done for it."""

    values: np.ndarray
    """float32 ``(leads, samples)``, or ``(windows, leads, samples)``."""
    n_valid: int
    """How many of a window's samples are signal; the others are padding."""
    notes: tuple[str, ...]
    """What the model's input lacks or was not recorded: few different texts, so that they can be counted."""


def apply(convention: ForeignConvention, signal_mv: np.ndarray, rate_hz: float) -> Prepared:
    """Prepare the start of a record for a model.

    Computed in float64; whole microvolts are taken as such, as a reader of the record's file has them.

    Args:
        signal_mv: ``(12, T)`` in the order of `ecg.LEADS`: float millivolts or int16 microvolts.

    Raises:
        ValueError: another shape, or values that are not finite.
    """
    prepared = _prepare(convention, signal_mv, rate_hz, 1)
    return prepared._replace(values=prepared.values[0])


def apply_windows(convention: ForeignConvention, signal_mv: np.ndarray, rate_hz: float) -> Prepared:
    """As :func:`apply`, of up to `MAX_WINDOWS` windows spread evenly over the record.

    The number of windows depends on the convention and the record's length alone.
    """
    return _prepare(convention, signal_mv, rate_hz, MAX_WINDOWS)


def notes_of(
    convention: ForeignConvention, samples: int, rate_hz: float, *, max_windows: int = MAX_WINDOWS
) -> tuple[str, ...]:
    """What has to be done to a record of this length and rate, but for leads that are flat."""
    notes, total_s = [], samples / rate_hz
    if rate_hz != convention.rate_hz:
        direction = "up" if rate_hz < convention.rate_hz else "down"
        notes.append(f"{direction}-sampled from {rate_hz:g} to {convention.rate_hz} Hz")
    if len(_starts(samples, rate_hz, convention.seconds, max_windows)) > 1:
        notes.append(f"averaged over windows of {convention.seconds:g} s")
    # A sample more comes of rounding.
    elif total_s > convention.seconds + 1 / rate_hz:
        notes.append(f"cut to its first {convention.seconds:g} s")
    if total_s < convention.seconds - 1e-9:
        notes.append(f"padded with zeros to {convention.seconds:g} s")
    if convention.missing_leads:
        notes.append(f"the model takes no {', '.join(convention.missing_leads)}")
    return tuple(notes)


def _prepare(
    convention: ForeignConvention, signal_mv: np.ndarray, rate_hz: float, max_windows: int
) -> Prepared:
    _check(signal_mv, rate_hz)
    source, source_hz = _exact(signal_mv)[convention.rows], float(rate_hz)
    if convention.scope == "record":
        source, source_hz = _worked(convention, source, rate_hz), convention.working_rate_hz
        source = normalised(source, convention)
    windows, n_valid = [], 0
    for start in _starts(source.shape[1], source_hz, convention.seconds, max_windows):
        values = source[:, start : start + int(np.ceil(convention.seconds * source_hz))]
        if convention.scope == "window":
            values = _worked(convention, values, rate_hz)
        values = resampled(values, convention.resampling, convention.working_rate_hz, convention.rate_hz)
        padded, n_valid = _padded(values, convention)
        windows.append(normalised(padded, convention) if convention.scope == "window" else padded)
    notes = notes_of(convention, signal_mv.shape[1], rate_hz, max_windows=max_windows)
    notes += _flat(convention, signal_mv)
    return Prepared(np.stack(windows).astype(np.float32), n_valid, notes)


def _worked(convention: ForeignConvention, values: np.ndarray, rate_hz: float) -> np.ndarray:
    """Resampled to the rate of the filters, in the model's unit, and filtered."""
    values = resampled(values, convention.resampling, rate_hz, convention.working_rate_hz)
    if convention.unit == "uV":
        values = values * ecg.MICROVOLTS_PER_MILLIVOLT
    if convention.scope == "window":
        values = values[:, : round(convention.seconds * convention.working_rate_hz)]
    for step in convention.filters:
        values = filtered(values, step, convention.working_rate_hz)
    return values


def _starts(samples: int, rate_hz: float, window_s: float, max_windows: int) -> list[int]:
    """First sample of each window; a few samples more than a window are no reason for a second one."""
    total_s = samples / rate_hz
    count = min(max_windows, max(1, int(np.ceil(total_s / window_s - 0.01))))
    starts = np.linspace(0, max(0.0, total_s - window_s) * rate_hz, count)
    return [int(start) for start in starts.round()]


def _check(signal_mv: np.ndarray, rate_hz: float) -> None:
    if signal_mv.ndim != 2 or signal_mv.shape[0] != ecg.N_LEADS or signal_mv.shape[1] == 0:
        raise ValueError(f"a signal of shape {signal_mv.shape}: give ({ecg.N_LEADS}, samples)")
    if not rate_hz > 0:
        raise ValueError(f"rate_hz={rate_hz}: give the sampling rate in Hz")
    if not np.isfinite(signal_mv).all():
        raise ValueError("the signal holds NaN or infinite values: remove or repair it")


def _exact(signal_mv: np.ndarray) -> np.ndarray:
    """float64 millivolts; a float32 that stands for a whole microvolt becomes the float64 nearest to it."""
    exact = ecg.whole_microvolts(signal_mv)
    if exact.dtype == np.int16:
        return exact.astype(np.float64) / ecg.MICROVOLTS_PER_MILLIVOLT
    return exact.astype(np.float64)


def _padded(values: np.ndarray, convention: ForeignConvention) -> tuple[np.ndarray, int]:
    values = values[:, : convention.samples]
    n_valid = values.shape[1]
    rest = convention.samples - n_valid
    before = rest // 2 if convention.padding == "centre" else 0
    return np.pad(values, ((0, 0), (before, rest - before))), n_valid


def _flat(convention: ForeignConvention, signal_mv: np.ndarray) -> tuple[str, ...]:
    flat = [ecg.LEADS[row] for row in convention.rows if np.ptp(signal_mv[row]) == 0]
    return (f"missing (flat): {', '.join(flat)}",) if flat else ()
