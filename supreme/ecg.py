"""The signal contract: lead names and order, units, and how any 12-lead source is brought into it.

In memory an ECG is float32 millivolts of shape ``(12, T)`` in the order of :data:`LEADS`; on disk it is
int16 microvolts, lead-major.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
#: MIMIC-IV-ECG stores aVF before aVL.
MIMIC_LEADS = ("I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6")
N_LEADS = len(LEADS)
MICROVOLTS_PER_MILLIVOLT = 1000.0
#: The largest amplitude that int16 microvolts can hold.
MAX_MILLIVOLTS = 32.767

_BY_FOLDED_NAME = {lead.casefold(): lead for lead in LEADS}


class BadRecord(ValueError):
    """A record that must not enter the shards; ``reason`` is a short machine-readable word."""

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}" if detail else reason)


def canonical_lead(name: str) -> str:
    """The contract's spelling of a lead name ("AVR", "avr", "lead_V1" ...).

    Raises:
        BadRecord: ``unknown_lead`` when the name is none of the twelve.
    """
    folded = name.strip().casefold().removeprefix("lead").strip(" _-")
    if folded not in _BY_FOLDED_NAME:
        raise BadRecord("unknown_lead", f"{name!r} is none of {', '.join(LEADS)}")
    return _BY_FOLDED_NAME[folded]


def order_leads(
    signal_mv: np.ndarray, names: Sequence[str], *, derive_limb_leads: bool = False
) -> tuple[np.ndarray, bool]:
    """Map ``(n_leads, T)`` with ``names`` into ``(12, T)`` in contract order.

    Returns the ordered signal and whether limb leads were derived from I and II
    (III = II - I, aVR = -(I + II) / 2, aVL = I - II / 2, aVF = II - I / 2).

    Raises:
        BadRecord: ``unknown_lead``, ``duplicate_lead`` or ``missing_leads``.
    """
    canonical = [canonical_lead(name) for name in names]
    if len(set(canonical)) != len(canonical):
        raise BadRecord("duplicate_lead", ", ".join(names))
    rows = dict(zip(canonical, signal_mv, strict=True))
    missing = [lead for lead in LEADS if lead not in rows]
    derivable = not any(lead.startswith("V") or lead in ("I", "II") for lead in missing)
    if missing and not (derivable and derive_limb_leads):
        remedy = "; set shards.derive_limb_leads=true to compute them from I and II" if derivable else ""
        raise BadRecord("missing_leads", f"{len(rows)} of 12 leads, without {', '.join(missing)}{remedy}")
    if missing:
        one, two = rows["I"], rows["II"]
        derived = {"III": two - one, "aVR": -(one + two) / 2, "aVL": one - two / 2, "aVF": two - one / 2}
        rows |= {lead: derived[lead] for lead in missing}
    return np.stack([rows[lead] for lead in LEADS]).astype(np.float32), bool(missing)


def to_microvolts(signal_mv: np.ndarray) -> np.ndarray:
    """Float millivolts to int16 microvolts, rounded to nearest; values beyond +-32.767 mV are clipped."""
    scaled = np.rint(np.asarray(signal_mv, np.float64) * MICROVOLTS_PER_MILLIVOLT)
    return np.clip(scaled, -32767, 32767).astype(np.int16)


def to_millivolts(signal_uv: np.ndarray) -> np.ndarray:
    """Int16 microvolts to float32 millivolts."""
    return signal_uv.astype(np.float32) / np.float32(MICROVOLTS_PER_MILLIVOLT)
