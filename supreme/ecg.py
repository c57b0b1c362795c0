"""The signal contract: lead names and order, units, and how any 12-lead source is brought into it.

An ECG is ``(12, T)`` in the order of :data:`LEADS`: float32 millivolts for a model, int16 microvolts on disk,
lead-major. A source may deliver either, and the array's type says which. Most sources hold whole microvolts;
arrays that stay int16 take less time.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
#: MIMIC-IV-ECG stores aVF before aVL.
MIMIC_LEADS = ("I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6")
N_LEADS = len(LEADS)
MICROVOLTS_PER_MILLIVOLT = 1000.0
#: The largest amplitude that int16 microvolts can hold.
MAX_MICROVOLTS = 32767
MAX_MILLIVOLTS = MAX_MICROVOLTS / MICROVOLTS_PER_MILLIVOLT

#: Millivolts in one unit. "MV" is a millivolt in capitals: no ECG is in megavolts.
_MILLIVOLTS = {
    **dict.fromkeys(("mv", "mvolt", "mvolts", "millivolt", "millivolts", "milli-volt", "milli-volts"), 1.0),
    **dict.fromkeys(("uv", "mcv", "uvolt", "uvolts", "microvolt", "microvolts", "micro-volt"), 1e-3),
    **dict.fromkeys(("v", "volt", "volts"), 1e3),
    **dict.fromkeys(("nv", "nvolt", "nvolts", "nanovolt", "nanovolts", "nano-volt"), 1e-6),
}
#: The Greek letter mu, to which NFKC turns the micro sign; after a letter that shows UTF-8 read as latin-1.
_MU = re.compile("[âî]?μ(?=v)")
_DASHES = str.maketrans(dict.fromkeys("\u2212\u2013\u2014\u2010\u2011\u2012", "-"))

#: Lead -> its spellings in small letters without blanks and underscores; "d1" in Spanish and Turkish exports.
_BY_SPELLING = {lead.casefold(): lead for lead in LEADS} | {
    f"d{spelling}": lead for number, lead in enumerate(LEADS[:3], 1) for spelling in (lead.casefold(), number)
}
_NEGATIVE = "(?:minus|neg|negative|inv|inverted)"
_CHANNEL = re.compile(
    r"(?:(?:mdc[ _]ecg[ _](?:lead|elec[ _]potl)|ecg|ekg|leads?|channel|ableitung|abl|d[eé]rivation|"
    r"derivaci[oó]n)"
    r"(?:[ _.:]*-[ _.:]+|-|[ _.:]*))*"
    rf"(?P<before>[-+] ?|{_NEGATIVE}[ _.]*)?"
    r"(?P<lead>i{1,3}|di{1,3}|d[ _]?[123]|a[ _]?v[ _]?[rlf]|v[ _]?[1-6])"
    rf"(?P<after>\+|[ _.]?{_NEGATIVE})?(?:[ _]lead)?"
    r"(?:(?:[ _,/:]+|[ _]*[(\[{])(?P<bracket>[^()\[\]{}]+)[)\]}]?)?"
)


class BadRecord(ValueError):
    """A record that must not enter the shards; ``reason`` is a short machine-readable word."""

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}" if detail else reason)


class Lead(NamedTuple):
    """One of the twelve leads as a channel holds it."""

    name: str
    sign: int
    """-1 where the channel holds the negative of the lead, as `-aVR` in the Cabrera order."""


def millivolts_per_unit(unit: str) -> float | None:
    """Millivolts in one ``unit`` ("mV", "millivolts", "µV", "V" ...); None for anything but a voltage."""
    text = unicodedata.normalize("NFKC", unit).casefold().strip()
    return _MILLIVOLTS.get(_MU.sub("u", text))


@lru_cache(maxsize=4096)
def canonical_lead(name: str) -> Lead | None:
    """The lead that a channel's ``name`` means, with its sign; None for any other channel.

    Reads "AVR", "lead_V1", "ECG II", "I (mV)", "MDC_ECG_LEAD_AVF", "DIII", "-aVR", "aVR inverted" and so on.
    A minus after the name ("V1-") is not read: it may mean the negative, an electrode, or nothing.
    """
    text = unicodedata.normalize("NFKC", name).translate(_DASHES).casefold().strip(" _.:")
    match = _CHANNEL.fullmatch(text)
    if match is None:
        return None
    bracket = (match["bracket"] or "mv").strip()
    signs = [match["before"] or "", match["after"] or ""]
    if millivolts_per_unit(bracket) is None:
        signs.append(bracket)
        if not re.fullmatch(f"{_NEGATIVE}|-", bracket):
            return None
    negative = [sign for sign in signs if sign.strip() not in ("", "+")]
    return Lead(_BY_SPELLING[re.sub("[ _]", "", match["lead"])], -1 if len(negative) % 2 else 1)


def order_leads(
    signal: np.ndarray, names: Sequence[str], *, derive_limb_leads: bool = False
) -> tuple[np.ndarray, bool]:
    """Map ``(n_channels, T)`` with channel ``names`` to ``(12, T)`` in contract order.

    Negated channels are turned. Where all twelve leads are there, other channels (Frank's leads, blood
    pressure) are left out.

    Returns:
        The ordered signal, int16 or float32, in the same memory where nothing changes; and whether limb leads
        were derived: III = II - I, aVR = -(I + II) / 2, aVL = I - II / 2, aVF = II - I / 2.

    Raises:
        BadRecord: `unknown_lead`, `duplicate_lead` or `missing_leads`.
    """
    rows, negated, missing = _rows(tuple(names), derive_limb_leads)
    if missing or signal.dtype != np.int16:  # derived leads have halves of microvolts
        signal = to_millivolts(signal)
    ordered = signal[rows]
    if negated:
        ordered[list(negated)] *= -1
    if missing:
        one, two = ordered[0], ordered[1]
        derived = {"III": two - one, "aVR": -(one + two) / 2, "aVL": one - two / 2, "aVF": two - one / 2}
        for lead in missing:
            ordered[LEADS.index(lead)] = derived[lead]
    return ordered, bool(missing)


@lru_cache(maxsize=1024)
def _rows(
    names: tuple[str, ...], derive_limb_leads: bool
) -> tuple[np.ndarray | slice, tuple[int, ...], tuple[str, ...]]:
    """Channel of each lead (any, where absent), which of the twelve to negate, and which are absent."""
    leads = [canonical_lead(name) for name in names]
    channels: dict[str, int] = {}
    for channel, lead in enumerate(leads):
        if lead and lead.name in channels:
            both = f"{names[channels[lead.name]]!r} and {names[channel]!r} are both lead {lead.name}"
            raise BadRecord("duplicate_lead", f"{both}: keep one")
        if lead:
            channels[lead.name] = channel
    missing = tuple(lead for lead in LEADS if lead not in channels)
    if missing and None in leads:
        unknown = ", ".join(repr(name) for name, lead in zip(names, leads, strict=True) if not lead)
        remedy = 'if they are, say which with sources.N.leads={CHANNEL = "LEAD"}, or predict.leads'
        problem = f"{unknown} is none of the twelve; {', '.join(missing)} not found"
        raise BadRecord("unknown_lead", f"{problem}; {remedy}")
    derivable = not any(lead.startswith("V") or lead in ("I", "II") for lead in missing)
    if missing and not (derivable and derive_limb_leads):
        remedy = "; set shards.derive_limb_leads=true to compute them from I and II" if derivable else ""
        raise BadRecord("missing_leads", f"{len(channels)} of 12 leads, without {', '.join(missing)}{remedy}")
    signs = {lead.name: lead.sign for lead in leads if lead}
    negated = tuple(row for row, lead in enumerate(LEADS) if signs.get(lead) == -1)
    if [lead and lead.name for lead in leads] == list(LEADS) and not negated:
        return slice(None), (), ()
    return np.array([channels.get(lead, 0) for lead in LEADS]), negated, missing


def to_microvolts(signal: np.ndarray) -> np.ndarray:
    """Microvolts or millivolts of any shape to int16 microvolts: rounded, and clipped at +-32.767 mV."""
    if signal.dtype == np.int16:
        return signal
    scaled = np.asarray(signal, np.float32) * np.float32(MICROVOLTS_PER_MILLIVOLT)
    np.rint(scaled, out=scaled)
    return np.clip(scaled, -MAX_MICROVOLTS, MAX_MICROVOLTS, out=scaled).astype(np.int16)


def to_millivolts(signal: np.ndarray) -> np.ndarray:
    """Microvolts or millivolts of any shape to float32 millivolts, the nearest to each microvolt."""
    if signal.dtype != np.int16:
        return signal.astype(np.float32, copy=False)
    return signal.astype(np.float32) / np.float32(MICROVOLTS_PER_MILLIVOLT)


def whole_microvolts(signal: np.ndarray) -> np.ndarray:
    """The signal as int16 microvolts where :func:`to_millivolts` restores it exactly, else unchanged.

    So the same ECG is judged alike whichever form its source holds.
    """
    if signal.dtype == np.int16:
        return signal
    with np.errstate(invalid="ignore"):  # NaN equals nothing
        signal_uv = to_microvolts(signal)
    return signal_uv if np.array_equal(to_millivolts(signal_uv), signal) else signal
