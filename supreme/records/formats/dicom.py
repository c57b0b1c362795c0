"""DICOM 12-lead, General and Ambulatory ECG (PS3.3 C.10.9): the group of channels that is the rhythm.

Only the tags that are listed here are taken from a file: names, birth dates and addresses are skipped.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Sequence
from functools import cache
from io import BytesIO

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from supreme.ecg import BadRecord, canonical_lead, millivolts_per_unit
from supreme.records.cells import parse_age, parse_sex
from supreme.records.formats.ecg_file import (
    LEADS_BY_NUMBER,
    EcgFile,
    check_size,
    choose_rhythm,
    is_confirmed,
    lines,
    millivolts,
    number,
)

_TAGS = (
    *("SOPClassUID", "PatientID", "PatientAge", "PatientSex", "AcquisitionDateTime", "Manufacturer"),
    *("ManufacturerModelName", "InterpretationText", "WaveformSequence", "WaveformAnnotationSequence"),
)
_DEFLATED = "1.2.840.10008.1.2.1.99"
_MEDIAN = re.compile("median|average|representative|template|beat", re.IGNORECASE)
#: Bits and kind of a sample -> its type; mu-law and A-law are not read.
_DTYPES = {
    (8, "SB"): "i1",
    (8, "UB"): "u1",
    (16, "SS"): "i2",
    (16, "US"): "u2",
    (32, "SL"): "i4",
    (32, "UL"): "u4",
}
#: The number at the end of "5.6.3-9-62" (SCPECG) and "2:62" (MDC).
_CODE = re.compile(r"(?:5\.6\.3-9-|2:)(\d+)")


def read(content: bytes) -> EcgFile:
    """The rhythm of a DICOM ECG.

    Raises:
        BadRecord: `no_ecg` for other objects, `median_beat_only`, `several_rhythms`, `truncated`,
            `unknown_rate`, `unknown_unit`, `unknown_gain`, `unsupported` or `unreadable`.
    """
    if _DEFLATED.encode() in content[:1024]:
        raise BadRecord("unsupported", "deflated DICOM: export it with an uncompressed transfer syntax")
    _quieten_pydicom()
    data = pydicom.dcmread(BytesIO(content), force=True, specific_tags=[*_TAGS])
    groups = [group for group in data.get("WaveformSequence") or [] if not _is_median(group)]
    if "WaveformSequence" not in data:
        name = getattr(data.get("SOPClassUID"), "name", "") or "no class"
        raise BadRecord("no_ecg", f"a DICOM object without waveforms ({str(name)[:60]})")
    names = [[_lead(channel) for channel in _channels(group)] for group in groups]
    place = choose_rhythm(names)
    group, leads = groups[place], names[place]
    texts = [
        str(one.get("UnformattedTextValue") or "") for one in data.get("WaveformAnnotationSequence") or []
    ]
    texts += str(data.get("InterpretationText") or "").splitlines()
    statements = lines(texts)
    confirmed = any(map(is_confirmed, texts))
    return EcgFile(
        signal_mv=_signal(group, big_endian=not data.original_encoding[1]),
        leads=tuple(leads),
        rate_hz=number(group.get("SamplingFrequency"), "SamplingFrequency", "unknown_rate"),
        patient_id=str(data.get("PatientID") or "").strip(),
        recorded_at=str(data.get("AcquisitionDateTime") or ""),
        age=parse_age(str(data.get("PatientAge") or "")),
        sex=parse_sex(str(data.get("PatientSex") or "")),
        machine=f"{data.get('Manufacturer') or ''} {data.get('ManufacturerModelName') or ''}".strip(),
        statements=() if confirmed else statements,
        overread=statements if confirmed else (),
    )


@cache
def _quieten_pydicom() -> None:
    """Its warnings quote what stands in a file, which may be a name."""
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module="pydicom")


def _is_median(group: Dataset) -> bool:
    label = str(group.get("MultiplexGroupLabel") or "")
    if "rhythm" in label.casefold():
        return False
    return bool(_MEDIAN.search(label)) or group.get("WaveformOriginality") == "DERIVED"


def _channels(group: Dataset) -> Sequence[Dataset]:
    return group.get("ChannelDefinitionSequence") or []


def _lead(channel: Dataset) -> str:
    """The lead by its code, else as its meaning or label spells it."""
    texts = []
    for source in channel.get("ChannelSourceSequence") or []:
        code, meaning = str(source.get("CodeValue") or ""), str(source.get("CodeMeaning") or "")
        match = _CODE.fullmatch(code.strip())
        if match and int(match[1]) in LEADS_BY_NUMBER:
            return LEADS_BY_NUMBER[int(match[1])]
        texts += [code, re.sub(r"\s*\(.*?\)", "", meaning), meaning]
    texts.append(str(channel.get("ChannelLabel") or ""))
    known = (text for text in texts if canonical_lead(text))
    return next(known, next((text for text in texts[::-1] if text), "unnamed"))


def _signal(group: Dataset, *, big_endian: bool) -> np.ndarray:
    """Millivolts ``(n_channels, T)``: sample x sensitivity x correction + baseline."""
    channels, samples = _channels(group), int(group.get("NumberOfWaveformSamples") or 0)
    check_size(len(channels), samples)
    bits, kind = int(group.get("WaveformBitsAllocated") or 0), str(group.get("WaveformSampleInterpretation"))
    if (bits, kind) not in _DTYPES:
        raise BadRecord("unsupported", f"samples of {bits} bits and kind {kind[:10]}")
    dtype = np.dtype(_DTYPES[bits, kind]).newbyteorder(">" if big_endian else "<")
    content = bytes(group.get("WaveformData") or b"")
    expected = len(channels) * samples * dtype.itemsize
    if len(content) < expected or len(content) > expected + 1:
        raise BadRecord("truncated", f"{len(content):,} bytes of samples instead of {expected:,}")
    steps = np.frombuffer(content, dtype, len(channels) * samples).reshape(samples, len(channels)).T
    signal_mv = np.stack([_millivolts(one, steps[row]) for row, one in enumerate(channels)])
    return _without_padding(steps, signal_mv, group.get("WaveformPaddingValue"))


def _without_padding(steps: np.ndarray, signal_mv: np.ndarray, padding: object) -> np.ndarray:
    """NaN where a sample is padding, cut off at the end.

    Devices write 0 as padding, which is also a sample: only the smallest or largest value counts.
    """
    limits = np.iinfo(steps.dtype)
    size = steps.dtype.itemsize
    raw = padding if isinstance(padding, bytes) else b""
    value = np.frombuffer(raw[:size], steps.dtype)[0] if len(raw) >= size else padding
    if value not in (limits.min, limits.max):
        return signal_mv
    signal_mv[steps == value] = np.nan
    is_signal = np.flatnonzero(np.isfinite(signal_mv).any(axis=0))
    return signal_mv[:, : is_signal[-1] + 1 if len(is_signal) else 0]


def _millivolts(channel: Dataset, steps: np.ndarray) -> np.ndarray:
    units = channel.get("ChannelSensitivityUnitsSequence") or [Dataset()]
    names = [str(units[0].get(name) or "") for name in ("CodeValue", "CodeMeaning")]
    unit = next((name for name in names if millivolts_per_unit(name)), names[0] or names[1])
    sensitivity = channel.get("ChannelSensitivity")
    if sensitivity is None or sensitivity == "":
        raise BadRecord("unknown_gain", f"{_lead(channel)}: no ChannelSensitivity")
    size = number(sensitivity, "ChannelSensitivity", "unknown_gain")
    correction = channel.get("ChannelSensitivityCorrectionFactor")
    if correction not in (None, ""):
        size *= number(correction, "ChannelSensitivityCorrectionFactor", "unknown_gain")
    offset = number(channel.get("ChannelBaseline") or 0, "ChannelBaseline", "unknown_gain")
    return millivolts(steps, size, unit, offset)
