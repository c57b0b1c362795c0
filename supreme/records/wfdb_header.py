"""WFDB headers, read strictly: input from strangers that names files and announces sizes.

A header may not name a file outside its own folder nor ask for absurd sizes, and what it leaves open (rate,
gain) is refused instead of guessed. Optional fields are told apart as wfdb 4.3 does. Where all twelve leads
are there, other channels (pressure, respiration, markers) are left out before anything of them is judged.

Source: header(5), WFDB Applications Guide, https://physionet.org/physiotools/wag/header-5.htm
"""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from typing import NamedTuple

from supreme.ecg import BadRecord
from supreme.records.wfdb_layout import (
    TRUST_HEADER,
    HeaderOverrides,
    Layout,
    layout_of,
    layout_of_all,
    number_of,
    rows_of,
)

#: Of a whole header.
MAX_BYTES = 1_000_000
MAX_SIGNALS = 64
#: Samples of all signals together: twelve leads at 500 Hz for 55 minutes.
MAX_VALUES = 20_000_000
_NAME_PART = r"[\w\u0300-\u036f@+=-]+"
_FILE_NAME = re.compile(rf"{_NAME_PART}(\.{_NAME_PART})*")
#: File, encoding, scale; then, if they are there: resolution, zero, first value, checksum, block size, name.
_SIGNAL = re.compile(
    r"(\S{1,100})[ \t]+(\S{1,100})[ \t]+(\S{1,100})(?!\S)"
    r"[ \t]*\d*[ \t]*(-?\d{1,18})?[ \t]*(-?\d{1,18})?[ \t]*(-?\d{1,18})?[ \t]*\d*[ \t]*"
    r"(\S?[^\t\n\r\f\v]{0,99})",
    re.ASCII,
)
#: Comments that converters write more than once: all of them count. Of others, the last.
_JOINED_COMMENTS = ("dx",)


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


def parse(content: bytes, overrides: HeaderOverrides = TRUST_HEADER) -> Header:
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
    layout = layout_of_all(encodings, scales, zeros, names, overrides)
    if layout is None:
        columns, rows = _without_other_files(columns, rows_of(names, scales, overrides))
        files, encodings, scales, zeros, first_values, checksums, names = columns
        layout = layout_of(encodings, scales, zeros, names, rows, overrides)
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
    rate_hz = number_of(rate.partition("/")[0].partition("(")[0])
    if not 0 < rate_hz < float("inf"):
        raise BadRecord("unknown_rate", f"sampling rate {rate[:100]!r} in the header")
    return rate_hz, _integer(samples, "number of samples") if samples else 0


def _integer(text: str, what: str) -> int:
    if not text.isdecimal() or len(text) > 18:
        raise BadRecord("unsafe_header" if text.isdecimal() else "unreadable", f"{what} {text[:100]!r}")
    return int(text)
