"""Reasons to refuse an ECG, and flags for what a user of it should know.

Refused: no usable rate, too short, NaN, more than half of the leads flat or beyond int16 microvolts.
Flags: `flat:V1`, `clipped:V1` (beyond the range, or saturated), `einthoven` (III is not II - I).
"""

from __future__ import annotations

import numpy as np

from supreme.ecg import LEADS, MAX_MILLIVOLTS, N_LEADS, BadRecord

MIN_RATE_HZ, MAX_RATE_HZ = 50.0, 20_000.0
MIN_DURATION_S = 2.0
#: A lead that moves less than this all the time carries no heart beat.
FLAT_MV = 0.01
#: Nor does one that changes in fewer samples than this leaves (a dropped lead with one step in it).
STILL_FRACTION = 0.95
MAX_BAD_LEADS = N_LEADS // 2
#: An extreme value held this long is the recorder's limit, not a wave.
SATURATION_S, SATURATION_MV = 0.025, 1.0
EINTHOVEN_MV = 0.1


def check(signal_mv: np.ndarray, rate_hz: float) -> list[str]:
    """Flags of a ``(12, T)`` signal in contract order, before resampling and padding.

    Raises:
        BadRecord: `unknown_rate`, `missing_leads`, `too_short`, `nan`, `flat_leads` or `absurd_amplitude`.
    """
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise BadRecord("unknown_rate", f"{rate_hz} Hz is not between {MIN_RATE_HZ:g} and {MAX_RATE_HZ:g}")
    if signal_mv.ndim != 2 or signal_mv.shape[0] != N_LEADS:
        raise BadRecord("missing_leads", f"signal of shape {signal_mv.shape} instead of (12, samples)")
    duration_s = signal_mv.shape[1] / rate_hz
    if duration_s < MIN_DURATION_S:
        raise BadRecord("too_short", f"{duration_s:.2f} s; at least {MIN_DURATION_S:g} s are needed")
    finite = np.isfinite(signal_mv)
    if not finite.all():
        bad = int(signal_mv.size - finite.sum())
        raise BadRecord("nan", f"{bad} samples without a value in {_names(~finite.all(axis=1))}")
    still = (np.diff(signal_mv, axis=1) == 0).mean(axis=1) > STILL_FRACTION
    flat = still | (np.ptp(signal_mv, axis=1) < FLAT_MV)
    if flat.sum() > MAX_BAD_LEADS:
        raise BadRecord("flat_leads", f"{flat.sum()} flat leads: {_names(flat)}")
    beyond = np.abs(signal_mv).max(axis=1) > MAX_MILLIVOLTS
    if beyond.sum() > MAX_BAD_LEADS:
        peak = float(np.abs(signal_mv).max())
        raise BadRecord("absurd_amplitude", f"{peak:.0f} mV: is the gain or unit of the source right?")
    clipped = beyond | _saturated(signal_mv, rate_hz)
    flags = [f"flat:{lead}" for lead, found in zip(LEADS, flat, strict=True) if found]
    flags += [f"clipped:{lead}" for lead, found in zip(LEADS, clipped, strict=True) if found]
    return [*flags, "einthoven"] if _breaks_einthoven(signal_mv, flat) else flags


def _saturated(signal_mv: np.ndarray, rate_hz: float) -> np.ndarray:
    """Leads that stay at their largest or smallest value, far from zero, for a while."""
    held = max(3, round(SATURATION_S * rate_hz))
    found = np.zeros(len(signal_mv), bool)
    for extreme in (signal_mv.max(axis=1), signal_mv.min(axis=1)):
        far = np.abs(extreme - np.median(signal_mv, axis=1)) >= SATURATION_MV
        for lead in np.flatnonzero(far):
            found[lead] |= _longest_run(signal_mv[lead] == extreme[lead]) >= held
    return found


def _longest_run(mask: np.ndarray) -> int:
    edges = np.flatnonzero(np.diff(np.concatenate(([0], mask.astype(np.int8), [0]))))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def _breaks_einthoven(signal_mv: np.ndarray, flat: np.ndarray) -> bool:
    if flat[:3].any():
        return False
    one, two, three = signal_mv[:3]
    rest = three - (two - one)
    return bool(np.percentile(np.abs(rest - np.median(rest)), 99) > EINTHOVEN_MV)


def _names(which: np.ndarray) -> str:
    return ", ".join(lead for lead, chosen in zip(LEADS, which, strict=True) if chosen)
