"""The signal contract: lead names and order, units, and how any 12-lead source is brought into it.

An ECG is ``(12, T)`` in the order of :data:`LEADS`: for a model in float32 millivolts, on disk in int16
microvolts, lead-major. On its way there it may be either, as its type tells: most sources hold whole
microvolts, and what is not made a float takes less time.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
#: MIMIC-IV-ECG stores aVF before aVL.
MIMIC_LEADS = ("I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6")
N_LEADS = len(LEADS)
MICROVOLTS_PER_MILLIVOLT = 1000.0
#: The largest amplitude that int16 microvolts can hold.
MAX_MICROVOLTS = 32767
MAX_MILLIVOLTS = MAX_MICROVOLTS / MICROVOLTS_PER_MILLIVOLT

_BY_FOLDED_NAME = {lead.casefold(): lead for lead in LEADS}


class BadRecord(ValueError):
    """A record that must not enter the shards; ``reason`` is a short machine-readable word."""

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}" if detail else reason)


def canonical_lead(name: str) -> str | None:
    """The contract's spelling of a lead name ("AVR", "avr", "lead_V1" ...); None for any other channel."""
    folded = name.strip().casefold().removeprefix("lead").strip(" _-")
    return _BY_FOLDED_NAME.get(folded)


def order_leads(
    signal: np.ndarray, names: Sequence[str], *, derive_limb_leads: bool = False
) -> tuple[np.ndarray, bool]:
    """Map ``(n_leads, T)`` with ``names`` into ``(12, T)`` in contract order.

    Where all twelve are there, other channels (Frank's leads, blood pressure) are left out.
    Returns the ordered signal (int16 or float32; the same memory where nothing is to be done) and whether
    limb leads were derived: III = II - I, aVR = -(I + II) / 2, aVL = I - II / 2, aVF = II - I / 2.

    Raises:
        BadRecord: ``unknown_lead``, ``duplicate_lead`` or ``missing_leads``.
    """
    rows, missing = _rows(tuple(names), derive_limb_leads)
    if missing or signal.dtype != np.int16:  # what is derived has halves of microvolts
        signal = to_millivolts(signal)
    ordered = signal[rows]
    if missing:
        one, two = ordered[0], ordered[1]
        derived = {"III": two - one, "aVR": -(one + two) / 2, "aVL": one - two / 2, "aVF": two - one / 2}
        for lead in missing:
            ordered[LEADS.index(lead)] = derived[lead]
    return ordered, bool(missing)


@lru_cache(maxsize=1024)
def _rows(names: tuple[str, ...], derive_limb_leads: bool) -> tuple[np.ndarray | slice, tuple[str, ...]]:
    """Where each lead is in a signal with ``names``, and which are not there (their rows say nothing)."""
    canonical = [canonical_lead(name) for name in names]
    rows = {lead: row for row, lead in enumerate(canonical) if lead}
    if len(rows) + canonical.count(None) < len(canonical):
        raise BadRecord("duplicate_lead", ", ".join(names))
    missing = [lead for lead in LEADS if lead not in rows]
    if missing and None in canonical:
        unknown = ", ".join(repr(name) for name, lead in zip(names, canonical, strict=True) if not lead)
        raise BadRecord("unknown_lead", f"{unknown} is none of the twelve; {', '.join(missing)} not found")
    derivable = not any(lead.startswith("V") or lead in ("I", "II") for lead in missing)
    if missing and not (derivable and derive_limb_leads):
        remedy = "; set shards.derive_limb_leads=true to compute them from I and II" if derivable else ""
        raise BadRecord("missing_leads", f"{len(rows)} of 12 leads, without {', '.join(missing)}{remedy}")
    if canonical == list(LEADS):
        return slice(None), ()
    return np.array([rows.get(lead, 0) for lead in LEADS]), tuple(missing)


def to_microvolts(signal: np.ndarray) -> np.ndarray:
    """Either form to int16 microvolts, rounded to nearest; values beyond +-32.767 mV are clipped."""
    if signal.dtype == np.int16:
        return signal
    scaled = np.asarray(signal, np.float32) * np.float32(MICROVOLTS_PER_MILLIVOLT)
    np.rint(scaled, out=scaled)
    return np.clip(scaled, -MAX_MICROVOLTS, MAX_MICROVOLTS, out=scaled).astype(np.int16)


def to_millivolts(signal: np.ndarray) -> np.ndarray:
    """Either form to float32 millivolts: of whole microvolts those that are next to them."""
    if signal.dtype != np.int16:
        return signal.astype(np.float32, copy=False)
    return signal.astype(np.float32) / np.float32(MICROVOLTS_PER_MILLIVOLT)


def whole_microvolts(signal: np.ndarray) -> np.ndarray:
    """Either form as int16 microvolts where :func:`to_millivolts` gives the same again, else as it is.

    The same ECG is judged alike in whichever form its source holds it.
    """
    if signal.dtype == np.int16:
        return signal
    with np.errstate(invalid="ignore"):  # what is no number equals nothing
        signal_uv = to_microvolts(signal)
    return signal_uv if np.array_equal(to_millivolts(signal_uv), signal) else signal
