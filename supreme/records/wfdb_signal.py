"""Samples of WFDB records: format 16, the format of 12-lead sets, from its bytes; wfdb reads the rest.

Both ways give the same bits: wfdb's float64 millivolts rounded to float32, or the whole microvolts that equal
them. The first also compares the samples with the checksums and first values of the header: in 621 real
records of five sets all of them agree.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from supreme import storage
from supreme.ecg import MAX_MICROVOLTS, MICROVOLTS_PER_MILLIVOLT, BadRecord
from supreme.records.wfdb_header import MAX_VALUES, Header
from supreme.records.wfdb_layout import Encoding, Layout, Scale

#: Of one sample; the compressed formats (508, 516, 524) have no fixed number.
_BITS = {
    **{"8": 8, "80": 8, "310": 32 / 3, "311": 32 / 3, "212": 12},
    **{"16": 16, "61": 16, "160": 16, "24": 24, "32": 32},
}
#: Stands in format 16 for a sample without a value.
_INVALID = -32768
#: Of a signal whose samples are not used.
_ANY_SCALE = Scale(1.0, 0, 1.0)


def signal(header: Header, contents: Mapping[str, bytes]) -> tuple[np.ndarray, float]:
    """The signals that a header says are to be read, ``(n_signals, T)``, and their rate.

    Int16 microvolts where the samples of format 16 are whole ones, else float32 millivolts; samples without
    a value are NaN.

    Args:
        contents: the signal files by name.

    Raises:
        BadRecord: `truncated`, `too_large`, `checksum`, `first_value`, `mixed_rates` or `unreadable`.
    """
    layout, files = header.layout, tuple(dict.fromkeys(header.files))
    by_file = [[number for number, other in enumerate(header.files) if other == file] for file in files]
    plan = _plan(layout, tuple(map(tuple, by_file)))
    frames = _frames(header, files, plan, contents)
    if plan.is_plain:
        parts = [
            _samples(contents[file], len(signals), frames, offset)
            for file, signals, offset in zip(files, by_file, plan.offsets, strict=True)
        ]
        steps = parts[0] if len(parts) == 1 else np.concatenate(parts)
        first_values, checksums = header.first_values, header.checksums
        if not layout.is_whole:
            steps = steps[list(layout.rows)]
            first_values = tuple(first_values[row] for row in layout.rows)
            checksums = tuple(checksums[row] for row in layout.rows)
        sums = np.add.reduce(steps, axis=1, dtype=np.int16)
        _verify("first_value", header.names, first_values, steps[:, 0])
        _verify("checksum", header.names, checksums, sums)
        physical = _physical(layout, steps)
    else:
        units = np.array([scale.millivolts for scale in layout.scales])
        physical = (_with_wfdb(header, frames, contents) * units[:, None]).astype(np.float32)
    return physical, header.rate_hz * plan.samples_per_frame


class _Plan(NamedTuple):
    """How the files of a record are read; the same for a whole data set."""

    samples_per_frame: int
    """Of each signal that is read."""
    offsets: tuple[int, ...]
    """Of each file, in bytes."""
    frame_bits: tuple[float, ...]
    """Of each file; 0 in the compressed formats."""
    is_plain: bool
    """Whether each file holds little-endian int16, one of each of its signals in turn, and these in order."""


@lru_cache(maxsize=256)
def _plan(layout: Layout, signals: tuple[tuple[int, ...], ...]) -> _Plan:
    """``signals``: the numbers of those in each file."""
    frames = [layout.encodings[row].samples_per_frame for row in layout.rows]
    samples_per_frame = frames[0]
    if len(set(frames)) > 1:
        pairs = zip(layout.names, frames, strict=True)
        other = next(name for name, samples in pairs if samples != samples_per_frame)
        raise BadRecord("mixed_rates", f"{layout.names[0]!r} and {other!r} have different rates")
    by_file = [[layout.encodings[number] for number in numbers] for numbers in signals]
    return _Plan(
        samples_per_frame,
        tuple(encodings[0].offset for encodings in by_file),
        tuple(sum(_BITS.get(e.format, 0) * e.samples_per_frame for e in encodings) for encodings in by_file),
        all(map(_is_plain, by_file)) and [*chain(*signals)] == [*range(len(layout.encodings))],
    )


def _is_plain(encodings: Sequence[Encoding]) -> bool:
    (encoding, *other) = set(encodings)
    return not other and encoding.format == "16" and encoding.samples_per_frame == 1 and encoding.skew == 0


def _frames(header: Header, files: Sequence[str], plan: _Plan, contents: Mapping[str, bytes]) -> int:
    """Samples, or groups of them, that every signal has; 0: only wfdb can tell."""
    available = {
        file: int(8 * max(len(contents[file]) - offset, 0) // bits) if bits else None
        for file, offset, bits in zip(files, plan.offsets, plan.frame_bits, strict=True)
    }
    frames = header.samples or next(iter(available.values())) or 0
    for file, complete in available.items():
        if complete is not None and complete < max(frames, 1):
            raise BadRecord("truncated", f"{file} ends after {complete:,} of {frames:,} samples a lead")
    values = frames * header.layout.values_per_frame
    if values > MAX_VALUES:
        raise BadRecord("too_large", f"{values:,} values; at most {MAX_VALUES:,} are allowed")
    return frames


def _samples(content: bytes, signals: int, samples: int, offset: int) -> np.ndarray:
    """The samples ``(signals, samples)`` of one file, int16."""
    frames = np.frombuffer(content, "<i2", samples * signals, offset)
    return frames.reshape(samples, signals).T.astype(np.int16, order="C")


def _verify(
    reason: str, names: tuple[str, ...], announced: tuple[int | None, ...], actual: np.ndarray
) -> None:
    """Compare numbers that a header announces with those of the samples, signal by signal.

    Zeros throughout come from converters that do not compute them.
    """
    numbers = tuple(actual.tolist())
    if announced == numbers or not any(announced):
        return
    for name, expected, number in zip(names, announced, numbers, strict=True):
        if expected not in (None, number):
            raise BadRecord(reason, f"{number} in signal {name!r}, announced is {expected}")


def _physical(layout: Layout, steps: np.ndarray) -> np.ndarray:
    """Int16 microvolts, in place, or float32 millivolts."""
    lowest, highest, step_uv = int(steps.min()), int(steps.max()), _microvolts_per_step(layout)
    if step_uv is not None and max(highest, -lowest) * int(step_uv.max()) <= MAX_MICROVOLTS:
        steps *= step_uv
        return steps
    gains, baselines, units = _columns(layout)
    physical: np.ndarray = steps.astype(gains.dtype)
    if baselines.any():
        physical -= baselines
    physical /= gains
    if (units != 1).any():
        physical *= units
    if lowest == _INVALID:
        physical[steps == _INVALID] = np.nan
    return physical.astype(np.float32, copy=False)


@lru_cache(maxsize=256)
def _microvolts_per_step(layout: Layout) -> np.ndarray | None:
    """Int16 ``(n_signals, 1)``; None where not all are whole numbers or zero is not the converter's zero."""
    step_uv = [round(MICROVOLTS_PER_MILLIVOLT / scale.gain) for scale in layout.scales]
    plain = [
        0 < each <= MAX_MICROVOLTS
        and each * scale.gain == MICROVOLTS_PER_MILLIVOLT
        and scale.millivolts == 1
        and not scale.baseline
        for each, scale in zip(step_uv, layout.scales, strict=True)
    ]
    return np.array(step_uv, np.int16)[:, None] if all(plain) else None


@lru_cache(maxsize=256)
def _columns(layout: Layout) -> np.ndarray:
    """Gains, baselines and units ``(3, n_signals, 1)``, float32 where that is as good as float64."""
    dtype = np.float32 if all(map(_is_exact_in_float32, layout.scales)) else np.float64
    return np.array(layout.scales, dtype).T[:, :, None]


def _is_exact_in_float32(scale: Scale) -> bool:
    """Whether float32 gives the float64 result, rounded.

    A quotient of two numbers that float32 holds is the same either way (Figueroa 1995, double rounding).
    """
    is_exact = float(np.float32(scale.gain)) == scale.gain and abs(scale.baseline) < 2**23
    return is_exact and scale.millivolts == 1


def _with_wfdb(header: Header, frames: int, contents: Mapping[str, bytes]) -> np.ndarray:
    """Let wfdb read copies of the signal files with a header that is made here and calls every unit mV."""
    import wfdb  # takes a quarter of a second, and hardly a record needs it

    layout = header.layout
    names = {file: f"{number}.dat" for number, file in enumerate(contents)}
    scales = dict(zip(layout.rows, layout.scales, strict=True))
    lines = [f"record {len(header.files)} 1 {frames or ''}"]
    signals = zip(header.files, layout.encodings, header.first_values, strict=True)
    for row, (file, encoding, first_value) in enumerate(signals):
        scale = scales.get(row, _ANY_SCALE)
        how = f"{encoding.format}x{encoding.samples_per_frame}:{encoding.skew}+{encoding.offset}"
        values = f"{scale.gain!r}({scale.baseline})/mV 0 0 {first_value or 0} 0 0 lead"
        lines.append(f"{names[file]} {how} {values}")
    with tempfile.TemporaryDirectory(prefix="supreme-wfdb-") as place:
        try:
            for file, content in contents.items():
                Path(place, names[file]).write_bytes(content)
            Path(place, "record.hea").write_text("\n".join(lines) + "\n")
        except OSError as error:
            raise storage.Unavailable(f"no room for temporary files in {place}: {error}") from error
        try:
            read = wfdb.rdrecord(f"{place}/record", physical=True, smooth_frames=False)
        except Exception as error:
            raise BadRecord("unreadable", f"{type(error).__name__}: {error}") from error
    return np.array([read.e_p_signal[row] for row in layout.rows])
