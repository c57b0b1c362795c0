"""Philips Sierra ECG 1.03 and 1.04 (`<restingecgdata>`), plain, in base64, or compressed with XLI.

XLI stores of III, aVR, aVL and aVF how they differ from what I and II make of them. Some devices append zeros
and a calibration pulse to every lead: that tail, which is the same in all leads, is cut off, and with it what
is left of its second.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element

import numpy as np

from supreme.ecg import LEADS, BadRecord
from supreme.records.cells import parse_age, parse_sex
from supreme.records.formats import xli
from supreme.records.formats.ecg_file import (
    EcgFile,
    check_size,
    is_confirmed,
    lines,
    millivolts,
    number,
)
from supreme.records.formats.xml_tree import decode_base64, parse, text_of
from supreme.records.wfdb_header import MAX_VALUES

_VERSIONS = ("1.03", "1.04")
_PERSON = "patient/generalpatientdata"
#: A tail that is equal in all leads and shorter than this is chance.
_TAIL_S = 0.1


def read(content: bytes) -> EcgFile:
    """The rhythm of a Philips ECG.

    Raises:
        BadRecord: `unsupported` for another version, encoding or set of leads, `truncated`, `unknown_rate`,
            `unknown_gain`, `mixed_rates`, `too_large` or `unreadable`.
    """
    root = parse(content)
    version = text_of(root, "documentinfo/documentversion")
    if not version.startswith(_VERSIONS):
        raise BadRecord("unsupported", f"Philips ECG version {version[:20]!r}; 1.03 and 1.04 are read")
    waveforms = root.find("waveforms/parsedwaveforms")
    if waveforms is None:
        raise BadRecord("empty_file", "no <parsedwaveforms>: was the ECG exported without samples?")
    signal = root.find("dataacquisition/signalcharacteristics")
    rate = waveforms.get("samplespersecond") or text_of(signal, "samplingrate")
    rate_hz = number(rate, "sampling rate", "unknown_rate")
    size = waveforms.get("resolution") or text_of(signal, "signalresolution") or text_of(signal, "resolution")
    size_uv = number(size, "resolution", "unknown_gain")
    names = _names(waveforms, signal)
    steps = _without_tail(_steps(waveforms, names, rate_hz)[: len(names)], rate_hz)
    offset = number(
        waveforms.get("signaloffset") or text_of(signal, "signaloffset") or 0, "offset", "unknown_gain"
    )
    statements, overread = _statements(root)
    acquisition = root.find("dataacquisition")
    date = "" if acquisition is None else f"{acquisition.get('date', '')} {acquisition.get('time', '')}"
    return EcgFile(
        signal_mv=millivolts(steps - round(offset), size_uv, "uV"),
        leads=names,
        rate_hz=rate_hz,
        patient_id=text_of(root, f"{_PERSON}/patientid"),
        recorded_at=date.strip(),
        age=parse_age(text_of(root, f"{_PERSON}/age/years")),
        sex=parse_sex(text_of(root, f"{_PERSON}/sex")),
        machine=f"Philips {text_of(root, 'dataacquisition/machine')}".strip(),
        statements=statements,
        overread=overread,
    )


def _names(waveforms: Element, signal: Element | None) -> tuple[str, ...]:
    labels = tuple((waveforms.get("leadlabels") or "").split())
    if labels:
        return labels
    leads = text_of(signal, "acquisitiontype") or text_of(signal, "leadset")
    if not leads.upper().startswith("STD"):
        raise BadRecord("unsupported", f"Philips lead set {leads[:20]!r} without names of its leads")
    return LEADS


def _steps(waveforms: Element, names: tuple[str, ...], rate_hz: float) -> np.ndarray:
    """Samples ``(n_channels, T)`` of the converter."""
    duration = waveforms.get("durationperchannel") or 0
    samples = round(number(duration, "durationperchannel") * rate_hz / 1000)
    encoding = (waveforms.get("dataencoding") or "").casefold()
    method = waveforms.get("compressmethod") or waveforms.get("compression") or ""
    is_compressed = method.upper() == "XLI" and (waveforms.get("compressflag") or "true").casefold() == "true"
    if encoding == "plain":
        values = np.array((waveforms.text or "").split(), np.int64)
    elif encoding != "base64":
        raise BadRecord("unsupported", f"Philips waveforms encoded as {encoding[:20]!r}")
    elif is_compressed:
        channels = xli.decode(decode_base64(waveforms), MAX_VALUES // len(names))
        if len(channels) < len(names):
            raise BadRecord("truncated", f"{len(channels)} of {len(names)} leads are there")
        lengths = {len(one) for one in channels[: len(names)]}
        if len(lengths) > 1:
            raise BadRecord("mixed_rates", "leads of different lengths")
        return _restored(np.stack(channels[: len(names)]), names)
    elif method and method.casefold() not in ("uncompressed", "none", "xli"):
        raise BadRecord("unsupported", f"Philips waveforms compressed as {method[:20]!r}")
    else:
        content = decode_base64(waveforms)
        values = np.frombuffer(content, "<i2", len(content) // 2).astype(np.int64)
    check_size(len(names), samples)
    if len(values) < len(names) * samples:
        raise BadRecord("truncated", f"{len(values):,} samples instead of {len(names)} x {samples:,}")
    return values[: len(names) * samples].reshape(len(names), samples)


def _restored(steps: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """Leads instead of what XLI stores of III, aVR, aVL and aVF."""
    rows = {name.casefold(): row for row, name in enumerate(names)}
    if not {"i", "ii", "iii", "avr", "avl", "avf"} <= rows.keys():
        return steps
    one, two = steps[rows["i"]], steps[rows["ii"]]
    three = two - one - steps[rows["iii"]]
    steps[rows["iii"]] = three
    steps[rows["avr"]] = -steps[rows["avr"]] - (one + two) // 2
    steps[rows["avl"]] = (one - three) // 2 - steps[rows["avl"]]
    steps[rows["avf"]] = (two + three) // 2 - steps[rows["avf"]]
    return steps


def _without_tail(steps: np.ndarray, rate_hz: float) -> np.ndarray:
    differs = np.flatnonzero((steps != steps[0]).any(axis=0))
    end = differs[-1] + 1 if len(differs) else 0
    if not 0 < end < steps.shape[1] - _TAIL_S * rate_hz:
        return steps
    seconds = int(end / rate_hz)
    return steps[:, : round(seconds * rate_hz) if seconds else end]


def _statements(root: Element) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The device's lines, and those that a physician has edited or confirmed."""
    original: tuple[str, ...] = ()
    overread: tuple[str, ...] = ()
    for one in root.iterfind("interpretations/interpretation"):
        texts = [text_of(part, "leftstatement") for part in one.iterfind("statement")]
        texts.append(text_of(one, "severity").strip("- "))
        edited = one.find("interpretationmeasurements")
        is_edited = edited is not None and edited.get("editedflag", "").casefold() == "true"
        if is_edited or is_confirmed(text_of(one, "mdsignatureline")):
            overread = lines(texts)
        else:
            original = lines(texts)
    return original, overread
