"""Samples of WFDB records: format 16, in which 12-lead sets come, from its bytes; wfdb reads the rest.

Both ways give the same bits: the float64 millivolts of wfdb, rounded to float32. The first also holds the
samples against the checksums and first values of the header: in 621 real records of five sets all are right.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from operator import attrgetter

import numpy as np
import wfdb

from supreme.ecg import BadRecord
from supreme.records.wfdb_header import MAX_VALUES, Encoding, Header, Scale, Signal

#: Of one sample; the compressed formats (508, 516, 524) have no fixed number.
_BITS = {
    "8": 8,
    "16": 16,
    "24": 24,
    "32": 32,
    "61": 16,
    "80": 8,
    "160": 16,
    "212": 12,
    "310": 32 / 3,
    "311": 32 / 3,
}
#: What stands in format 16 for a sample that was not taken.
_INVALID = -32768


def signal_mv(header: Header, contents: Mapping[str, bytes]) -> tuple[np.ndarray, float]:
    """Float32 millivolts ``(n_signals, T)`` and their rate; ``contents``: the signal files by name.

    Samples that were not taken are NaN.

    Raises:
        BadRecord: `truncated`, `checksum`, `first_value`, `mixed_rates` or `unreadable`.
    """
    signals = header.signals
    (frame, *other) = {signal.encoding.samples_per_frame for signal in signals}
    if other:
        raise BadRecord("mixed_rates", "the signals have different numbers of samples a frame")
    files = [list(group) for _, group in groupby(signals, key=attrgetter("file", "encoding"))]
    if len(files) == len(contents) and all(_is_plain(group[0].encoding) for group in files):
        samples = header.samples or _samples_in(files[0], contents)
        parts = [_samples(group, contents[group[0].file], samples) for group in files]
        steps = parts[0] if len(parts) == 1 else np.concatenate(parts)
        sums = np.add.reduce(steps, axis=1, dtype=np.int16)
        _verify("first_value", signals, [signal.first_value for signal in signals], steps[:, 0].tolist())
        _verify("checksum", signals, [signal.checksum for signal in signals], sums.tolist())
        physical = _to_millivolts(tuple(signal.scale for signal in signals), steps)
    else:
        units = np.array([signal.scale.millivolts for signal in signals])
        physical = (_with_wfdb(header, contents) * units[:, None]).astype(np.float32)
    return physical, header.rate_hz * frame


def _is_plain(encoding: Encoding) -> bool:
    """Whether samples are little-endian int16, one of each signal in turn."""
    return encoding.format == "16" and encoding.samples_per_frame == 1 and encoding.skew == 0


def _samples_in(signals: Sequence[Signal], contents: Mapping[str, bytes]) -> int:
    size = len(contents[signals[0].file]) - signals[0].encoding.offset
    return max(size, 0) // (2 * len(signals))


def _samples(signals: Sequence[Signal], content: bytes, samples: int) -> np.ndarray:
    """The samples ``(n_signals, samples)`` of one file, int16."""
    n_signals, offset = len(signals), signals[0].encoding.offset
    there = max(len(content) - offset, 0) // (2 * n_signals)
    if there < samples or not samples:
        raise BadRecord("truncated", f"{signals[0].file} holds {there:,} of {samples:,} samples a lead")
    frames = np.frombuffer(content, "<i2", samples * n_signals, offset)
    return np.ascontiguousarray(frames.reshape(samples, n_signals).T)


def _verify(reason: str, signals: Sequence[Signal], announced: list[int | None], found: list[int]) -> None:
    """Hold numbers that a header announces against those of the samples, signal by signal.

    Zeros throughout are what converters write that do not compute them.
    """
    if announced == found or not any(announced):
        return
    for signal, expected, number in zip(signals, announced, found, strict=True):
        if expected not in (None, number):
            raise BadRecord(reason, f"{number} in signal {signal.name!r}, announced is {expected}")


def _to_millivolts(scales: tuple[Scale, ...], steps: np.ndarray) -> np.ndarray:
    gains, baselines, units = _columns(scales)
    physical: np.ndarray = steps.astype(gains.dtype)
    if baselines.any():
        physical -= baselines
    physical /= gains
    if (units != 1).any():
        physical *= units
    if steps.min() == _INVALID:
        physical[steps == _INVALID] = np.nan
    return physical.astype(np.float32, copy=False)


@lru_cache(maxsize=256)
def _columns(scales: tuple[Scale, ...]) -> np.ndarray:
    """Gains, baselines and units ``(3, n_signals, 1)``, float32 where that is as good as float64."""
    dtype = np.float32 if all(map(_is_exact_in_float32, scales)) else np.float64
    return np.array(scales, dtype).T[:, :, None]


def _is_exact_in_float32(scale: Scale) -> bool:
    """Whether float32 gives the float64 result, rounded.

    A quotient of two numbers that float32 holds is the same either way (Figueroa 1995, double rounding).
    """
    held = float(np.float32(scale.gain)) == scale.gain and abs(scale.baseline) < 2**23
    return held and scale.millivolts == 1


def _with_wfdb(header: Header, contents: Mapping[str, bytes]) -> np.ndarray:
    """Let wfdb read a header that is made here and copies of the signal files."""
    for file, content in contents.items():
        encodings = [signal.encoding for signal in header.signals if signal.file == file]
        bits = sum(_BITS.get(one.format, 0) * one.samples_per_frame for one in encodings)
        if (len(content) - encodings[0].offset) * 8 < bits * header.samples:
            raise BadRecord("truncated", f"{file} holds less than {header.samples:,} samples a lead")
    names = {file: f"{number}.dat" for number, file in enumerate(contents)}
    lines = [f"record {len(header.signals)} 1 {header.samples or ''}"]
    for signal in header.signals:
        encoding, scale = signal.encoding, signal.scale
        layout = f"{encoding.format}x{encoding.samples_per_frame}:{encoding.skew}+{encoding.offset}"
        values = f"{scale.gain!r}({scale.baseline})/mV 0 0 {signal.first_value or 0} 0 0 lead"
        lines.append(f"{names[signal.file]} {layout} {values}")
    with tempfile.TemporaryDirectory(prefix="supreme-wfdb-") as place:
        for file, content in contents.items():
            with open(os.path.join(place, names[file]), "wb") as stream:
                stream.write(content)
        with open(os.path.join(place, "record.hea"), "w", encoding="ascii") as text:
            text.write("\n".join(lines) + "\n")
        try:
            read = wfdb.rdrecord(os.path.join(place, "record"), physical=True, smooth_frames=False)
        except Exception as error:
            raise BadRecord("unreadable", f"{type(error).__name__}: {error}") from error
    physical = np.array(read.e_p_signal)
    if physical.ndim != 2 or physical.size > MAX_VALUES:
        raise BadRecord("unreadable", f"signals of shape {physical.shape}")
    return physical
