"""What a model refuses to score: signals that cannot be 12-lead ECGs in millivolts at the stated rate."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from supreme import ecg, quality

#: Larger values are microvolts: the highest paced or hypertrophic QRS stays below 20 mV.
MAX_MILLIVOLTS = 50.0

_SHAPE = f"give (records, 12, samples), leads in the order {', '.join(ecg.LEADS)}"
#: Reason of `quality.check` -> what to do.
_REMEDIES = {
    "unknown_rate": "give the sampling rate of the ECGs in Hz (not kHz, not milliseconds)",
    "too_short": "give the whole record, and its sampling rate in Hz",
    "nan": "remove or repair it",
    "flat_leads": "remove it, or give millivolts if its unit is another",
    "absurd_amplitude": "give millivolts: volts times 1000, microvolts divided by 1000",
}


def as_millivolts(ecg_mv: np.ndarray, rate_hz: float) -> np.ndarray:
    """Signals as float32 ``(B, 12, T)``, after a look at type, shape, unit and rate.

    Raises:
        ValueError: naming the record where it is about one, with the remedy.
    """
    values = _as_array(ecg_mv)
    if values.ndim != 3 or values.shape[1] != ecg.N_LEADS or 0 in values.shape:
        raise ValueError(f"ECGs of shape {values.shape}: {_shape_remedy(values.shape)}")
    _check_rate(rate_hz)
    with np.errstate(over="ignore", invalid="ignore"):
        values = values.astype(np.float32, copy=False)
    bad = np.flatnonzero(~np.isfinite(values).all((1, 2)))
    if len(bad):
        raise ValueError(f"record {bad[0]} holds NaN or infinite values: remove or repair it")
    high = np.abs(values).max((1, 2))
    if high.max() > MAX_MILLIVOLTS:
        raise ValueError(
            f"record {high.argmax()} reaches {high.max():,.0f}: ECGs must be in millivolts; "
            "microvolts must be divided by 1000"
        )
    return values


def in_lead_order(ecg_mv: np.ndarray, leads: Sequence[str]) -> np.ndarray:
    """Records ``(B, 12, T)`` with channels ``leads``, in the order of `ecg.LEADS` and with their signs.

    Raises:
        ValueError: the names are not those of the twelve leads.
    """
    if isinstance(leads, str) or len(leads) != ecg.N_LEADS:
        raise ValueError(f"leads={leads!r}: give the names of the 12 channels, such as {ecg.MIMIC_LEADS}")
    try:
        return np.stack([ecg.order_leads(record, leads)[0] for record in ecg_mv])
    except ecg.BadRecord as error:
        raise ValueError(f"leads={tuple(leads)!r}: {error}") from None


def check_quality(ecg_mv: np.ndarray, rate_hz: float) -> None:
    """Refuse what `quality.check` refuses of a new data set.

    Args:
        ecg_mv: float32 ``(B, 12, T)``.

    Raises:
        ValueError: naming the first such record, the reason and the remedy.
    """
    for index, record in enumerate(ecg_mv):
        try:
            quality.check(record, float(rate_hz))
        except ecg.BadRecord as error:
            remedy = _REMEDIES.get(error.reason, "remove or repair it")
            raise ValueError(f"record {index}: {error}; {remedy}") from None


def _as_array(ecg_mv: np.ndarray) -> np.ndarray:
    try:
        if isinstance(ecg_mv, np.ma.MaskedArray) and ecg_mv.dtype.kind == "f":
            ecg_mv = ecg_mv.filled(np.nan)
        values = np.asarray(ecg_mv)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(f"ECGs are no array of numbers ({error}): {_SHAPE}") from None
    if values.dtype.kind in "iu":
        raise ValueError(
            f"ECGs of type {values.dtype} are microvolts or units of the recorder: divide them by the gain "
            "and give floats in millivolts"
        )
    if values.dtype.kind != "f":
        raise ValueError(f"ECGs of type {values.dtype} are no signals: give floats in millivolts; {_SHAPE}")
    return values


def _shape_remedy(shape: tuple[int, ...]) -> str:
    if len(shape) == 2 and ecg.N_LEADS in shape:
        one = "ecg[None]" if shape[0] == ecg.N_LEADS else "ecg.T[None]"
        return f"{_SHAPE}; of one record {one}"
    if len(shape) == 3 and shape[2] == ecg.N_LEADS:
        return f"{_SHAPE}; its axes are swapped: ecg.transpose(0, 2, 1)"
    if len(shape) == 3 and shape[0] == ecg.N_LEADS:
        return f"{_SHAPE}; its axes are swapped: ecg.transpose(1, 0, 2)"
    return _SHAPE


def _check_rate(rate_hz: float) -> None:
    remedy = "give the sampling rate of the ECGs in Hz"
    if isinstance(rate_hz, bool | np.bool_ | str | bytes):
        raise ValueError(f"rate_hz={rate_hz!r}: {remedy}")
    try:
        number = float(rate_hz)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"rate_hz={rate_hz!r}: {remedy}, as one number") from None
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"rate_hz={rate_hz}: {remedy}")
