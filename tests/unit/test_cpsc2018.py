"""CPSC2018: structs and WFDB files give the same records, with the classes of `REFERENCE.csv`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat
from wfdb_writer import ecg_mv, write_cpsc2018, write_mat_record

from supreme import config
from supreme.config import ConfigError
from supreme.ecg import LEADS, BadRecord
from supreme.records import RecordSource, discover, open_source

pytestmark = pytest.mark.unit


def _open(folder: Path) -> RecordSource:
    return open_source(config.Source(kind="cpsc2018", uri=str(folder)), seed=0, rate_hz=100)


def test_structs_that_are_there_are_read(tmp_path):
    write_cpsc2018(tmp_path, ["A0001", "A0009"])
    source = _open(tmp_path)
    first, unknown = source.index()
    record = source.read(first)
    assert (record.entry.codes, record.entry.sex, record.entry.age) == (("5", "8"), "M", 52.0)
    assert (record.leads, record.rate_hz) == (LEADS, 500.0)
    np.testing.assert_array_equal(record.signal_mv, ecg_mv(6, seed=0))
    with pytest.raises(BadRecord, match="unlabelled"):
        source.read(unknown)


def test_wfdb_files_are_the_same_records(tmp_path):
    """The `.mat` beside a header is its signal file, not a struct."""
    write_cpsc2018(tmp_path, [])
    write_mat_record(tmp_path / "Training_WFDB" / "g1", "A0001", ecg_mv(6, seed=0))
    write_mat_record(tmp_path / "Training_WFDB" / "g1", "A0009", ecg_mv(6, seed=1))
    assert [found.kind for found in discover(str(tmp_path))] == ["cpsc2018"]
    source = _open(tmp_path)
    first, unknown = source.index()
    record = source.read(first)
    assert (first.record_id, record.entry.codes) == ("cpsc2018/A0001", ("5", "8"))
    assert (record.entry.sex, record.entry.age) == ("F", 73.0)
    assert (record.leads, record.rate_hz) == (LEADS, 500.0)
    np.testing.assert_allclose(record.signal_mv, ecg_mv(6, seed=0), atol=0.0005001)
    with pytest.raises(BadRecord, match="unlabelled"):
        source.read(unknown)


@pytest.mark.parametrize("row", ["A0001.mat,5.0,8.0,", " A0001 ,5,8.00,NaN", "A0001,5,8,"])
def test_classes_are_joined_by_name_and_are_whole_numbers(tmp_path, row):
    write_cpsc2018(tmp_path, ["A0001"])
    (tmp_path / "REFERENCE.csv").write_text(f"recording,First_label,Second_label,Third_label\n{row}\n")
    assert [entry.codes for entry in _open(tmp_path).index()] == [("5", "8")]


def test_a_reference_of_other_records_is_refused(tmp_path):
    write_cpsc2018(tmp_path, ["B0001"])
    with pytest.raises(ConfigError, match=r"REFERENCE\.csv: no row for any of 1 records"):
        _open(tmp_path).index()


def _struct(data: object) -> dict[str, object]:
    return {"ECG": {"sex": "Male", "age": 5, "data": data}}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty_file"),
        (b"garbage" * 99, "unreadable"),
        ({"x": 1}, "unreadable"),
        ({"ECG": 3}, "unreadable"),
        ({"ECG": {"sex": "Male"}}, "unreadable"),
        (_struct("text"), "unreadable"),
        (_struct([[1j]]), "unreadable"),
        (_struct(np.zeros((8, 9))), "missing_leads"),
        (_struct(np.zeros((12, 9, 2))), "missing_leads"),
        (None, "missing_file"),
    ],
)
def test_broken_files_are_refused_with_a_reason(tmp_path, content, reason):
    write_cpsc2018(tmp_path, ["A0001"])
    source = _open(tmp_path)
    (entry,) = source.index()
    path = Path(entry.source_uri)
    path.unlink()
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        savemat(path, content)
    with pytest.raises(BadRecord) as caught:
        source.read(entry)
    assert caught.value.reason == reason


def test_what_is_not_known_of_a_patient_is_left_open(tmp_path):
    write_cpsc2018(tmp_path, ["A0001"])
    source = _open(tmp_path)
    (entry,) = source.index()
    for about in ({"sex": "", "age": np.nan}, {"age": []}, {"sex": "?", "age": "NaN"}):
        savemat(entry.source_uri, {"ECG": {"data": ecg_mv(6), **about}})
        known = source.read(entry).entry
        assert (known.sex, known.age) == ("", None)


@pytest.mark.real
def test_real_structs_are_the_recordings_of_the_challenge_set(realdata):
    """Both forms of a recording differ by no more than the rounding of the second to 1 uV."""
    opened = {source.dataset: open_source(source, 0, 100) for source in discover(str(realdata))}
    twins = {entry.record_id.rpartition("/")[2]: entry for entry in opened["cpsc_2018"].index()}
    pairs = 0
    for entry in opened["cpsc2018"].index():
        twin = twins.get(entry.record_id.rpartition("/")[2])
        if twin:
            first, second = opened["cpsc2018"].read(entry), opened["cpsc_2018"].read(twin)
            np.testing.assert_allclose(first.signal_mv, second.signal_mv, atol=0.0011)
            assert (first.entry.age, first.entry.sex) == (second.entry.age, second.entry.sex)
            pairs += 1
    assert pairs
