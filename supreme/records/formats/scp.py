"""SCP-ECG (EN 1064, ISO 11073-91064): leads in differences, plain or in the default Huffman table.

Tables of a file's own, bimodal compression and subtraction of a reference beat are not read; the reason of
the refusal says which it is.
"""

from __future__ import annotations

import struct

import numpy as np

from supreme.ecg import BadRecord
from supreme.records.cells import parse_age, parse_sex
from supreme.records.formats.ecg_file import (
    LEADS_BY_NUMBER,
    EcgFile,
    check_size,
    lines,
    millivolts,
    usual_leads,
)
from supreme.records.formats.scp_huffman import decode

_HEADER_BYTES = 16
_PATIENT, _HUFFMAN, _LEADS, _RHYTHM, _REPORT, _STATEMENTS = 1, 2, 3, 6, 8, 11
_DEFAULT_TABLE = 19999
_MAX_LEADS = 85
#: Tags of section 1.
_ID, _AGE, _SEX, _MACHINE, _DATE, _TIME, _END = 2, 4, 8, 14, 25, 26, 255
_AGE_UNITS = {1: "years", 2: "months", 3: "weeks", 4: "days"}
_SEXES = {1: "M", 2: "F"}


def read(content: bytes) -> EcgFile:
    """The rhythm of an SCP-ECG file.

    Raises:
        BadRecord: `unsupported`, `truncated`, `median_beat_only`, `mixed_rates` or `unreadable`.
    """
    sections = _sections(content)
    if _RHYTHM not in sections:
        raise BadRecord("median_beat_only", "no section 6, which holds the rhythm")
    if _LEADS not in sections:
        raise BadRecord("unreadable", "no section 3, which names the leads")
    is_compressed = _is_compressed(sections.get(_HUFFMAN, b""))
    names, samples = _leads(sections[_LEADS])
    signal_mv, rate_hz = _rhythm(sections[_RHYTHM], len(names), samples, is_compressed)
    signal_mv, names = usual_leads(signal_mv, names)
    tags = _tags(sections.get(_PATIENT, b""))
    age, sex = tags.get(_AGE, b""), tags.get(_SEX, b"")
    statements = _text_statements(sections.get(_REPORT, b""))
    is_overread = sections.get(_REPORT, b"\0")[0] in (1, 2)
    return EcgFile(
        signal_mv=signal_mv,
        leads=names,
        rate_hz=rate_hz,
        stores_eight_leads=True,
        patient_id=_text(tags.get(_ID, b"")),
        recorded_at=_time(tags),
        age=parse_age(f"{int.from_bytes(age[:2], 'little')} {_AGE_UNITS.get(age[2])}")
        if len(age) == 3
        else None,
        sex=parse_sex(_SEXES.get(sex[0], "")) if sex else "",
        machine=_text(tags.get(_MACHINE, b"")[8:14]),
        statements=() if is_overread else statements,
        overread=statements if is_overread else (),
    )


def _sections(content: bytes) -> dict[int, bytes]:
    """Content of each section by number, without its header; empty ones are left out."""
    _, _, length = struct.unpack_from("<HHI", content, 6)
    if length < _HEADER_BYTES or 6 + length > len(content):
        raise BadRecord("truncated", "the table of sections is cut off")
    sections: dict[int, bytes] = {}
    for place in range(6 + _HEADER_BYTES, 6 + length - 9, 10):
        number, size, index = struct.unpack_from("<HII", content, place)
        if size <= _HEADER_BYTES or number == 0:
            continue
        start = index - 1
        if start < 0 or start + size > len(content):
            raise BadRecord("truncated", f"section {number} of {size:,} bytes is cut off")
        sections.setdefault(number, content[start + _HEADER_BYTES : start + size])
    return sections


def _is_compressed(section: bytes) -> bool:
    if not section:
        return False
    (tables,) = struct.unpack_from("<H", section)
    if tables != _DEFAULT_TABLE:
        raise BadRecord(
            "unsupported", f"SCP-ECG with {tables} Huffman tables of its own; the default is read"
        )
    return True


def _leads(section: bytes) -> tuple[tuple[str, ...], int]:
    """Names of the leads, and samples of each."""
    count, flags = struct.unpack_from("<BB", section)
    if not 1 <= count <= _MAX_LEADS:
        raise BadRecord("unreadable", f"{count} leads")
    if flags & 1:
        raise BadRecord("unsupported", "SCP-ECG whose rhythm is stored without a reference beat")
    leads = [struct.unpack_from("<IIB", section, 2 + 9 * number) for number in range(count)]
    spans = {(first, last) for first, last, _ in leads}
    if len(spans) > 1:
        raise BadRecord("mixed_rates", "the leads begin or end at different samples")
    first, last = spans.pop()
    check_size(count, last - first + 1)
    return tuple(LEADS_BY_NUMBER.get(code, f"lead {code}") for _, _, code in leads), last - first + 1


def _rhythm(section: bytes, leads: int, samples: int, is_compressed: bool) -> tuple[np.ndarray, float]:
    """Millivolts ``(leads, samples)`` and the rate."""
    step_nv, step_us, order, bimodal = struct.unpack_from("<HHBB", section)
    if bimodal:
        raise BadRecord("unsupported", "SCP-ECG with bimodal compression")
    if order > 2:
        raise BadRecord("unreadable", f"differences of order {order}")
    if step_us == 0:
        raise BadRecord("unknown_rate", "a sample of 0 us")
    sizes = struct.unpack_from(f"<{leads}H", section, 6)
    steps, place = np.empty((leads, samples), np.int64), 6 + 2 * leads
    for row, size in enumerate(sizes):
        data = section[place : place + size]
        if len(data) < size:
            raise BadRecord("truncated", f"lead {row + 1} has {len(data):,} of {size:,} bytes")
        steps[row] = decode(data, samples) if is_compressed else _plain(data, samples)
        place += size
    if order == 2 and samples > 1:
        # The first two samples are stored as they are.
        steps[:, 1] -= steps[:, 0]
        np.cumsum(steps[:, 1:], axis=1, out=steps[:, 1:])
    if order:
        np.cumsum(steps, axis=1, out=steps)
    return millivolts(steps, step_nv, "nV"), round(1e6 / step_us, 6)


def _plain(data: bytes, samples: int) -> np.ndarray:
    if len(data) < 2 * samples:
        raise BadRecord("truncated", f"{len(data):,} bytes instead of {2 * samples:,}")
    return np.frombuffer(data, "<i2", samples)


def _tags(section: bytes) -> dict[int, bytes]:
    """Fields of section 1 that are read; others, such as names, are skipped."""
    tags: dict[int, bytes] = {}
    place = 0
    while place + 3 <= len(section) and section[place] != _END:
        tag, size = struct.unpack_from("<BH", section, place)
        if tag in (_ID, _AGE, _SEX, _MACHINE, _DATE, _TIME):
            tags[tag] = section[place + 3 : place + 3 + size]
        place += 3 + size
    return tags


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "replace").strip()


def _time(tags: dict[int, bytes]) -> str:
    date, time = tags.get(_DATE, b""), tags.get(_TIME, b"")
    if len(date) < 4:
        return ""
    year, month, day = struct.unpack_from("<HBB", date)
    return f"{year:04}-{month:02}-{day:02}" + (
        " {:02}:{:02}:{:02}".format(*time[:3]) if len(time) >= 3 else ""
    )


def _text_statements(section: bytes) -> tuple[str, ...]:
    """The lines of section 8: confirmed, date and time, count; then number, length and text of each."""
    texts, place = [], 9
    for _ in range(section[8] if len(section) > 8 else 0):
        if place + 3 > len(section):
            break
        (size,) = struct.unpack_from("<H", section, place + 1)
        texts.append(_text(section[place + 3 : place + 3 + size]))
        place += 3 + size
    return lines(texts)
