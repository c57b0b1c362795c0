"""Reasons to refuse an ECG, and flags for what a user of it should know.

Refused: no usable rate, too short, NaN, more than half of the leads flat or beyond int16 microvolts, plainly
another unit than millivolts. Flags: `flat:V1`; `clipped:V1` (beyond the range, or saturated); `copied:V2`
(equal to an earlier lead); `einthoven` (III is not II - I); `goldberger:aVR` (not what I and II make of it);
`scaled_leads` (each lead has a scale of its own, so the samples are no millivolts); `arm_leads_swapped` (lead
I is the mirror image of V6, and the limb leads agree with each other).
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import uniform_filter1d

from supreme.ecg import (
    LEADS,
    MAX_MILLIVOLTS,
    MICROVOLTS_PER_MILLIVOLT,
    N_LEADS,
    BadRecord,
    order_leads,
    to_millivolts,
)

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
#: Each lead is scaled by itself where all have the same range, or standard deviation, but for this fraction.
SCALED_LEADS, EQUAL_SCALES = "scaled_leads", 0.005
#: Lead I and V6 look at the same wall: slopes that correlate less than this are each other's mirror image.
MIRRORED = -0.5
_SLOPE_S, _BASELINE_S = 0.08, 0.6
#: Samples so far apart, or less, tell of most leads that they move and are not saturated.
_APART = 12

_I, _II, _V6 = LEADS.index("I"), LEADS.index("II"), LEADS.index("V6")
#: What is zero of I, II, III, aVR, aVL, aVF, and the flag when it is not (Einthoven 1913, Goldberger 1942):
#: III - (II - I), aVR + (I + II) / 2, aVL - (I - II / 2), aVF - (II - I / 2).
_LIMB = LEADS[:6]
_IDENTITIES = np.array(
    [[1, -1, 1, 0, 0, 0], [0.5, 0.5, 0, 1, 0, 0], [-1, 0.5, 0, 0, 1, 0], [0.5, -1, 0, 0, 0, 1]], np.float32
)
_CONTRADICTIONS = ("einthoven", "goldberger:aVR", "goldberger:aVL", "goldberger:aVF")


def check(signal: np.ndarray, rate_hz: float) -> list[str]:
    """Flags of a ``(12, T)`` signal in contract order, before resampling and padding.

    Args:
        signal: int16 microvolts or float millivolts.

    Raises:
        BadRecord: `unknown_rate`, `missing_leads`, `too_short`, `nan`, `flat_leads` or `absurd_amplitude`.
    """
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise BadRecord("unknown_rate", f"{rate_hz} Hz is not between {MIN_RATE_HZ:g} and {MAX_RATE_HZ:g}")
    if signal.ndim != 2 or signal.shape[0] != N_LEADS:
        raise BadRecord("missing_leads", f"signal of shape {signal.shape} instead of (12, samples)")
    duration_s = signal.shape[1] / rate_hz
    if duration_s < MIN_DURATION_S:
        raise BadRecord("too_short", f"{duration_s:.2f} s; at least {MIN_DURATION_S:g} s are needed")
    low, high = signal.min(axis=1), signal.max(axis=1)
    low_mv, high_mv = to_millivolts(low), to_millivolts(high)
    range_mv = high_mv - low_mv
    # One NaN or infinity is enough to show in an extreme.
    if not np.isfinite(range_mv).all():
        finite = np.isfinite(signal)
        bad = int(signal.size - finite.sum())
        raise BadRecord("nan", f"{bad} samples without a value in {_names(~finite.all(axis=1))}")
    longest = max(3, round(SATURATION_S * rate_hz))
    some = signal[:, :: min(longest, _APART)].copy()
    flat = _still(signal, some) | (range_mv < FLAT_MV)
    # Counting is several times as fast as any() and sum(), which for twelve leads cost more than the samples.
    if np.count_nonzero(flat) > MAX_BAD_LEADS:
        _refuse_other_unit(signal, range_mv)
        raise BadRecord("flat_leads", f"{flat.sum()} flat leads: {_names(flat)}")
    peak_mv = np.maximum(high_mv, -low_mv)
    beyond = peak_mv > MAX_MILLIVOLTS
    if np.count_nonzero(beyond) > MAX_BAD_LEADS:
        raise BadRecord(
            "absurd_amplitude", f"{peak_mv.max():.0f} mV: is the gain or unit of the source right?"
        )
    clipped = beyond | _saturated(signal, some, longest, (low, high), range_mv)
    copied = _copied(signal, low, high)
    flags = _flags("flat", flat) + _flags("clipped", clipped) + _flags("copied", copied & ~flat)
    contradictions = _contradictions(signal, flat)
    flags += contradictions
    # Leads that are clipped at one level have one range.
    if not np.count_nonzero(clipped) and _is_scaled_by_lead(signal, range_mv, flat, bool(contradictions)):
        flags.append(SCALED_LEADS)
    swapped = "einthoven" not in flags and not (flat[_I] or flat[_V6]) and _mirrored(signal, rate_hz)
    return [*flags, "arm_leads_swapped"] if swapped else flags


def _still(signal: np.ndarray, some: np.ndarray) -> np.ndarray:
    """Leads that hardly ever change; ``some``: samples of the signal, in order."""
    steps = signal.shape[1] - 1
    # Between two that differ the lead has moved, so that most leads need no closer look.
    still = _moves(some) <= (1 - STILL_FRACTION) * steps + 1
    if np.count_nonzero(still):
        still[still] = (steps - _moves(signal[still])) / steps > STILL_FRACTION
    return still


def _moves(signal: np.ndarray) -> np.ndarray:
    """How often each lead changes from one sample to the next."""
    # int32 sums of bool are five times as fast as those of numpy's choice.
    return (signal[:, 1:] != signal[:, :-1]).sum(axis=1, dtype=np.int32)


def has_wrong_gains(signal: np.ndarray, names: tuple[str, ...], gains: tuple[float, ...]) -> bool:
    """Whether the limb leads agree with each other before the source's gains are applied, but not after.

    Args:
        signal: ``(n_channels, T)``, int16 microvolts or float millivolts.
        names: of each channel.
        gains: steps of the converter in a millivolt, of each channel; empty: they are all the same.
    """
    if not gains:
        return False
    relative = np.array(gains, np.float32)[:, None] / np.float32(np.median(np.abs(gains)))
    after, _ = order_leads(to_millivolts(signal), names, derive_limb_leads=True)
    before, _ = order_leads(to_millivolts(signal) * relative, names, derive_limb_leads=True)
    flat = np.zeros(N_LEADS, bool)
    return bool(_contradictions(after, flat)) and not _contradictions(before, flat)


def _is_scaled_by_lead(
    signal: np.ndarray, range_mv: np.ndarray, flat: np.ndarray, contradictory: bool
) -> bool:
    """Whether all leads have one range; or, where they contradict each other, one standard deviation."""
    if _are_equal(range_mv[~flat]):
        return True
    return contradictory and _are_equal(signal[~flat].std(axis=1, dtype=np.float64))


def _are_equal(scales: np.ndarray) -> bool:
    largest = scales.max()
    return bool(largest - scales.min() <= EQUAL_SCALES * largest)


def _refuse_other_unit(signal: np.ndarray, range_mv: np.ndarray) -> None:
    """Raise `absurd_amplitude` where flat leads have so many values that they are an ECG in another unit."""
    if range_mv.max() >= FLAT_MV:
        return
    levels = [len(np.unique(lead)) for lead in signal]
    if np.median(levels) > ECG_LEVELS:
        raise BadRecord(
            "absurd_amplitude",
            f"no lead moves more than {range_mv.max() * 1000:.2g} uV, in {max(levels)} steps: "
            "is the gain or unit of the source right?",
        )


def _saturated(
    signal: np.ndarray,
    some: np.ndarray,
    longest: int,
    extremes: tuple[np.ndarray, np.ndarray],
    range_mv: np.ndarray,
) -> np.ndarray:
    """Leads that stay at their smallest or largest value, far from zero, for ``longest`` samples.

    ``some``: samples of the signal, at most as far apart: every such run has one of them.
    """
    far = SATURATION_MV * _per_millivolt(signal)
    # A lead that is less wide is nowhere so far from its median.
    wide = range_mv >= SATURATION_MV
    saturated = np.zeros(len(signal), bool)
    for extreme, reached in zip(extremes, (some.min(axis=1), some.max(axis=1)), strict=True):
        for lead in _where(wide & (reached == extreme)):
            if _has_run(signal[lead] == extreme[lead], longest):
                saturated[lead] |= abs(float(extreme[lead]) - np.median(signal[lead])) >= far
    return saturated


def _has_run(mask: np.ndarray, length: int) -> bool:
    """Whether so many neighbours are all set."""
    if np.count_nonzero(mask) < length:
        return False
    where = _where(mask)
    return bool((where[length - 1 :] - where[: 1 - length] == length - 1).any())


def _copied(signal: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Leads that equal an earlier one, sample by sample."""
    copied = np.zeros(len(signal), bool)
    extremes = list(zip(low.tolist(), high.tolist(), strict=True))
    if len(set(extremes)) < len(extremes):
        for lead, own in enumerate(extremes):
            earlier = extremes.index(own)
            copied[lead] = earlier < lead and np.array_equal(signal[earlier], signal[lead])
    return copied


def _contradictions(signal: np.ndarray, flat: np.ndarray) -> list[str]:
    """Flags of the limb leads that differ from what I and II make of them by more than a constant."""
    if flat[_I] or flat[_II]:
        return []
    rests = _IDENTITIES @ signal[: len(_LIMB)].astype(np.float32, copy=False)
    allowed = LIMB_LEAD_MV * _per_millivolt(signal)
    # Nothing is further from the median than the extremes are from each other.
    suspect = (rests.max(axis=1) - rests.min(axis=1) > allowed) & ~flat[2 : len(_LIMB)]
    return [
        _CONTRADICTIONS[row]
        for row in _where(suspect)
        if np.percentile(np.abs(rests[row] - np.median(rests[row])), 99) > allowed
    ]


def _mirrored(signal: np.ndarray, rate_hz: float) -> bool:
    """Whether lead I is mainly negative and goes down where V6 goes up.

    Both look at the heart from the left. In dextrocardia both are negative: that is not taken for a swap.
    """
    width = round(_SLOPE_S * rate_hz)
    lead_one, lead_six = (signal[lead].astype(np.float32) for lead in (_I, _V6))
    one, six = (lead[width:] - lead[:-width] for lead in (lead_one, lead_six))
    alike = one @ six
    if alike >= 0 or alike >= MIRRORED * np.sqrt((one @ one) * (six @ six)):
        return False
    waves = lead_one - uniform_filter1d(lead_one, round(_BASELINE_S * rate_hz))
    return bool((waves**3).mean() < 0)


def _per_millivolt(signal: np.ndarray) -> float:
    return MICROVOLTS_PER_MILLIVOLT if signal.dtype == np.int16 else 1.0


def _where(which: np.ndarray) -> np.ndarray:
    """Their numbers: of a dozen leads in a quarter of the time that `numpy.flatnonzero` takes."""
    return which.nonzero()[0]


def _flags(kind: str, which: np.ndarray) -> list[str]:
    return [f"{kind}:{LEADS[lead]}" for lead in _where(which)]


def _names(which: np.ndarray) -> str:
    return ", ".join(LEADS[lead] for lead in _where(which))
