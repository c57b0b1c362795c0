"""HL7 annotated ECG (`<AnnotatedECG>`): origin, scale and digits of each lead of the rhythm series.

A derived series (the representative beat) is left out.
"""

from __future__ import annotations

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
)
from supreme.records.formats.xml_tree import attribute_of, parse, text_of

_SUBJECT = "componentOf/timepointEvent/componentOf/subjectAssignment/subject/trialSubject"
_PERSON = f"{_SUBJECT}/subjectDemographicPerson"
_REPORTED_AGE = "21612-7"
_INTERPRETATION = "MDC_ECG_INTERPRETATION"
_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
_MEDIAN = "REPRESENTATIVE_BEAT"


def read(content: bytes) -> EcgFile:
    """The rhythm of an annotated ECG.

    Raises:
        BadRecord: `median_beat_only`, `several_rhythms`, `mixed_rates`, `unknown_rate`, `unknown_unit`,
            `unknown_gain` or `unreadable`.
    """
    root = parse(content)
    series = [one for one in root.iterfind("component/series") if not _is_median(one)]
    sets = [(one, group) for one in series for group in one.iterfind("component/sequenceSet")]
    names = [[_code(sequence) for sequence in _leads(group)] for _, group in sets]
    rhythm, group = sets[choose_rhythm(names)]
    leads = _leads(group)
    signal_mv = _signal(leads)
    author = "author/seriesAuthor"
    maker = text_of(rhythm, f"{author}/manufacturerOrganization/name")
    model = text_of(rhythm, f"{author}/manufacturedSeriesDevice/manufacturerModelName")
    age = next((one for one in root.iter("relatedObservation") if _code(one) == _REPORTED_AGE), None)
    return EcgFile(
        signal_mv=signal_mv,
        leads=tuple(map(_code, leads)),
        rate_hz=_rate_hz(group),
        patient_id=attribute_of(root, f"{_SUBJECT}/id", "extension"),
        recorded_at=attribute_of(rhythm, "effectiveTime/low", "value"),
        age=parse_age(f"{attribute_of(age, 'value', 'value')} {attribute_of(age, 'value', 'unit')}"),
        sex=parse_sex(attribute_of(root, f"{_PERSON}/administrativeGenderCode", "code")),
        machine=f"{maker} {model}".strip(),
        statements=_statements(rhythm),
    )


def _is_median(series: Element) -> bool:
    return _code(series).upper() == _MEDIAN


def _code(element: Element) -> str:
    return attribute_of(element, "code", "code")


def _leads(group: Element) -> list[Element]:
    """The sequences of a set that hold digits, which those of time do not."""
    return [one for one in group.iterfind("component/sequence") if one.find("value/digits") is not None]


def _signal(leads: list[Element]) -> np.ndarray:
    digits = [text_of(lead, "value/digits").split() for lead in leads]
    lengths = {len(one) for one in digits}
    if len(lengths) != 1:
        raise BadRecord("mixed_rates", "the leads have different numbers of samples, or there is none")
    check_size(len(leads), lengths.pop())
    return np.stack([_millivolts(lead, one) for lead, one in zip(leads, digits, strict=True)])


def _millivolts(lead: Element, digits: list[str]) -> np.ndarray:
    name, value = _code(lead), lead.find("value")
    unit, origin_unit = attribute_of(value, "scale", "unit"), attribute_of(value, "origin", "unit")
    scale = number(attribute_of(value, "scale", "value"), f"scale of {name}", "unknown_gain")
    origin = number(attribute_of(value, "origin", "value") or 0, f"origin of {name}", "unknown_gain")
    if origin and origin_unit not in ("", unit):
        raise BadRecord("unknown_unit", f"{name}: origin in {origin_unit[:20]!r}, scale in {unit[:20]!r}")
    try:
        steps = np.array(digits, np.float64)
    except ValueError as error:
        raise BadRecord("unreadable", f"{name}: a sample is no number") from error
    return millivolts(steps, scale, unit, origin)


def _rate_hz(group: Element) -> float:
    for sequence in group.iterfind("component/sequence"):
        increment = sequence.find("value/increment")
        if increment is not None and _code(sequence).startswith("TIME_"):
            unit = increment.get("unit", "")
            step = number(increment.get("value", ""), "increment of time", "unknown_rate")
            if unit not in _SECONDS or step <= 0:
                raise BadRecord("unknown_rate", f"an increment of {step:g} {unit[:20]!r} is no time step")
            return round(1 / (step * _SECONDS[unit]), 6)
    raise BadRecord("unknown_rate", "no increment of time")


def _statements(series: Element) -> tuple[str, ...]:
    annotations = (one for one in series.iter("annotation") if _code(one).startswith(_INTERPRETATION))
    return lines(text_of(one, "value") for one in annotations)
