"""Writers of hospital formats, by hand or with the format's free library, for tests of the readers."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from io import BytesIO

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items

from supreme.ecg import LEADS

EIGHT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
ORDER = {lead: row for row, lead in enumerate(LEADS)}


def rows(signal_mv: np.ndarray, leads: Sequence[str]) -> np.ndarray:
    """Those leads of an ECG in contract order."""
    return signal_mv[[ORDER[lead] for lead in leads]]


def _code(value: str, scheme: str, meaning: str = "x") -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code


def dicom_group(
    signal_mv: np.ndarray,
    leads: Sequence[str] = LEADS,
    rate_hz: float = 500,
    *,
    label: str = "RHYTHM",
    originality: str = "ORIGINAL",
    sensitivity: float | None = 2.5,
    correction: float | None = 1.0,
    baseline: float = 0.0,
    unit: str = "uV",
    scheme: str = "plain",
) -> Dataset:
    """A waveform group in int16."""
    group = Dataset()
    group.MultiplexGroupLabel, group.WaveformOriginality = label, originality
    group.NumberOfWaveformChannels, group.NumberOfWaveformSamples = len(leads), signal_mv.shape[1]
    group.SamplingFrequency, group.WaveformBitsAllocated = rate_hz, 16
    group.WaveformSampleInterpretation = "SS"
    numbers = {
        **{lead: place for place, lead in enumerate(EIGHT, 1)},
        "III": 61,
        "aVR": 62,
        "aVL": 63,
        "aVF": 64,
    }
    channels = []
    for lead in leads:
        channel = Dataset()
        if scheme == "plain":
            channel.ChannelLabel = f"Lead {lead}"
        else:
            value = {"MDC": f"2:{numbers[lead]}", "SCPECG": f"5.6.3-9-{numbers[lead]}"}[scheme]
            channel.ChannelSourceSequence = Items([_code(value, scheme)])
        if sensitivity is not None:
            channel.ChannelSensitivity = sensitivity
        if correction is not None:
            channel.ChannelSensitivityCorrectionFactor = correction
        channel.ChannelBaseline = baseline
        if unit:
            channel.ChannelSensitivityUnitsSequence = Items([_code(unit, "UCUM")])
        channels.append(channel)
    group.ChannelDefinitionSequence = Items(channels)
    per_mv = {"uV": 1000, "mV": 1}.get(unit, 1000)
    steps = np.rint((signal_mv * per_mv - baseline) / ((sensitivity or 1) * (correction or 1)))
    group.WaveformData = steps.T.astype("<i2").tobytes()
    return group


def dicom(groups: Sequence[Dataset], *, explicit: bool = True, **tags: object) -> bytes:
    """A 12-lead ECG object with these groups and tags."""
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.9.1.1", "2.25.1"
    data.Modality, data.PatientID, data.PatientAge, data.PatientSex = "ECG", "P-1", "061Y", "F"
    for name, value in tags.items():
        setattr(data, name, value)
    if groups:
        data.WaveformSequence = Items(groups)
    data.file_meta = FileMetaDataset()
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    syntax = pydicom.uid.ExplicitVRLittleEndian if explicit else pydicom.uid.ImplicitVRLittleEndian
    data.file_meta.TransferSyntaxUID = syntax
    stream = BytesIO()
    data.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def muse(
    signal_mv: np.ndarray,
    rate_hz: int = 250,
    *,
    leads: Sequence[str] = EIGHT,
    step_uv: float = 4.88,
    unit: str = "MICROVOLTS",
    kinds: Sequence[str] = ("Median", "Rhythm"),
    person: str = "<PatientID>P-1</PatientID><PatientAge>61</PatientAge><AgeUnits>YEARS</AgeUnits>"
    "<Gender>FEMALE</Gender>",
    more: str = "",
) -> bytes:
    """A MUSE file; a waveform that is no rhythm holds the first quarter."""
    waveforms = []
    for kind in kinds:
        part = signal_mv if kind == "Rhythm" else signal_mv[:, : signal_mv.shape[1] // 4]
        body = "".join(
            f"<LeadData><LeadSampleCountTotal>{part.shape[1]}</LeadSampleCountTotal>"
            f"<LeadAmplitudeUnitsPerBit>{step_uv}</LeadAmplitudeUnitsPerBit>"
            f"<LeadAmplitudeUnits>{unit}</LeadAmplitudeUnits><LeadID>{lead}</LeadID>"
            f"<WaveFormData>{_wrapped(np.rint(row * 1000 / step_uv))}</WaveFormData></LeadData>"
            for lead, row in zip(leads, rows(part, leads), strict=True)
        )
        waveforms.append(
            f"<Waveform><WaveformType>{kind}</WaveformType><SampleBase>{rate_hz}</SampleBase>"
            f"<SampleExponent>0</SampleExponent>{body}</Waveform>"
        )
    return (
        '<?xml version="1.0" encoding="ISO-8859-1"?><!DOCTYPE RestingECG SYSTEM "restecg.dtd"><RestingECG>'
        f"<PatientDemographics>{person}</PatientDemographics>{more}{''.join(waveforms)}</RestingECG>"
    ).encode("latin-1")


def _wrapped(steps: np.ndarray) -> str:
    text = base64.b64encode(steps.astype("<i2").tobytes()).decode()
    return "\n".join(text[place : place + 76] for place in range(0, len(text), 76))


def aecg(
    signal_mv: np.ndarray,
    rate_hz: float = 500,
    *,
    step_uv: float = 2.5,
    origin_uv: float = 10.0,
    unit: str = "uV",
) -> bytes:
    """An annotated ECG with one rhythm series."""
    sequences = "".join(
        f'<component><sequence><code code="MDC_ECG_LEAD_{lead.upper()}"/><value><origin value="{origin_uv}" '
        f'unit="{unit}"/><scale value="{step_uv}" unit="{unit}"/><digits>'
        + " ".join(map(str, np.rint((row * 1000 - origin_uv) / step_uv).astype(int)))
        + "</digits></value></sequence></component>"
        for lead, row in zip(LEADS, signal_mv, strict=True)
    )
    time = (
        '<component><sequence><code code="TIME_ABSOLUTE"/><value><head value="20000101"/><increment '
        f'value="{1 / rate_hz}" unit="s"/></value></sequence></component>'
    )
    return (
        '<AnnotatedECG xmlns="urn:hl7-org:v3"><component><series><code code="RHYTHM"/>'
        "<component><sequenceSet>"
        f"{time}{sequences}</sequenceSet></component></series></component></AnnotatedECG>"
    ).encode()


def edf(
    signal_mv: np.ndarray,
    rate_hz: int = 500,
    *,
    labels: Sequence[str] = LEADS,
    unit: str = "uV",
    patient: str = "X",
) -> bytes:
    """An EDF file of blocks of a second, with steps of 0.5 of the unit."""
    per_mv = {"uV": 1000.0, "mV": 1.0}.get(unit, 1000.0)
    count, seconds = len(labels), signal_mv.shape[1] // rate_hz
    head = (
        f"{'0':8}{patient:80.80}{'Startdate X':80}01.01.0012.00.00{256 * (count + 1):<8}{'':44}{seconds:<8}"
    )
    fields = [(f"{label}", 16) for label in labels] + [("", 80)] * count + [(unit, 8)] * count
    for value in (-16384.0, 16383.5, -32768, 32767):
        fields += [(f"{value:g}"[:8], 8)] * count
    fields += [("", 80)] * count + [(str(rate_hz), 8)] * count + [("", 32)] * count
    header = f"{head}{1:<8}{count:<4}" + "".join(f"{text:{width}}" for text, width in fields)
    steps = np.rint(signal_mv * per_mv / 0.5).astype("<i2").reshape(count, seconds, rate_hz)
    return header.encode("latin-1") + steps.transpose(1, 0, 2).tobytes()


def scp(
    signal_mv: np.ndarray,
    *,
    leads: Sequence[str] = EIGHT,
    step_nv: int = 2500,
    step_us: int = 2000,
    order: int = 2,
) -> bytes:
    """An SCP-ECG file with differences in the default Huffman table."""
    steps = np.rint(rows(signal_mv, leads) * 1e6 / step_nv).astype(int)
    numbers = {
        **{lead: place for place, lead in enumerate(EIGHT, 1)},
        "III": 61,
        "aVR": 62,
        "aVL": 63,
        "aVF": 64,
    }
    coded = [_huffman(np.concatenate([row[:order], np.diff(row, order)])) for row in steps]
    person = struct.pack("<BH4s", 2, 4, b"P-1\0") + struct.pack("<BHHB", 4, 3, 61, 1)
    person += struct.pack("<BHB", 8, 1, 2) + b"\xff\0\0"
    lead_part = struct.pack("<BB", len(leads), 4 | len(leads) << 3)
    lead_part += b"".join(struct.pack("<IIB", 1, steps.shape[1], numbers[lead]) for lead in leads)
    rhythm = struct.pack("<HHBB", step_nv, step_us, order, 0)
    rhythm += b"".join(struct.pack("<H", len(one)) for one in coded) + b"".join(coded)
    sections = {1: person, 2: struct.pack("<H", 19999), 3: lead_part, 6: rhythm}
    place, table, body = 6 + 16 + 10 * 12, b"", b""
    for number in range(12):
        content = sections.get(number, b"")
        size = 16 + len(content) if content else 136 if number == 0 else 0
        table += struct.pack("<HII", number, size, place + 1 if content else 7 if number == 0 else 0)
        if content:
            body += struct.pack("<HHIBB6x", 0, number, size, 20, 20) + content
            place += size
    head = struct.pack("<HHIBB6s", 0, 0, 16 + len(table), 20, 20, b"SCPECG") + table
    return struct.pack("<HI", 0, 6 + len(head) + len(body)) + head + body


def _huffman(values: np.ndarray) -> bytes:
    bits = "".join(_bits(int(value)) for value in values)
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def _bits(value: int) -> str:
    if value == 0:
        return "0"
    if abs(value) <= 8:
        return "1" * abs(value) + ("00" if value > 0 else "01")
    width, prefix = (8, "1111111110") if -128 <= value <= 127 else (16, "1111111111")
    return prefix + f"{value & ((1 << width) - 1):0{width}b}"


def philips(
    signal_mv: np.ndarray,
    rate_hz: int = 500,
    *,
    version: str = "1.03",
    encoding: str = "xli",
    step_uv: float = 5.0,
    more: str = "",
) -> bytes:
    """A Sierra ECG: ``encoding`` is plain, base64 or xli; 1.04 names its leads."""
    steps = np.rint(signal_mv * 1000 / step_uv).astype(int)
    samples = steps.shape[1]
    duration = f'durationperchannel="{round(samples * 1000 / rate_hz)}"'
    if encoding == "plain":
        kind, text = 'dataencoding="Plain" compressflag="False"', " ".join(map(str, steps.ravel()))
    elif encoding == "base64":
        kind = 'dataencoding="Base64" compressflag="False" compressmethod="Uncompressed"'
        text = _wrapped(steps)
    else:
        kind = 'dataencoding="Base64" compressflag="True" compressmethod="XLI"'
        text = base64.b64encode(b"".join(map(_xli, _for_xli(steps)))).decode()
    if version != "1.03":
        kind += f' leadlabels="{" ".join(LEADS)}" samplespersecond="{rate_hz}" resolution="{step_uv}"'
    signal = f"<samplingrate>{rate_hz}</samplingrate><signalresolution>{step_uv}</signalresolution>"
    return (
        '<?xml version="1.0"?><restingecgdata xmlns="http://www3.medical.philips.com"><documentinfo>'
        f"<documentversion>{version}</documentversion></documentinfo><dataacquisition><signalcharacteristics>"
        f"{signal}<acquisitiontype>STD-12</acquisitiontype></signalcharacteristics></dataacquisition>{more}"
        f"<waveforms><parsedwaveforms {kind} {duration}>{text}</parsedwaveforms></waveforms></restingecgdata>"
    ).encode()


def _for_xli(steps: np.ndarray) -> np.ndarray:
    one, two, three, right, left, foot = steps[:6]
    stored = steps.copy()
    stored[2] = two - one - three
    stored[3] = -right - (one + two) // 2
    stored[4] = (one - three) // 2 - left
    stored[5] = (two + three) // 2 - foot
    return stored


def _xli(steps: np.ndarray) -> bytes:
    seconds = -np.diff(steps, 2)
    deltas = np.concatenate([steps[:2], seconds[1:] + 64, [64]]).astype(">i2")
    halves = deltas.view(np.uint8).reshape(-1, 2).T.tobytes()
    codes, table, word = [], {bytes([value]): value for value in range(256)}, b""
    for value in halves:
        if word + bytes([value]) in table:
            word += bytes([value])
            continue
        codes.append(table[word])
        if len(table) <= 1022:
            table[word + bytes([value])] = len(table)
        word = bytes([value])
    bits = "".join(f"{code:010b}" for code in [*codes, table[word], 1023])
    bits += "0" * (-len(bits) % 8)
    chunk = int(bits, 2).to_bytes(len(bits) // 8, "big")
    return struct.pack("<ihh", len(chunk), 1, int(seconds[0])) + chunk
