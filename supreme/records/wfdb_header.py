"""WFDB headers, read strictly: input from strangers that names files and announces sizes.

A header may not name a file outside its own folder nor ask for absurd sizes, and what it leaves open (rate,
gain) is refused instead of guessed. Fields that may be left out are told apart as wfdb 4.3 does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

from supreme.ecg import BadRecord

#: Of a whole header.
MAX_BYTES = 1_000_000
MAX_SIGNALS = 64
#: Samples of all signals together: twelve leads at 500 Hz for 55 minutes.
MAX_VALUES = 20_000_000
_MAX_SKEW = 10_000
#: Steps of the converter in a millivolt; beyond, a header is wrong about its unit or gain.
_MIN_STEPS, _MAX_STEPS = 1e-6, 1e12
_MILLIVOLTS_PER_UNIT = {"mv": 1.0, "uv": 1e-3, "μv": 1e-3, "v": 1e3, "nv": 1e-6}

_FILE_NAME = re.compile(r"[\w-]+(\.[\w-]+)?", re.ASCII)
_ENCODING = re.compile(r"(\d+)(?:x(\d+))?(?::(\d+))?(?:\+(\d+))?", re.ASCII)
_GAIN = re.compile(r"(-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?:\((-?\d{1,10})\))?(?:/(\S+))?", re.ASCII)
#: File, encoding, scale; then, if they are there: resolution, zero, first value, checksum, block size, name.
_SIGNAL = re.compile(
    r"(\S{1,100})[ \t]+(\S{1,100})[ \t]+(\S{1,100})(?!\S)"
    r"[ \t]*\d*[ \t]*(-?\d{1,18})?[ \t]*(-?\d{1,18})?[ \t]*(-?\d{1,18})?[ \t]*\d*[ \t]*(\S?[^\t\n\r\f\v]*)",
    re.ASCII,
)


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
    baseline: int
    millivolts: float
    """In one unit of the header."""


@dataclass(frozen=True, eq=False)
class Layout:
    """What the headers of a data set have in common, and what is worked out once for all of them."""

    encodings: tuple[Encoding, ...]
    """Of each signal."""
    scales: tuple[Scale, ...]

    @cached_property
    def values_per_frame(self) -> int:
        """Samples of all signals together."""
        return sum(encoding.samples_per_frame for encoding in self.encodings)


class Header(NamedTuple):
    """A header that passed the checks; what it says of each signal, signal by signal."""

    rate_hz: float
    samples: int
    """0 where the length is that of the file."""
    layout: Layout
    files: tuple[str, ...]
    first_values: tuple[int | None, ...]
    """None where it is left out, as in ``checksums``."""
    checksums: tuple[int | None, ...]
    """The sum of all samples as int16."""
    names: tuple[str, ...]
    comments: dict[str, str]
    """Lines `#Key: value`, keys in lower case."""


def parse(content: bytes) -> Header:
    """Judge and take apart a header.

    Raises:
        BadRecord: `unsafe_header`, `unknown_rate`, `unknown_gain`, `unknown_unit` or `unreadable`.
    """
    lines, comments = [], {}
    for line in content.decode("utf-8", "replace").splitlines():
        line = line.strip()
        if line.startswith("#"):
            key, colon, value = line.lstrip("# \t").partition(":")
            if colon:
                comments[key.strip().casefold()] = value.strip()
        elif line:
            lines.append(line)
    if not lines:
        raise BadRecord("unreadable", "the header has no record line")
    rate_hz, samples = _record_line(lines[0], len(lines) - 1)
    found = [_SIGNAL.match(line) for line in lines[1:]]
    if None in found:
        raise BadRecord("unreadable", f"signal line {lines[1 + found.index(None)][:100]!r} in the header")
    columns = zip(*[line.groups() for line in found if line], strict=True)
    files, encodings, scales, zeros, first_values, checksums, names = columns
    for file in dict.fromkeys(files):
        if not _FILE_NAME.fullmatch(file):
            raise BadRecord(
                "unsafe_header", f"signal file {file!r}: only a plain name beside the header is read"
            )
    layout = _layout(encodings, scales, zeros)
    values = max(samples, 1) * layout.values_per_frame
    if values > MAX_VALUES:
        raise BadRecord("unsafe_header", f"{values:,} values; at most {MAX_VALUES:,} are allowed")
    firsts = tuple([int(text) if text else None for text in first_values])
    # Some headers have it as uint16.
    sums = tuple([(int(text) + 32_768) % 65_536 - 32_768 if text else None for text in checksums])
    return Header(rate_hz, samples, layout, files, firsts, sums, names, comments)


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
def _layout(encodings: tuple[str, ...], scales: tuple[str, ...], zeros: tuple[str | None, ...]) -> Layout:
    """Of the texts of all signals."""
    return Layout(tuple(map(_encoding, encodings)), tuple(map(_scale, scales, zeros)))


def _encoding(text: str) -> Encoding:
    found = _ENCODING.fullmatch(text)
    if found is None:
        raise BadRecord("unreadable", f"signal format {text!r} in the header")
    frame, skew, offset = int(found[2] or 1), int(found[3] or 0), int(found[4] or 0)
    if frame == 0 or skew > _MAX_SKEW:
        raise BadRecord("unsafe_header", f"signal format {text!r}: frame or skew is absurd")
    return Encoding(found[1], frame, skew, offset)


def _scale(text: str, zero: str | None) -> Scale:
    """Gain, baseline (the converter's zero where none is given) and unit."""
    found = _GAIN.fullmatch(text)
    if found is None or _number(found[1]) == 0:
        raise BadRecord("unknown_gain", f"gain {text!r}: without one there are no millivolts")
    unit = (found[3] or "mV").casefold()
    if unit not in _MILLIVOLTS_PER_UNIT:
        raise BadRecord("unknown_unit", f"{found[3]!r} is not a voltage")
    gain, millivolts = float(found[1]), _MILLIVOLTS_PER_UNIT[unit]
    if not _MIN_STEPS <= abs(gain) / millivolts <= _MAX_STEPS:
        raise BadRecord("unknown_gain", f"gain {text!r} is absurd")
    return Scale(gain, int(found[2] or zero or 0), millivolts)


def _integer(text: str, what: str) -> int:
    if not text.isdecimal() or len(text) > 18:
        raise BadRecord("unsafe_header" if text.isdecimal() else "unreadable", f"{what} {text[:100]!r}")
    return int(text)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
