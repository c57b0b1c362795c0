"""Reasons to refuse an ECG, and flags for what a user of it should know.

Refused: no usable rate, too short, NaN, more than half of the leads flat or beyond int16 microvolts, plainly
another unit than millivolts. Flags: `flat:V1`; `clipped:V1` (beyond the range, or saturated); `copied:V2`
(equal to an earlier lead); `einthoven` (III is not II - I); `goldberger:aVR` (not what I and II make of it);
`arm_leads_swapped` (lead I is the mirror image of V6, and the limb leads agree with each other).
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import uniform_filter1d

from supreme.ecg import LEADS, MAX_MILLIVOLTS, N_LEADS, BadRecord

MIN_RATE_HZ, MAX_RATE_HZ = 50.0, 20_000.0
MIN_DURATION_S = 2.0
#: A lead that moves less than this all the time carries no heart beat.
FLAT_MV = 0.01
#: Nor does one that changes in fewer samples than this leaves (a dropped lead with one step in it).
STILL_FRACTION = 0.95
MAX_BAD_LEADS = N_LEADS // 2
#: A flat line of so many different values is an ECG in volts that calls itself millivolts.
ECG_LEVELS = 100
#: An extreme value held this long is the recorder's limit, not a wave.
SATURATION_S, SATURATION_MV = 0.025, 1.0
#: Limb leads may differ this much from what the others make of them, in 99 of 100 samples.
LIMB_LEAD_MV = 0.1
#: Lead I and V6 look at the same wall: slopes that correlate less than this are each other's mirror image.
MIRRORED = -0.5
_SLOPE_S, _BASELINE_S = 0.08, 0.6

_I, _II, _III, _AVR, _AVL, _AVF, _V6 = (
    LEADS.index(lead) for lead in ("I", "II", "III", "aVR", "aVL", "aVF", "V6")
)


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
    low, high = signal_mv.min(axis=1), signal_mv.max(axis=1)
    # One NaN or infinity is enough to show in an extreme.
    if not np.isfinite([low, high]).all():
        finite = np.isfinite(signal_mv)
        bad = int(signal_mv.size - finite.sum())
        raise BadRecord("nan", f"{bad} samples without a value in {_names(~finite.all(axis=1))}")
    flat = _still(signal_mv) | (high - low < FLAT_MV)
    if flat.sum() > MAX_BAD_LEADS:
        _refuse_other_unit(signal_mv, high - low)
        raise BadRecord("flat_leads", f"{flat.sum()} flat leads: {_names(flat)}")
    peak = np.maximum(high, -low)
    beyond = peak > MAX_MILLIVOLTS
    if beyond.sum() > MAX_BAD_LEADS:
        raise BadRecord("absurd_amplitude", f"{peak.max():.0f} mV: is the gain or unit of the source right?")
    clipped = beyond | _saturated(signal_mv, rate_hz, low, high)
    flags = _flags("flat", flat) + _flags("clipped", clipped)
    flags += _flags("copied", _copied(signal_mv, low, high) & ~flat)
    flags += _limb_leads(signal_mv, flat)
    swapped = "einthoven" not in flags and not flat[[_I, _V6]].any() and _mirrored(signal_mv, rate_hz)
    return [*flags, "arm_leads_swapped"] if swapped else flags


def _still(signal_mv: np.ndarray) -> np.ndarray:
    same = signal_mv[:, 1:] == signal_mv[:, :-1]
    # Row by row: three times as fast as counting along an axis.
    return np.array([np.count_nonzero(lead) for lead in same]) / same.shape[1] > STILL_FRACTION


def _refuse_other_unit(signal_mv: np.ndarray, range_mv: np.ndarray) -> None:
    if range_mv.max() >= FLAT_MV:
        return
    levels = [len(np.unique(lead)) for lead in signal_mv]
    if np.median(levels) > ECG_LEVELS:
        raise BadRecord(
            "absurd_amplitude",
            f"no lead moves more than {range_mv.max() * 1000:.2g} uV, in {max(levels)} steps: "
            "is the gain or unit of the source right?",
        )


def _saturated(signal_mv: np.ndarray, rate_hz: float, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Leads that stay at their largest or smallest value, far from zero, for a while."""
    held = max(3, round(SATURATION_S * rate_hz))
    found = np.zeros(len(signal_mv), bool)
    # So long a run cannot hide between samples that lie so far apart.
    some = signal_mv[:, ::held]
    for extreme in (low, high):
        for lead in np.flatnonzero((some == extreme[:, None]).any(axis=1)):
            at_limit = signal_mv[lead] == extreme[lead]
            if np.count_nonzero(at_limit) >= held and _longest_run(at_limit) >= held:
                found[lead] |= abs(extreme[lead] - np.median(signal_mv[lead])) >= SATURATION_MV
    return found


def _longest_run(mask: np.ndarray) -> int:
    edges = np.flatnonzero(np.diff(np.concatenate(([0], mask.astype(np.int8), [0]))))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def _copied(signal_mv: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Leads that equal an earlier one, sample by sample."""
    found = np.zeros(len(signal_mv), bool)
    first: dict[tuple[float, float], int] = {}
    for lead, extremes in enumerate(zip(low.tolist(), high.tolist(), strict=True)):
        earlier = first.setdefault(extremes, lead)
        found[lead] = earlier != lead and np.array_equal(signal_mv[earlier], signal_mv[lead])
    return found


def _limb_leads(signal_mv: np.ndarray, flat: np.ndarray) -> list[str]:
    """Flags of the limb leads that contradict I and II (Einthoven 1913, Goldberger 1942)."""
    if flat[_I] or flat[_II]:
        return []
    one, two = signal_mv[_I], signal_mv[_II]
    half_one, half_two = one / 2, two / 2
    expected = {
        _III: ("einthoven", two - one),
        _AVR: ("goldberger:aVR", -half_one - half_two),
        _AVL: ("goldberger:aVL", one - half_two),
        _AVF: ("goldberger:aVF", two - half_one),
    }
    return [
        flag
        for lead, (flag, wanted) in expected.items()
        if not flat[lead] and _differs(signal_mv[lead] - wanted)
    ]


def _differs(rest_mv: np.ndarray) -> bool:
    """Whether a difference that should be a constant is not."""
    # Nothing is further from the median than the extremes are from each other.
    if rest_mv.max() - rest_mv.min() <= LIMB_LEAD_MV:
        return False
    return bool(np.percentile(np.abs(rest_mv - np.median(rest_mv)), 99) > LIMB_LEAD_MV)


def _mirrored(signal_mv: np.ndarray, rate_hz: float) -> bool:
    """Whether lead I is mainly negative and goes down where V6 goes up.

    Both look at the heart from the left. In dextrocardia both are negative: that is not taken for a swap.
    """
    width = round(_SLOPE_S * rate_hz)
    one, six = (signal_mv[lead, width:] - signal_mv[lead, :-width] for lead in (_I, _V6))
    if one @ six >= MIRRORED * np.sqrt((one @ one) * (six @ six)):
        return False
    waves = signal_mv[_I] - uniform_filter1d(signal_mv[_I], round(_BASELINE_S * rate_hz))
    return bool((waves**3).mean() < 0)


def _flags(kind: str, which: np.ndarray) -> list[str]:
    return [f"{kind}:{lead}" for lead, found in zip(LEADS, which, strict=True) if found]


def _names(which: np.ndarray) -> str:
    return ", ".join(lead for lead, chosen in zip(LEADS, which, strict=True) if chosen)
