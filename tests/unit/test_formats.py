"""ECG files of hospitals: samples as others read them, round trips, and what the files say."""

from __future__ import annotations

from pathlib import Path

import format_writers as write
import numpy as np
import pytest
from wfdb_writer import ecg_mv

from supreme.ecg import LEADS, BadRecord, order_leads
from supreme.records.formats import read_ecg
from supreme.records.formats.ecg_file import EcgFile, millivolts

pytestmark = pytest.mark.unit

IMPLICIT = ((-0.005, -0.005, -0.005, -0.005, -0.0075), (0.1375, 0.1325, 0.1275, 0.1225, 0.1175))
#: File -> rate, samples, first five of I and of V2, in mV, each checked with two independent programs.
REAL = {
    "dicom_12lead_1000hz.dcm": (
        *(1000, 10000),
        (0.1, 0.08125, 0.0625, 0.04375, 0.04625),
        (0.01875, 0.025, 0.03125, 0.0375, 0.03125),
    ),
    "dicom_12lead_500hz_implicit.dcm": (500, 5000, *IMPLICIT),
    "muse_240hz.xml": (
        *(240, 2500),
        (0.01952, 0.00488, -0.00976, -0.06344, -0.11712),
        (0.01952, 0.0244, 0.02928, 0.02928, 0.02928),
    ),
    "philips_sierra_1_03_xli.xml": (
        *(500, 5000),
        (0.24, 0.22, 0.2, 0.17, 0.155),
        (0.225, 0.24, 0.245, 0.25, 0.245),
    ),
    "aecg_hl7_500hz.xml": (500, 5000, *IMPLICIT),
    "scp_500hz_huffman.scp": (500, 5000, *IMPLICIT),
    "edf_12lead_500hz.edf": (500, 5000, *IMPLICIT),
}
ONE_RECORDING = (
    "dicom_12lead_500hz_implicit.dcm",
    "aecg_hl7_500hz.xml",
    "scp_500hz_huffman.scp",
    "edf_12lead_500hz.edf",
)


def ordered(ecg: EcgFile) -> np.ndarray:
    """``(12, T)`` in contract order."""
    return order_leads(ecg.signal_mv, ecg.leads, derive_limb_leads=ecg.stores_eight_leads)[0]


@pytest.mark.real
@pytest.mark.parametrize("name", REAL)
def test_samples_are_those_that_other_programs_read(formats: Path, name: str) -> None:
    rate_hz, samples, first, second = REAL[name]
    ecg = read_ecg((formats / name).read_bytes())
    signal_mv = ordered(ecg)
    assert (ecg.rate_hz, signal_mv.shape) == (rate_hz, (12, samples))
    np.testing.assert_allclose(signal_mv[0, :5], first, atol=1e-6)
    np.testing.assert_allclose(signal_mv[LEADS.index("V2"), :5], second, atol=1e-6)


@pytest.mark.real
def test_one_recording_has_the_same_bits_in_four_formats(formats: Path) -> None:
    signals = [ordered(read_ecg((formats / name).read_bytes())) for name in ONE_RECORDING]
    for other in signals[1:]:
        np.testing.assert_array_equal(other, signals[0])


@pytest.mark.real
def test_what_real_files_say(formats: Path) -> None:
    muse = read_ecg((formats / "muse_240hz.xml").read_bytes())
    assert (muse.patient_id, muse.age, muse.sex, muse.machine) == ("SAMPLE-0001", 50.0, "M", "GE MAC")
    assert muse.overread[1] == "SINUS TACHYCARDIA WITH ONE VENTRICULAR PREMATURE BEAT"
    assert muse.statements[:2] == ("SINUS TACHYCARDIA", "OCCASIONAL")
    assert muse.report.startswith("BASELINE ARTIFACT\nSINUS TACHYCARDIA WITH")
    dicom = read_ecg((formats / "dicom_12lead_1000hz.dcm").read_bytes())
    assert (dicom.age, dicom.sex, dicom.statements) == (42.0, "F", ("RITMO SINUSALE", "ECG NORMALE"))
    aecg = read_ecg((formats / "aecg_hl7_500hz.xml").read_bytes())
    assert (aecg.age, aecg.sex, aecg.machine) == (46.0, "M", "Mortara Instrument, Inc. ELI250")


#: Format -> bytes of an ECG at 500 Hz, and half of a step in mV.
WRITERS = {
    "dicom": (lambda ecg: write.dicom([write.dicom_group(ecg)]), 1.25e-3),
    "dicom implicit": (lambda ecg: write.dicom([write.dicom_group(ecg)], explicit=False), 1.25e-3),
    "dicom MDC, baseline": (
        lambda ecg: write.dicom([write.dicom_group(ecg, scheme="MDC", baseline=40.0, correction=1.1)]),
        1.375e-3,
    ),
    "dicom SCPECG, mV": (
        lambda ecg: write.dicom([write.dicom_group(ecg, scheme="SCPECG", unit="mV", sensitivity=0.001)]),
        0.5e-3,
    ),
    "muse": (lambda ecg: write.muse(ecg, 500), 2.44e-3),
    "aecg": (write.aecg, 1.25e-3),
    "philips XLI": (write.philips, 2.5e-3),
    "philips 1.04": (lambda ecg: write.philips(ecg, version="1.04"), 2.5e-3),
    "philips plain": (lambda ecg: write.philips(ecg, encoding="plain"), 2.5e-3),
    "philips base64": (lambda ecg: write.philips(ecg, version="1.04", encoding="base64"), 2.5e-3),
    "philips UTF-16": (
        lambda ecg: write.philips(ecg).decode().replace("?>", ' encoding="UTF-16"?>', 1).encode("utf-16"),
        2.5e-3,
    ),
    "edf": (write.edf, 0.25e-3),
    "edf mV": (lambda ecg: write.edf(ecg, unit="mV"), 0.25),
    "scp": (write.scp, 1.25e-3),
    "scp first differences": (lambda ecg: write.scp(ecg, order=1, leads=LEADS), 1.25e-3),
    "scp plain values": (lambda ecg: write.scp(ecg, order=0), 1.25e-3),
}


@pytest.mark.parametrize("form", WRITERS)
def test_what_is_written_comes_back_within_half_a_step(form: str) -> None:
    write_ecg, half_step_mv = WRITERS[form]
    signal_mv = ecg_mv(4.0, 500, seed=3)
    ecg = read_ecg(write_ecg(signal_mv))
    stored = [LEADS.index(lead) for lead in (write.EIGHT if ecg.stores_eight_leads else LEADS)]
    back = ordered(ecg)
    assert ecg.rate_hz == 500
    assert np.abs(back - signal_mv)[stored].max() <= half_step_mv * 1.001
    assert np.abs(back - signal_mv).max() <= 2 * half_step_mv * 1.001
    assert back[1].max() > 0.3, "an ECG, not zeros"


def test_the_rhythm_is_read_and_not_the_median() -> None:
    signal_mv = ecg_mv(4.0)
    median = write.dicom_group(signal_mv[:, :600], label="MEDIAN BEAT", originality="DERIVED")
    unnamed = write.dicom_group(signal_mv[:, :600], label="", originality="DERIVED")
    rhythm = write.dicom_group(signal_mv)
    for groups in ([median, rhythm], [rhythm, median], [unnamed, rhythm]):
        assert read_ecg(write.dicom(groups)).signal_mv.shape == (12, 2000)
    assert read_ecg(write.muse(signal_mv)).signal_mv.shape == (8, 2000)
    assert read_ecg(write.muse(signal_mv, kinds=("Rhythm", "Median"))).signal_mv.shape == (8, 2000)
    strip = write.dicom_group(signal_mv[:1], ("II",), label="RHYTHM")
    assert read_ecg(write.dicom([strip, rhythm])).signal_mv.shape == (12, 2000)


def _refused(content: bytes) -> BadRecord:
    with pytest.raises(BadRecord) as caught:
        ordered(read_ecg(content))
    return caught.value


ECG = ecg_mv(2.0)
DICOM_GROUP = write.dicom_group(ECG)
#: What is wrong -> a file, the reason, and a part of its detail.
BAD = {
    "median only": (write.dicom([write.dicom_group(ECG, label="MEDIAN")]), "median_beat_only", "no rhythm"),
    "MUSE median only": (write.muse(ECG, kinds=("Median",)), "median_beat_only", "no rhythm"),
    "two rhythms": (write.dicom([DICOM_GROUP, DICOM_GROUP]), "several_rhythms", "2 groups of leads"),
    "two MUSE rhythms": (write.muse(ECG, kinds=("Rhythm",) * 2), "several_rhythms", "export the one"),
    "three leads": (write.dicom([write.dicom_group(ECG[:3], LEADS[:3])]), "missing_leads", "3 of 12 leads"),
    "no unit": (write.dicom([write.dicom_group(ECG, unit="")]), "unknown_unit", "no unit"),
    "mmHg": (write.dicom([write.dicom_group(ECG, unit="mm[Hg]")]), "unknown_unit", "'mm[Hg]' is no voltage"),
    "MUSE in mmHg": (write.muse(ECG, unit="MMHG"), "unknown_unit", "'MMHG'"),
    "EDF without unit": (write.edf(ECG, unit=""), "unknown_unit", "no unit"),
    "no sensitivity": (
        write.dicom([write.dicom_group(ECG, sensitivity=None)]),
        "unknown_gain",
        "Sensitivity",
    ),
    "no rate": (write.muse(ECG).replace(b"<SampleBase>250", b"<SampleBase>"), "unknown_rate", "SampleBase"),
    "absurd rate": (write.aecg(ECG).replace(b'"0.002"', b'"1e-9"'), "unknown_rate", "1e+09 Hz"),
    "negative rate": (write.muse(ECG).replace(b"Base>250", b"Base>-250"), "unknown_rate", "-250 Hz"),
    "no voltage": (write.edf(ECG, labels=[f"X{n}" for n in range(12)], unit="mmHg"), "no_ecg", "X0, X1"),
    "one unknown name": (write.edf(ECG, labels=["CH1", *LEADS[1:]]), "unknown_lead", "'CH1' is none of"),
    "unknown names": (write.edf(ECG, labels=[f"CH{n}" for n in range(12)]), "unknown_lead", "'CH0'"),
    "image": (write.dicom([], SOPClassUID="1.2.840.10008.5.1.4.1.1.2"), "no_ecg", "CT Image Storage"),
    "other XML": (
        b"<?xml version='1.0'?><!-- x --><ClinicalDocument/>",
        "unknown_format",
        "<ClinicalDocument>",
    ),
    "odd base64": (write.muse(ECG).replace(b"</WaveFormData>", b"A</WaveFormData>"), "truncated", "base64"),
    "cut base64": (write.muse(ECG)[:-3000], "unreadable", "no well-formed XML"),
    "PDF": (b"%PDF-1.7 ...", "unknown_format", "a PDF"),
    "zip with a password": (b"PK\3\4\x14\0\1\0" + bytes(30), "encrypted", "password"),
    "Office": (b"\xd0\xcf\x11\xe0" + bytes(600), "unknown_format", "password"),
    "cut EDF": (write.edf(ECG)[:-100], "truncated", "1 of 2 blocks"),
    "cut SCP": (write.scp(ECG)[:-100], "truncated", "section 6"),
    "cut DICOM": (write.dicom([DICOM_GROUP])[:-100], "truncated", "bytes of samples"),
    "own Huffman tables": (
        write.scp(ECG).replace(b"\x14\x14" + bytes(6) + b"\x1f\x4e", b"\x14\x14" + bytes(6) + b"\x02\0"),
        *("unsupported", "2 Huffman tables"),
    ),
    "Philips 1.05": (write.philips(ECG, version="1.05"), "unsupported", "'1.05'"),
    "cut Philips": (
        write.philips(ECG, encoding="plain").replace(b'channel="2000"', b'channel="4000"'),
        *("truncated", "12 x 2,000"),
    ),
    "empty": (b"", "unknown_format", "none of"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_cannot_be_used_says_why(what: str) -> None:
    content, reason, detail = BAD[what]
    error = _refused(content)
    assert (error.reason, detail in error.detail) == (reason, True), error


def test_more_leads_than_twelve_are_left_out() -> None:
    more = np.concatenate([ECG, ECG[:3]])
    group = write.dicom_group(ECG)
    for name in ("V3R", "V4R", "V7"):
        group.ChannelDefinitionSequence.append(
            write.dicom_group(ECG[:1], ("I",)).ChannelDefinitionSequence[0]
        )
        group.ChannelDefinitionSequence[-1].ChannelLabel = name
    group.WaveformData = np.rint(more * 400).T.astype("<i2").tobytes()
    np.testing.assert_allclose(ordered(read_ecg(write.dicom([group]))), ECG, atol=1.26e-3)


def test_padding_is_no_signal_but_zero_is() -> None:
    group = write.dicom_group(ECG)
    steps = np.frombuffer(group.WaveformData, "<i2").reshape(-1, 12).copy()
    for value, length in ((-32768, 900), (0, 1000)):
        steps[900:] = value
        group.WaveformData, group.WaveformPaddingValue = (
            steps.tobytes(),
            value.to_bytes(2, "little", signed=True),
        )
        assert read_ecg(write.dicom([group])).signal_mv.shape == (12, length)


def test_the_calibration_pulse_of_philips_is_no_heart() -> None:
    signal_mv = ecg_mv(4.4, 500)
    tail = np.zeros((12, 400), np.float32)
    tail[:, 100:200] = 1.0
    for encoding in ("xli", "plain"):
        ecg = read_ecg(write.philips(np.concatenate([signal_mv, tail], axis=1), encoding=encoding))
        assert ecg.signal_mv.shape == (12, 2000), "whole seconds before the tail"
        np.testing.assert_allclose(ecg.signal_mv, signal_mv[:, :2000], atol=2.51e-3)


def test_equal_samples_are_equal_bits_however_the_scale_is_written() -> None:
    """2.5 uV a step: as uV, as nV, as mV, and by the limits of EDF."""
    steps = np.arange(-32768, 32768)
    expected = millivolts(steps, 2.5, "uV")
    for size, unit, offset in ((2500, "nV", 0), (0.0025, "mV", 0), (2.5e-6, "V", 0)):
        np.testing.assert_array_equal(millivolts(steps, size, unit, offset), expected)
    low, high = -81920.0, 81917.5
    size = (high - low) / 65535
    np.testing.assert_array_equal(millivolts(steps, size, "uV", low + 32768 * size), expected)
