"""How the signals of WFDB records lie in their files, and what makes them millivolts.

The records of a data set mostly agree in it, so that it is worked out once for all of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

from supreme.ecg import LEADS, BadRecord, canonical_lead, millivolts_per_unit

_MAX_SKEW = 10_000
#: Steps of the converter in a millivolt; beyond, a header is wrong about its unit or gain.
_MIN_STEPS, _MAX_STEPS = 1e-6, 1e12
_ENCODING = re.compile(r"(\d+)(?:x(\d+))?(?::(\d+))?(?:\+(\d+))?", re.ASCII)
_GAIN = re.compile(r"(-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?:\((-?\d{1,10})\))?(?:/(\S+))?", re.ASCII)


class Encoding(NamedTuple):
    """How the samples of a signal lie in its file."""

    format: str
    """WFDB's number of the format; 16: little-endian int16."""
    samples_per_frame: int
    skew: int
    offset: int
    """Bytes before the first sample; 24 in MATLAB 4 files."""


class Scale(NamedTuple):
    """From the converter's steps to millivolts: ``(step - baseline) / gain * millivolts``."""

    gain: float
    """Steps in one unit of the header."""
    baseline: int
    millivolts: float
    """In one unit of the header."""


class HeaderOverrides(NamedTuple):
    """What the user knows better than the headers of a data set."""

    gain_per_mv: float | None = None
    """Steps of the converter in a millivolt, for every channel, instead of gain and unit of the header."""
    leads: tuple[tuple[str, str], ...] = ()
    """Pairs of a channel's name and the lead that it holds."""


TRUST_HEADER = HeaderOverrides()


@dataclass(frozen=True, eq=False)
class Layout:
    """What the headers of a data set have in common, worked out once for all of them."""

    encodings: tuple[Encoding, ...]
    """Of each signal."""
    rows: tuple[int, ...]
    """The signals that are read: the twelve leads, or all."""
    names: tuple[str, ...]
    """Of each signal that is read."""
    scales: tuple[Scale, ...]
    """Of each signal that is read."""

    @cached_property
    def values_per_frame(self) -> int:
        """Samples of all signals together."""
        return sum(encoding.samples_per_frame for encoding in self.encodings)

    @cached_property
    def gains(self) -> tuple[float, ...]:
        """Steps in a millivolt of each signal that is read, where they differ; else empty."""
        gains = tuple(scale.gain / scale.millivolts for scale in self.scales)
        return gains if len(set(gains)) > 1 else ()

    @property
    def is_whole(self) -> bool:
        """Whether all signals are read."""
        return len(self.rows) == len(self.encodings)


@lru_cache(maxsize=256)
def layout_of_all(
    encodings: tuple[str, ...],
    scales: tuple[str, ...],
    zeros: tuple[str | None, ...],
    names: tuple[str, ...],
    overrides: HeaderOverrides,
) -> Layout | None:
    """Of the texts of all signals, where all are read."""
    rows = rows_of(names, scales, overrides)
    return layout_of(encodings, scales, zeros, names, rows, overrides) if len(rows) == len(names) else None


@lru_cache(maxsize=256)
def layout_of(
    encodings: tuple[str, ...],
    scales: tuple[str, ...],
    zeros: tuple[str | None, ...],
    names: tuple[str, ...],
    rows: tuple[int, ...],
    overrides: HeaderOverrides,
) -> Layout:
    """Of the texts of all signals."""
    renamed = dict(overrides.leads)
    return Layout(
        tuple(map(_encoding, encodings)),
        rows,
        tuple(renamed.get(names[row], names[row]) for row in rows),
        tuple(_scale(names[row], scales[row], zeros[row], overrides.gain_per_mv) for row in rows),
    )


def _encoding(text: str) -> Encoding:
    match = _ENCODING.fullmatch(text)
    if match is None:
        raise BadRecord("unreadable", f"signal format {text!r} in the header")
    frame, skew, offset = int(match[2] or 1), int(match[3] or 0), int(match[4] or 0)
    if frame == 0 or skew > _MAX_SKEW:
        raise BadRecord("unsafe_header", f"signal format {text!r}: frame or skew is absurd")
    return Encoding(match[1], frame, skew, offset)


def _scale(name: str, text: str, zero: str | None, gain_per_mv: float | None) -> Scale:
    """Gain, baseline (the converter's zero where none is given) and unit."""
    match = _GAIN.fullmatch(text)
    if gain_per_mv is not None:
        return Scale(gain_per_mv, int((match and match[2]) or zero or 0), 1.0)
    if match is None or number_of(match[1]) == 0:
        remedy = "without one there are no millivolts; set gain_per_mv of the source or of [predict]"
        raise BadRecord("unknown_gain", f"gain {text!r} of signal {name!r}: {remedy}")
    millivolts = millivolts_per_unit(match[3] or "mV")
    if millivolts is None:
        remedy = "give mV, uV, nV or V, or set gain_per_mv of the source or of [predict]"
        raise BadRecord("unknown_unit", f"signal {name!r}: {match[3]!r} is not a voltage: {remedy}")
    gain = float(match[1])
    if not _MIN_STEPS <= abs(gain) / millivolts <= _MAX_STEPS:
        raise BadRecord("unknown_gain", f"gain {text!r} of signal {name!r} is absurd")
    return Scale(gain, int(match[2] or zero or 0), millivolts)


def rows_of(names: tuple[str, ...], scales: tuple[str, ...], overrides: HeaderOverrides) -> tuple[int, ...]:
    """The signals that are read: the leads where all twelve are there, else all that may be one.

    A channel that is no lead by its name and no voltage by its unit is none of those either.
    """
    renamed = dict(overrides.leads)
    leads = [canonical_lead(renamed.get(name, name)) for name in names]
    if {lead.name for lead in leads if lead} == set(LEADS):
        return tuple(row for row, lead in enumerate(leads) if lead)
    known = tuple(row for row, lead in enumerate(leads) if lead or _is_voltage(scales[row]))
    return known or tuple(range(len(names)))


def _is_voltage(scale: str) -> bool:
    match = _GAIN.fullmatch(scale)
    return match is None or millivolts_per_unit(match[3] or "mV") is not None


def number_of(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
