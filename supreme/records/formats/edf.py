"""EDF and EDF+C (Kemp et al. 1992, 2003): 16-bit samples with physical and digital ranges.

The patient field of plain EDF is free text, which may be a name: it is read in EDF+ only, whose first two
words are the patient's code and sex.
"""

from __future__ import annotations

import numpy as np

from supreme.ecg import LEADS, BadRecord, canonical_lead, millivolts_per_unit
from supreme.records.cells import parse_sex
from supreme.records.formats.ecg_file import EcgFile, check_size, millivolts, number

_HEADER_BYTES, _MAX_SIGNALS = 256, 256
#: Widths of the fields of a signal's header, of which each field holds those of all signals.
_WIDTHS = {
    **{"label": 16, "transducer": 80, "unit": 8, "low": 8, "high": 8, "lowest": 8, "highest": 8},
    **{"filter": 80, "samples": 8},
}
_WITH_GAPS = "EDF+D"


def read(content: bytes) -> EcgFile:
    """The ECG channels of an EDF file; other channels are left out.

    Raises:
        BadRecord: `unsafe_header`, `truncated`, `mixed_rates`, `unknown_rate`, `unknown_unit`,
            `unknown_gain`, `unreadable`; `unsupported` for a file with gaps.
    """
    header = content[:_HEADER_BYTES].decode("latin-1")
    if header[192:236].startswith(_WITH_GAPS):
        raise BadRecord("unsupported", "EDF+D, a recording with gaps: export it as EDF or EDF+C")
    signals = int(number(header[252:256], "number of signals"))
    if not 1 <= signals <= _MAX_SIGNALS:
        raise BadRecord("unsafe_header", f"{signals} signals; 1 to {_MAX_SIGNALS} are read")
    start = _HEADER_BYTES * (signals + 1)
    if len(content) < start:
        raise BadRecord("truncated", f"{len(content):,} bytes end within the header of {signals} signals")
    fields = _fields(content, signals)
    counts = [int(number(text, "samples in a block")) for text in fields["samples"]]
    rows = _ecg_channels(fields, counts)
    if not rows:
        raise BadRecord("no_ecg", f"no channel is a voltage: {', '.join(fields['label'])[:200]}")
    if len({counts[row] for row in rows}) != 1 or min(counts) < 0 or counts[rows[0]] == 0:
        raise BadRecord("mixed_rates", "the ECG's channels have different rates")
    steps = _steps(content[start:], header, counts, rows)
    duration_s = number(header[244:252], "duration of a block", "unknown_rate")
    if duration_s <= 0:
        raise BadRecord("unknown_rate", f"blocks of {duration_s:g} s")
    is_plus = header[192:236].startswith("EDF+")
    code, sex, *_ = [*header[8:88].split(), "X", "X"] if is_plus else ("X", "X")
    return EcgFile(
        signal_mv=np.stack([_millivolts(fields, row, one) for row, one in zip(rows, steps, strict=True)]),
        leads=tuple(fields["label"][row] for row in rows),
        rate_hz=round(counts[rows[0]] / duration_s, 6),
        patient_id="" if code == "X" else code,
        recorded_at=f"{header[168:176]} {header[176:184]}".strip(),
        sex=parse_sex(sex),
    )


def _ecg_channels(fields: dict[str, list[str]], counts: list[int]) -> list[int]:
    """Channels whose labels name leads; with every other voltage at their rate where a lead is missing."""
    labels = fields["label"]
    named = {row: lead.name for row, label in enumerate(labels) if (lead := canonical_lead(label))}
    if set(named.values()) >= set(LEADS):
        return [*named]
    rates = {counts[row] for row in named} or set(counts)
    return [
        row
        for row, label in enumerate(labels)
        if row in named
        or ("annotation" not in label.casefold() and counts[row] in rates and _is_voltage(fields, row))
    ]


def _is_voltage(fields: dict[str, list[str]], row: int) -> bool:
    return not fields["unit"][row] or millivolts_per_unit(fields["unit"][row]) is not None


def _fields(content: bytes, signals: int) -> dict[str, list[str]]:
    fields: dict[str, list[str]] = {}
    place = _HEADER_BYTES
    for name, width in _WIDTHS.items():
        text = content[place : place + width * signals].decode("latin-1")
        fields[name] = [text[first : first + width].strip() for first in range(0, width * signals, width)]
        place += width * signals
    return fields


def _steps(data: bytes, header: str, counts: list[int], rows: list[int]) -> np.ndarray:
    """Samples ``(n_rows, T)`` of the converter."""
    block = sum(counts)
    available = len(data) // (2 * block)
    blocks = int(number(header[236:244], "number of blocks"))
    if blocks == -1:  # still being recorded
        blocks = available
    if blocks > available or blocks < 0:
        raise BadRecord("truncated", f"{available:,} of {blocks:,} blocks are there")
    check_size(block, blocks)
    frames = np.frombuffer(data, "<i2", blocks * block).reshape(blocks, block)
    starts = np.cumsum([0, *counts])
    return np.stack([frames[:, starts[row] : starts[row + 1]].reshape(-1) for row in rows])


def _millivolts(fields: dict[str, list[str]], row: int, steps: np.ndarray) -> np.ndarray:
    label = fields["label"][row]
    low, high, lowest, highest = (
        number(fields[name][row], f"range of {label!r}", "unknown_gain")
        for name in ("low", "high", "lowest", "highest")
    )
    if lowest == highest:
        raise BadRecord("unknown_gain", f"{label!r}: digital minimum and maximum are equal")
    size = (high - low) / (highest - lowest)
    return millivolts(steps, size, fields["unit"][row], low - lowest * size)
