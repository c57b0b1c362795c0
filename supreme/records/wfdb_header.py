"""WFDB headers, read strictly: input from strangers that names files and announces sizes.

A header may not name a file outside its own folder nor ask for absurd sizes, and what it leaves open (rate,
gain) is refused instead of guessed. Optional fields are told apart as wfdb 4.3 does. Where all twelve leads
are there, other channels (pressure, respiration, markers) are left out before anything of them is judged.

Source: header(5), WFDB Applications Guide, https://physionet.org/physiotools/wag/header-5.htm
"""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

from supreme.ecg import LEADS, BadRecord, canonical_lead, millivolts_per_unit

#: Of a whole header.
MAX_BYTES = 1_000_000
MAX_SIGNALS = 64
#: Samples of all signals together: twelve leads at 500 Hz for 55 minutes.
MAX_VALUES = 20_000_000
_MAX_SKEW = 10_000
#: Steps of the converter in a millivolt; beyond, a header is wrong about its unit or gain.
_MIN_STEPS, _MAX_STEPS = 1e-6, 1e12
_NAME_PART = r"[\w\u0300-\u036f@+=-]+"
_FILE_NAME = re.compile(rf"{_NAME_PART}(\.{_NAME_PART})*")
_ENCODING = re.compile(r"(\d+)(?:x(\d+))?(?::(\d+))?(?:\+(\d+))?", re.ASCII)
_GAIN = re.compile(r"(-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?:\((-?\d{1,10})\))?(?:/(\S+))?", re.ASCII)
#: File, encoding, scale; then, if they are there: resolution, zero, first value, checksum, block size, name.
_SIGNAL = re.compile(
    r"(\S{1,100})[ \t]+(\S{1,100})[ \t]+(\S{1,100})(?!\S)"
    r"[ \t]*\d*[ \t]*(-?\d{1,18})?[ \t]*(-?\d{1,18})?[ \t]*(-?\d{1,18})?[ \t]*\d*[ \t]*"
    r"(\S?[^\t\n\r\f\v]{0,99})",
    re.ASCII,
)
#: Comments that converters write more than once: all of them count. Of others, the last.
_JOINED_COMMENTS = ("dx",)


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


class Calibration(NamedTuple):
    """What the user knows better than the headers of a data set."""

    gain_per_mv: float | None = None
    """Steps of the converter in a millivolt, for every channel, instead of gain and unit of the header."""
    leads: tuple[tuple[str, str], ...] = ()
    """Pairs of a channel's name and the lead that it holds."""


TRUST_HEADER = Calibration()


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


class Header(NamedTuple):
    """A header that passed the checks, signal by signal; without signals in files that are not read."""

    rate_hz: float
    """Of frames: a signal may have several samples in each."""
    samples: int
    """Frames; 0 where the length is that of the file."""
    layout: Layout
    files: tuple[str, ...]
    first_values: tuple[int | None, ...]
    """None where it is left out, as in ``checksums``."""
    checksums: tuple[int | None, ...]
    """The sum of all samples as int16."""
    comments: dict[str, str]
    """Lines `#Key: value`, keys in lower case; of several `#Dx` lines all values, separated by commas."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the signals that are read."""
        return self.layout.names


def parse(content: bytes, calibration: Calibration = TRUST_HEADER) -> Header:
    """Judge a header and take it apart. Lines that are not UTF-8 are read as latin-1.

    Raises:
        BadRecord: `unsafe_header`, `unknown_rate`, `unknown_gain`, `unknown_unit` or `unreadable`.
    """
    lines, comments = _lines(content)
    if not lines:
        raise BadRecord("unreadable", "the header has no record line")
    rate_hz, samples = _record_line(lines[0], len(lines) - 1)
    matches = [_SIGNAL.match(line) for line in lines[1:]]
    if None in matches:
        raise BadRecord("unreadable", f"signal line {lines[1 + matches.index(None)][:100]!r} in the header")
    columns = tuple(zip(*[match.groups() for match in matches if match], strict=True))
    files, encodings, scales, zeros, first_values, checksums, names = columns
    layout = _layout_of_all(encodings, scales, zeros, names, calibration)
    if layout is None:
        columns, rows = _without_other_files(columns, _rows(names, scales, calibration))
        files, encodings, scales, zeros, first_values, checksums, names = columns
        layout = _layout(encodings, scales, zeros, names, rows, calibration)
    for file in dict.fromkeys(files):
        if not _FILE_NAME.fullmatch(file):
            remedy = "letters, digits, - and _, with dots between them, beside the header"
            raise BadRecord("unsafe_header", f"signal file {file!r}: only a plain name is read ({remedy})")
    values = max(samples, 1) * layout.values_per_frame
    if values > MAX_VALUES:
        raise BadRecord("unsafe_header", f"{values:,} values; at most {MAX_VALUES:,} are allowed")
    firsts = tuple([int(text) if text else None for text in first_values])
    # Some headers have it as uint16.
    sums = tuple([(int(text) + 32_768) % 65_536 - 32_768 if text else None for text in checksums])
    return Header(rate_hz, samples, layout, files, firsts, sums, comments)


def _lines(content: bytes) -> tuple[list[str], dict[str, str]]:
    """The lines of a header that are not empty, and its comments."""
    lines: list[str] = []
    comments: dict[str, str] = {}
    for line in _text(content).splitlines():
        line = line.strip()
        if line.startswith("#"):
            name, colon, value = line.lstrip("# \t").partition(":")
            if colon:
                key = name.strip().casefold()
                earlier = comments.get(key) if key in _JOINED_COMMENTS else None
                comments[key] = f"{earlier},{value.strip()}" if earlier else value.strip()
        elif line:
            lines.append(line)
    return lines, comments


def _text(content: bytes) -> str:
    """UTF-8, with or without a byte-order mark; each line that is not, as latin-1."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        lines = content.removeprefix(BOM_UTF8).split(b"\n")
    if len(lines) == 1:
        return content.decode("latin-1")
    return "\n".join(map(_text, lines))


def _rows(names: tuple[str, ...], scales: tuple[str, ...], calibration: Calibration) -> tuple[int, ...]:
    """The signals that are read: the leads where all twelve are there, else all that may be one.

    A channel that is no lead by its name and no voltage by its unit is none of those either.
    """
    renamed = dict(calibration.leads)
    leads = [canonical_lead(renamed.get(name, name)) for name in names]
    if {lead.name for lead in leads if lead} == set(LEADS):
        return tuple(row for row, lead in enumerate(leads) if lead)
    known = tuple(row for row, lead in enumerate(leads) if lead or _is_voltage(scales[row]))
    return known or tuple(range(len(names)))


def _is_voltage(scale: str) -> bool:
    match = _GAIN.fullmatch(scale)
    return match is None or millivolts_per_unit(match[3] or "mV") is not None


def _without_other_files(
    columns: tuple[tuple[str, ...], ...], rows: tuple[int, ...]
) -> tuple[tuple[tuple[str, ...], ...], tuple[int, ...]]:
    """The signals in files that hold one of ``rows``; where those are among them."""
    files = {columns[0][row] for row in rows}
    remaining = [row for row, file in enumerate(columns[0]) if file in files]
    return (
        tuple(tuple(column[row] for row in remaining) for column in columns),
        tuple(number for number, row in enumerate(remaining) if row in rows),
    )


def _record_line(line: str, described: int) -> tuple[float, int]:
    """Rate and length. The record's name is of no use: some Georgia headers say "E00271.mat"."""
    name, n_signals, rate, samples = [*line.split(None, 4), "", "", ""][:4]
    announced = _integer(n_signals, "number of signals")
    if not 0 < announced <= MAX_SIGNALS:
        raise BadRecord("unsafe_header", f"{announced} signals; 1 to {MAX_SIGNALS} are allowed")
    if "/" in name:
        raise BadRecord("unreadable", "records of several segments are not supported")
    if described != announced:
        raise BadRecord("unreadable", f"{announced} signals announced, {described} described")
    # A counter's frequency and start may follow the rate: "500/250(1)".
    rate_hz = _number(rate.partition("/")[0].partition("(")[0])
    if not 0 < rate_hz < float("inf"):
        raise BadRecord("unknown_rate", f"sampling rate {rate[:100]!r} in the header")
    return rate_hz, _integer(samples, "number of samples") if samples else 0


@lru_cache(maxsize=256)
def _layout_of_all(
    encodings: tuple[str, ...],
    scales: tuple[str, ...],
    zeros: tuple[str | None, ...],
    names: tuple[str, ...],
    calibration: Calibration,
) -> Layout | None:
    """Of the texts of all signals, where all are read."""
    rows = _rows(names, scales, calibration)
    return _layout(encodings, scales, zeros, names, rows, calibration) if len(rows) == len(names) else None


@lru_cache(maxsize=256)
def _layout(
    encodings: tuple[str, ...],
    scales: tuple[str, ...],
    zeros: tuple[str | None, ...],
    names: tuple[str, ...],
    rows: tuple[int, ...],
    calibration: Calibration,
) -> Layout:
    """Of the texts of all signals."""
    renamed = dict(calibration.leads)
    return Layout(
        tuple(map(_encoding, encodings)),
        rows,
        tuple(renamed.get(names[row], names[row]) for row in rows),
        tuple(_scale(names[row], scales[row], zeros[row], calibration.gain_per_mv) for row in rows),
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
    if match is None or _number(match[1]) == 0:
        remedy = "without one there are no millivolts; if you know it, set sources.N.gain_per_mv"
        raise BadRecord("unknown_gain", f"gain {text!r} of signal {name!r}: {remedy}")
    millivolts = millivolts_per_unit(match[3] or "mV")
    if millivolts is None:
        remedy = "give mV, uV, nV or V, or set sources.N.gain_per_mv"
        raise BadRecord("unknown_unit", f"signal {name!r}: {match[3]!r} is not a voltage: {remedy}")
    gain = float(match[1])
    if not _MIN_STEPS <= abs(gain) / millivolts <= _MAX_STEPS:
        raise BadRecord("unknown_gain", f"gain {text!r} of signal {name!r} is absurd")
    return Scale(gain, int(match[2] or zero or 0), millivolts)


def _integer(text: str, what: str) -> int:
    if not text.isdecimal() or len(text) > 18:
        raise BadRecord("unsafe_header" if text.isdecimal() else "unreadable", f"{what} {text[:100]!r}")
    return int(text)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
