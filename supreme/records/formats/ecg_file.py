"""What a reader of one ECG file returns, and the arithmetic that every reader shares.

A reader is a function ``read(content: bytes) -> EcgFile`` in a file of this folder. It takes names, birth
dates and addresses from no file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from supreme.ecg import BadRecord, canonical_lead, millivolts_per_unit
from supreme.records.wfdb_header import MAX_VALUES

#: Of a file; the longest record that is read takes four bytes a sample.
MAX_BYTES = 4 * MAX_VALUES
#: The leads from which the other four follow.
INDEPENDENT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
#: Leads by number in SCP-ECG, DICOM's SCPECG codes ("5.6.3-9-1") and MDC codes ("2:1").
LEADS_BY_NUMBER = {
    **dict(enumerate(INDEPENDENT, 1)),
    **{61: "III", 62: "aVR", 63: "aVL", 64: "aVF", 65: "-aVR"},
}
#: Who signed is no finding, and is a name: what follows is cut off.
_SIGNATURE = re.compile(
    r"\b(?:electronically\s+)?(?:un)?(?:confirmed|reviewed|over-?read|interpreted|read|referred|signed|edited|"
    r"verified|validated|ordered|requested|acquired|dictated)\s*by\b.*"
    r"|\b(?:technician|operator|physician|cardiologist|overreader|editor|signature)\s*:.*"
    r"|\b(?:dr|prof)\b\.?\s.*",
    re.IGNORECASE | re.DOTALL,
)
_STATUS = re.compile(r"(?:un|not )?confirmed(?: diagnosis| report| ecg| interpretation)?\.?", re.IGNORECASE)
_CONFIRMED = re.compile(r"\s*(?:confirmed|over-?read|reviewed|electronically signed)\b", re.IGNORECASE)


@dataclass(frozen=True)
class EcgFile:
    """One ECG file: its rhythm, and what the file says of it."""

    signal_mv: np.ndarray
    """``(n_channels, T)`` float32 millivolts."""
    leads: tuple[str, ...]
    """Name of each channel."""
    rate_hz: float
    stores_eight_leads: bool = False
    """The format stores I, II and V1 to V6, from which the other four follow."""
    patient_id: str = ""
    """As the file has it: it must be hashed before it is stored."""
    recorded_at: str = ""
    """Date and time of the recording, as the file writes them."""
    age: float | None = None
    """In years."""
    sex: str = ""
    """F, M or empty."""
    machine: str = ""
    """Manufacturer and model."""
    statements: tuple[str, ...] = ()
    """The interpretation of the device, one line each."""
    overread: tuple[str, ...] = ()
    """The interpretation that a physician has confirmed or edited, one line each."""

    @property
    def report(self) -> str:
        """The physician's lines, or the device's where there are none."""
        return "\n".join(self.overread or self.statements)


def millivolts(
    steps: np.ndarray, size: float | np.ndarray, unit: str, offset: float | np.ndarray = 0.0
) -> np.ndarray:
    """Samples of a converter as float32 millivolts: ``steps * size + offset``, both in ``unit``.

    Raises:
        BadRecord: `unknown_unit` or `unknown_gain`.
    """
    factor = millivolts_per_unit(unit)
    if factor is None:
        raise BadRecord(
            "unknown_unit", f"{unit[:40]!r} is no voltage" if unit else "the samples have no unit"
        )
    sizes = np.asarray(size, np.float64)
    if not (np.isfinite(sizes).all() and (sizes != 0).all() and np.isfinite(offset).all()):
        raise BadRecord("unknown_gain", f"a step of {size} {unit} is no size of a step")
    # In float64, so that equal samples are equal bits, whichever way a format writes its scale.
    with np.errstate(over="ignore"):  # infinity is refused later
        return ((steps.astype(np.float64) * sizes + offset) * factor).astype(np.float32)


def check_size(channels: int, samples: int) -> None:
    """Refuse what is too large before memory is taken.

    Raises:
        BadRecord: `too_large`, or `empty_file` without channels or samples.
    """
    if channels < 1 or samples < 1:
        raise BadRecord("empty_file", f"{channels} channels of {samples} samples")
    if channels * samples > MAX_VALUES:
        raise BadRecord("too_large", f"{channels * samples:,} values; at most {MAX_VALUES:,} are allowed")


def number(text: object, what: str, reason: str = "unreadable") -> float:
    """A finite number in a file's text.

    Raises:
        BadRecord: ``reason``, naming ``what``.
    """
    try:
        value = float(str(text).strip())
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise BadRecord(reason, f"{what}: {str(text).strip()[:40]!r} is no number")
    return value


def usual_leads(signal: np.ndarray, names: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Without channels such as V3R and V7, where I, II and V1 to V6 are there."""
    leads = [canonical_lead(name) for name in names]
    if {lead.name for lead in leads if lead} >= set(INDEPENDENT):
        rows = [row for row, lead in enumerate(leads) if lead]
        return signal[rows], tuple(names[row] for row in rows)
    return signal, tuple(names)


def choose_rhythm(groups: Sequence[Sequence[str]]) -> int:
    """Number of the only group of leads that can be the rhythm, of groups that are no median beat.

    Raises:
        BadRecord: `median_beat_only` for no group, `several_rhythms` where more than one may be meant.
    """
    if not groups:
        raise BadRecord("median_beat_only", "the file holds a representative beat, and no rhythm")
    names = [{lead.name for name in group if (lead := canonical_lead(name))} for group in groups]
    complete = [place for place, leads in enumerate(names) if leads >= set(INDEPENDENT)]
    if len(complete) == 1:
        return complete[0]
    if len(groups) == 1:
        return 0
    listed = " | ".join(" ".join(group)[:60] for group in groups[:5])
    raise BadRecord(
        "several_rhythms", f"{len(groups)} groups of leads ({listed}): export the one that is meant"
    )


def lines(statements: Iterable[str]) -> tuple[str, ...]:
    """Statements without blanks at their ends, empty lines, and what says who signed."""
    texts = (_SIGNATURE.sub("", " ".join(statement.split())).rstrip(" ,;:-(") for statement in statements)
    return tuple(text for text in texts if text and not _STATUS.fullmatch(text))


def is_confirmed(text: str) -> bool:
    """Whether a line says that a physician has confirmed what stands with it."""
    return bool(_CONFIRMED.match(text))
