"""WFDB records: millivolts come out whatever the layout; broken or missing files give a reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wfdb_writer import ecg_mv, write_mat_record, write_record

from supreme import storage
from supreme.ecg import LEADS, BadRecord, order_leads
from supreme.records import Entry
from supreme.records.cells import parse_age
from supreme.records.wfdb_files import WfdbReader, inside

pytestmark = pytest.mark.unit


def _entry(header: Path) -> Entry:
    return Entry("d/1", "d", "d/1", source_uri=str(header.with_suffix("")))


def _reason(header: Path) -> str:
    with pytest.raises(BadRecord) as caught:
        WfdbReader().read(_entry(header))
    return caught.value.reason


@pytest.fixture
def header(tmp_path):
    return write_record(tmp_path, "r1", ecg_mv(2), comments=["Dx: 1"])


def test_a_record_comes_back_in_millivolts(tmp_path):
    signal_mv = ecg_mv(3, rate_hz=400)
    written = write_record(tmp_path, "r1", signal_mv, rate_hz=400, gain=200, comments=["Age: 5", "x"])
    record, comments = WfdbReader().read(_entry(written))
    np.testing.assert_allclose(record.signal_mv, signal_mv, atol=0.5 / 200 + 1e-6)
    assert (record.leads, record.rate_hz, comments) == (LEADS, 400.0, {"age": "5"})


def test_dat_mat_and_another_order_of_leads_give_the_same_bits(tmp_path):
    signal_mv, other = ecg_mv(2), LEADS[::-1]
    written = [
        write_record(tmp_path, "dat", signal_mv),
        write_mat_record(tmp_path, "mat", signal_mv),
        write_mat_record(tmp_path, "other", signal_mv[::-1], other),
    ]
    records = [WfdbReader().read(_entry(header))[0] for header in written]
    assert records[2].leads == other
    first, *others = (order_leads(record.signal_mv, record.leads)[0].tobytes() for record in records)
    assert others == [first, first]


def _write_with_channels(
    folder: Path, steps: np.ndarray, places: list[int], per_frame: int, own_file: bool
) -> Path:
    """A record of two samples of each lead a frame, and other channels before the leads at ``places``."""
    frames = steps.reshape(12, -1, 2)
    noise = np.random.default_rng(0).integers(
        -9000, 9000, (len(places), frames.shape[1], per_frame), np.int16
    )
    files: dict[str, list[np.ndarray]] = {"r.dat": [], "other.bin": []}
    lines = []
    for lead in range(13):
        for number in [number for number, place in enumerate(places) if place == lead]:
            file = "other.bin" if own_file else "r.dat"
            files[file].append(noise[number])
            lines.append(f"{file} 16x{per_frame} 7/mmHg 16 0 5 9 0 ABP{number}")
        if lead < 12:
            files["r.dat"].append(frames[lead])
            lines.append(f"r.dat 16x2 1000/mV 16 0 {steps[lead, 0]} 0 0 {LEADS[lead]}")
    header = folder / "r.hea"
    header.write_text("\n".join([f"r {len(lines)} 250 {frames.shape[1]}", *lines]) + "\n")
    for file, signals in files.items():
        if signals and not (own_file and file == "other.bin"):  # nobody needs that one
            (folder / file).write_bytes(np.concatenate(signals, axis=1).astype("<i2").tobytes())
    return header


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.integers(0, 12), max_size=3), st.sampled_from([1, 2, 3]), st.booleans())
def test_other_channels_change_no_sample_wherever_they_stand(tmp_path, places, per_frame, own_file):
    steps = np.rint(ecg_mv(2) * 1000).astype(np.int16)
    record, _ = WfdbReader().read(_entry(_write_with_channels(tmp_path, steps, places, per_frame, own_file)))
    assert (record.leads, record.rate_hz) == (LEADS, 500)
    np.testing.assert_allclose(record.signal_mv, steps / 1000, atol=1e-6)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.integers(0, 12), max_size=3))
def test_other_channels_among_plain_samples_change_none(tmp_path, places):
    signal_mv, names, rows = ecg_mv(2), list(LEADS), list(ecg_mv(2))
    for number, place in enumerate(places):
        names.insert(place, f"Resp{number}")
        rows.insert(place, np.full(1000, 3.5 + number, np.float32))
    header = write_record(tmp_path, "r", np.stack(rows), leads=names)
    header.write_text("\n".join(_spoil(line) for line in header.read_text().splitlines()) + "\n")
    record, _ = WfdbReader().read(_entry(header))
    assert record.leads == LEADS
    np.testing.assert_allclose(record.signal_mv, signal_mv, atol=6e-4)


def _spoil(line: str) -> str:
    """Of a channel that is no lead neither unit nor checksum matters."""
    return line.replace("/mV", "/NU").replace(" 0 Resp", "1 0 Resp") if "Resp" in line else line


@pytest.mark.parametrize(("unit", "scale"), [("uV", 1e-3), ("µV", 1e-3), ("V", 1e3), ("mV", 1.0)])
def test_the_headers_unit_is_heeded(header, unit, scale):
    before = WfdbReader().read(_entry(header))[0].signal_mv
    header.write_text(header.read_text().replace("/mV", f"/{unit}"))
    np.testing.assert_allclose(WfdbReader().read(_entry(header))[0].signal_mv, before * scale, rtol=1e-6)


def test_a_record_that_calls_itself_by_its_file_name_is_read(header):
    before = WfdbReader().read(_entry(header))[0].signal_mv
    header.write_text(header.read_text().replace("r1 12", "r1.mat 12", 1))
    np.testing.assert_array_equal(WfdbReader().read(_entry(header))[0].signal_mv, before)


def test_a_header_without_length_is_read_to_the_end_of_the_file(header):
    header.write_text(header.read_text().replace(" 500 1000", " 500", 1))
    assert WfdbReader().read(_entry(header))[0].signal_mv.shape == (12, 1000)


def test_a_record_in_the_working_folder_is_read(header, monkeypatch):
    monkeypatch.chdir(header.parent)
    assert WfdbReader().read(Entry("d/1", "d", "d/1", source_uri="r1"))[0].signal_mv.shape == (12, 1000)


def test_no_file_outside_the_folder_is_opened(tmp_path, header):
    secret = write_record(tmp_path / "outside", "r1", ecg_mv(2, seed=5))
    inner = tmp_path / "inner"
    inner.mkdir()
    moved = inner / "r1.hea"
    moved.write_text(header.read_text().replace("r1.dat", f"../outside/{secret.stem}.dat"))
    assert _reason(moved) == "unsafe_header"


def test_broken_files_are_refused_with_a_reason(header):
    data = header.with_suffix(".dat")
    whole, text = data.read_bytes(), header.read_text()
    data.write_bytes(whole[: len(whole) // 2])
    assert _reason(header) == "truncated"
    data.write_bytes(whole[:-2] + b"\0\1")
    assert _reason(header) == "checksum"
    data.write_bytes(b"\0\1" + whole[2:])
    assert _reason(header) == "first_value"
    data.write_bytes(b"")
    assert _reason(header) == "empty_file"
    data.unlink()
    assert _reason(header) == "missing_file"
    data.mkdir()
    assert _reason(header) == "unreadable"
    data.rmdir()
    with open(data, "wb") as stream:
        stream.truncate(10**12)
    assert _reason(header) == "too_large"
    header.write_text(text.replace("r1.dat", "../r1.dat"))
    assert _reason(header) == "unsafe_header"
    header.write_bytes(b"")
    assert _reason(header) == "empty_file"
    header.write_text(text + "#" + "x" * 2_000_000)
    assert _reason(header) == "too_large"
    header.unlink()
    assert _reason(header) == "missing_file"


def test_a_storage_that_does_not_answer_says_nothing_about_the_record(header, monkeypatch):
    def fail(*args: object, **options: object) -> bytes:
        raise storage.Unavailable("503")

    monkeypatch.setattr(storage, "read_bytes", fail)
    with pytest.raises(storage.Unavailable):
        WfdbReader().read(_entry(header))


def test_a_record_takes_one_request_for_each_of_its_files(header, monkeypatch):
    read, requests = storage.read_bytes, []
    monkeypatch.setattr(
        storage, "read_bytes", lambda uri, *args, **how: requests.append(uri) or read(uri, *args, **how)
    )
    monkeypatch.setattr(storage, "exists", None)
    WfdbReader().read(_entry(header))
    assert requests == [str(header), str(header.with_suffix(".dat"))]


def test_invalid_samples_come_as_nan(header):
    data = header.with_suffix(".dat")
    content = np.fromfile(data, "<i2")
    content[5] = -32768
    content.tofile(data)
    header.write_text("\n".join(line.partition(" 16 0 ")[0] for line in header.read_text().splitlines()))
    assert np.isnan(WfdbReader().read(_entry(header))[0].signal_mv).sum() == 1


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/passwd", "a\\..\\x", "x?anonymous=true"])
def test_a_table_may_not_name_a_record_outside_its_folder(name):
    with pytest.raises(BadRecord, match="unsafe_path"):
        inside("/data", name)


@pytest.mark.parametrize(
    ("text", "age"), [("71", 71.0), ("300", 90.0), ("NaN", None), ("", None), ("-1", None), ("Unknown", None)]
)
def test_ages(text, age):
    assert parse_age(text) == age
