"""Samples of WFDB records: format 16, in which 12-lead sets come, from its bytes; wfdb reads the rest.

Both ways give the same bits: the float64 millivolts of wfdb, rounded to float32, or the whole microvolts that
these are the millivolts of. The first also holds the samples against the checksums and first values of the
header: in 621 real records of five sets all are right.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path

import numpy as np

from supreme import storage
from supreme.ecg import MAX_MICROVOLTS, MICROVOLTS_PER_MILLIVOLT, BadRecord
from supreme.records.wfdb_header import MAX_VALUES, Header, Scale, Signal

#: Of one sample; the compressed formats (508, 516, 524) have no fixed number.
_BITS = {
    **{"8": 8, "80": 8, "310": 32 / 3, "311": 32 / 3, "212": 12},
    **{"16": 16, "61": 16, "160": 16, "24": 24, "32": 32},
}
#: What stands in format 16 for a sample that was not taken.
_INVALID = -32768


def signal(header: Header, contents: Mapping[str, bytes]) -> tuple[np.ndarray, float]:
    """``(n_signals, T)`` and its rate; ``contents``: the signal files by name.

    Int16 microvolts where the samples of format 16 are whole ones, else float32 millivolts; those that were
    not taken are NaN.

    Raises:
        BadRecord: `truncated`, `too_large`, `checksum`, `first_value`, `mixed_rates` or `unreadable`.
    """
    signals = header.signals
    (samples_per_frame, *other) = {signal.encoding.samples_per_frame for signal in signals}
    if other:
        raise BadRecord("mixed_rates", "the signals have different numbers of samples a frame")
    by_file = [[signal for signal in signals if signal.file == file] for file in header.files]
    frames = _frames(header, by_file, contents)
    if all(map(_is_plain, by_file)) and [*chain(*by_file)] == [*signals]:
        parts = [_samples(group, contents[group[0].file], frames) for group in by_file]
        steps = parts[0] if len(parts) == 1 else np.concatenate(parts)
        sums = np.add.reduce(steps, axis=1, dtype=np.int16)
        _verify("first_value", signals, [signal.first_value for signal in signals], steps[:, 0].tolist())
        _verify("checksum", signals, [signal.checksum for signal in signals], sums.tolist())
        physical = _physical(tuple(signal.scale for signal in signals), steps)
    else:
        units = np.array([signal.scale.millivolts for signal in signals])
        physical = (_with_wfdb(signals, frames, contents) * units[:, None]).astype(np.float32)
    return physical, header.rate_hz * samples_per_frame


def _frames(header: Header, by_file: list[list[Signal]], contents: Mapping[str, bytes]) -> int:
    """Samples, or groups of them, that every signal has; 0: only wfdb can tell."""
    held = [_frames_in(signals, contents[signals[0].file]) for signals in by_file]
    frames = header.samples or held[0] or 0
    for signals, found in zip(by_file, held, strict=True):
        if found is not None and found < max(frames, 1):
            raise BadRecord(
                "truncated", f"{signals[0].file} ends after {found:,} of {frames:,} samples a lead"
            )
    values = frames * sum(signal.encoding.samples_per_frame for signal in header.signals)
    if values > MAX_VALUES:
        raise BadRecord("too_large", f"{values:,} values; at most {MAX_VALUES:,} are allowed")
    return frames


def _frames_in(signals: Sequence[Signal], content: bytes) -> int | None:
    """What a file holds; None in the compressed formats."""
    bits = sum(_BITS.get(signal.encoding.format, 0) * signal.encoding.samples_per_frame for signal in signals)
    return int(8 * max(len(content) - signals[0].encoding.offset, 0) // bits) if bits else None


def _is_plain(signals: Sequence[Signal]) -> bool:
    """Whether the samples of a file are little-endian int16, one of each signal in turn."""
    (encoding, *other) = {signal.encoding for signal in signals}
    return not other and encoding.format == "16" and encoding.samples_per_frame == 1 and encoding.skew == 0


def _samples(signals: Sequence[Signal], content: bytes, samples: int) -> np.ndarray:
    """The samples ``(n_signals, samples)`` of one file, int16."""
    frames = np.frombuffer(content, "<i2", samples * len(signals), signals[0].encoding.offset)
    return frames.reshape(samples, len(signals)).T.astype(np.int16, order="C")


def _verify(reason: str, signals: Sequence[Signal], announced: list[int | None], found: list[int]) -> None:
    """Hold numbers that a header announces against those of the samples, signal by signal.

    Zeros throughout are what converters write that do not compute them.
    """
    if announced == found or not any(announced):
        return
    for signal, expected, number in zip(signals, announced, found, strict=True):
        if expected not in (None, number):
            raise BadRecord(reason, f"{number} in signal {signal.name!r}, announced is {expected}")


def _physical(scales: tuple[Scale, ...], steps: np.ndarray) -> np.ndarray:
    """Int16 microvolts, in place, or float32 millivolts."""
    lowest, highest, step_uv = int(steps.min()), int(steps.max()), _microvolts_per_step(scales)
    if step_uv is not None and max(highest, -lowest) * int(step_uv.max()) <= MAX_MICROVOLTS:
        steps *= step_uv
        return steps
    gains, baselines, units = _columns(scales)
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
def _microvolts_per_step(scales: tuple[Scale, ...]) -> np.ndarray | None:
    """Int16 ``(n_signals, 1)``; None where not all are whole numbers or zero is not the converter's zero."""
    step_uv = [round(MICROVOLTS_PER_MILLIVOLT / scale.gain) for scale in scales]
    plain = [
        0 < each <= MAX_MICROVOLTS
        and each * scale.gain == MICROVOLTS_PER_MILLIVOLT
        and scale.millivolts == 1
        and not scale.baseline
        for each, scale in zip(step_uv, scales, strict=True)
    ]
    return np.array(step_uv, np.int16)[:, None] if all(plain) else None


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


def _with_wfdb(signals: Sequence[Signal], frames: int, contents: Mapping[str, bytes]) -> np.ndarray:
    """Let wfdb read copies of the signal files and a header that is made here, every unit called mV."""
    import wfdb  # takes a quarter of a second, and hardly a record needs it

    names = {file: f"{number}.dat" for number, file in enumerate(contents)}
    lines = [f"record {len(signals)} 1 {frames or ''}"]
    for signal in signals:
        encoding, scale = signal.encoding, signal.scale
        layout = f"{encoding.format}x{encoding.samples_per_frame}:{encoding.skew}+{encoding.offset}"
        values = f"{scale.gain!r}({scale.baseline})/mV 0 0 {signal.first_value or 0} 0 0 lead"
        lines.append(f"{names[signal.file]} {layout} {values}")
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
    return np.array(read.e_p_signal)
