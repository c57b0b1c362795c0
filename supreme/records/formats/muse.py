"""GE MUSE XML (`<RestingECG>`): eight leads of 16 bits in base64; III, aVR, aVL and aVF are derived.

The rhythm is the `<Waveform>` of type Rhythm; its own `SampleBase` and `SampleExponent` give the rate (the
measurements have others). `<Diagnosis>` is the physician's once the test is confirmed;
`<OriginalDiagnosis>` is the device's.
"""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree.ElementTree import Element

import numpy as np

from supreme.ecg import BadRecord
from supreme.records.cells import parse_age, parse_sex
from supreme.records.formats.ecg_file import (
    EcgFile,
    check_size,
    choose_rhythm,
    lines,
    millivolts,
    number,
    usual_leads,
)
from supreme.records.formats.xml_tree import decode_base64, parse, text_of


def read(content: bytes) -> EcgFile:
    """The rhythm of a MUSE file.

    Raises:
        BadRecord: `median_beat_only`, `several_rhythms`, `truncated`, `mixed_rates`, `unknown_rate`,
            `unknown_unit`, `unknown_gain` or `unreadable`.
    """
    root = parse(content)
    waveform = _rhythm(root)
    leads = waveform.findall("LeadData")
    names = tuple(text_of(lead, "LeadID") for lead in leads)
    channels = [_samples(lead, name) for lead, name in zip(leads, names, strict=True)]
    if len({len(channel) for channel in channels}) != 1:
        raise BadRecord("mixed_rates", f"leads of different lengths: {', '.join(names)}")
    check_size(len(channels), len(channels[0]))
    signal_mv, names = usual_leads(np.stack(channels), names)
    exponent = number(text_of(waveform, "SampleExponent") or 0, "SampleExponent", "unknown_rate")
    base = number(text_of(waveform, "SampleBase"), "SampleBase", "unknown_rate")
    person, test = "PatientDemographics", "TestDemographics"
    statements, edited = _statements(root, "OriginalDiagnosis"), _statements(root, "Diagnosis")
    is_confirmed = text_of(root, f"{test}/Status").casefold() == "confirmed"
    date, time = text_of(root, f"{test}/AcquisitionDate"), text_of(root, f"{test}/AcquisitionTime")
    age = f"{text_of(root, f'{person}/PatientAge')} {text_of(root, f'{person}/AgeUnits')}"
    return EcgFile(
        signal_mv=signal_mv,
        leads=names,
        rate_hz=base * 10.0 ** max(min(exponent, 9), -9),
        stores_eight_leads=True,
        patient_id=text_of(root, f"{person}/PatientID"),
        recorded_at=f"{date} {time}".strip(),
        age=parse_age(age),
        sex=parse_sex(text_of(root, f"{person}/Gender")),
        machine=f"GE {text_of(root, f'{test}/AcquisitionDevice')}".strip(),
        statements=statements if is_confirmed else statements or edited,
        overread=edited if is_confirmed else (),
    )


def _rhythm(root: Element) -> Element:
    waveforms = root.findall("Waveform")
    if not waveforms:
        raise BadRecord("empty_file", "no <Waveform>: was the ECG exported without samples?")
    rhythms = [one for one in waveforms if text_of(one, "WaveformType").casefold() == "rhythm"]
    names = [[text_of(lead, "LeadID") for lead in one.iterfind("LeadData")] for one in rhythms]
    rhythm = rhythms[choose_rhythm(names)]
    if rhythm.find("LeadData") is None:
        raise BadRecord("empty_file", "the rhythm has no <LeadData>")
    return rhythm


def _samples(lead: Element, name: str) -> np.ndarray:
    """Float32 millivolts of one lead."""
    size = text_of(lead, "LeadSampleSize") or "2"
    if number(size, "LeadSampleSize") != 2:
        raise BadRecord("unreadable", f"lead {name}: samples of {size[:10]} bytes; two are read")
    content = decode_base64(lead.find("WaveFormData"))
    announced = text_of(lead, "LeadSampleCountTotal")
    if len(content) % 2 or (announced and number(announced, "LeadSampleCountTotal") != len(content) // 2):
        raise BadRecord(
            "truncated", f"lead {name}: {len(content):,} bytes instead of {announced[:12]} samples"
        )
    scale = number(text_of(lead, "LeadAmplitudeUnitsPerBit"), f"units per bit of {name}", "unknown_gain")
    return millivolts(np.frombuffer(content, "<i2"), scale, text_of(lead, "LeadAmplitudeUnits"))


def _statements(root: Element, part: str) -> tuple[str, ...]:
    """The lines of a diagnosis: a statement goes on in the next one until its flag ends the line."""
    return lines(_joined(root.findall(f"{part}/DiagnosisStatement")))


def _joined(statements: list[Element]) -> Iterator[str]:
    line: list[str] = []
    for statement in statements:
        line.append(text_of(statement, "StmtText"))
        if any((flag.text or "").strip() == "ENDSLINE" for flag in statement.iterfind("StmtFlag")):
            yield " ".join(line)
            line = []
    yield " ".join(line)
