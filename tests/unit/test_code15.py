"""CODE-15%: labels and patients from `exams.csv`, or from the headers; no patient in two splits."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from wfdb_writer import ecg_mv, write_record

from supreme import config, records
from supreme.config import ConfigError
from supreme.records import discover, open_source
from supreme.records.code15 import DIAGNOSES
from supreme.records.label_sets import label_sets

pytestmark = pytest.mark.unit

PATIENTS = {"1001": "7", "1002": "7", "1003": "8"}


def _write(folder: Path, chagas: str = "False") -> None:
    for exam, patient in PATIENTS.items():
        comments = [f"Exam ID: {exam}", f"Patient ID: {patient}", "Age: 44", "Sex: Female"]
        comments.append(f"Chagas label: {chagas}")
        write_record(folder, exam, ecg_mv(0.1, rate_hz=400), rate_hz=400, comments=comments)


def _write_exams(folder: Path, *exams: str, **columns: str) -> None:
    with open(folder / "exams.csv", "w", newline="") as stream:
        writer = csv.DictWriter(stream, ["exam_id", "age", "is_male", "patient_id", *DIAGNOSES, "trace_file"])
        writer.writeheader()
        for exam in exams:
            flags = dict.fromkeys(DIAGNOSES, "False") | columns
            writer.writerow({"exam_id": exam, "patient_id": PATIENTS.get(exam, "9")} | flags)


def _open(folder: Path) -> records.RecordSource:
    return open_source(config.Source(kind="code15", uri=str(folder)), 0, 100)


def test_labels_and_patients_come_from_exams_csv(tmp_path):
    _write(tmp_path, chagas="True")
    _write_exams(tmp_path, *PATIENTS, "1004", AF="True", SB="True")
    source = _open(tmp_path)
    entries = source.index()
    assert [entry.record_id for entry in entries] == ["code15/1001", "code15/1002", "code15/1003"]
    assert [entry.patient_id for entry in entries] == ["code15/7", "code15/7", "code15/8"]
    assert {(entry.codes, entry.split) for entry in entries} == {(("SB", "AF", "abnormal_ecg"), None)}
    record = source.read(entries[0])
    assert (record.rate_hz, record.entry.age, record.entry.sex) == (400, 44.0, "F")
    assert record.entry.codes == ("SB", "AF", "abnormal_ecg", "chagas")
    diagnoses, chagas = label_sets("code15")
    assert diagnoses.of(record.entry.codes) == ["SB", "AF"]
    assert chagas.of(record.entry.codes) == ["chagas"]
    assert not diagnoses.annotates(("no_chagas",))
    assert diagnoses.annotates(("normal_ecg",))
    assert not chagas.annotates(("normal_ecg",))


def test_without_exams_csv_all_is_test_and_the_patient_comes_with_the_record(tmp_path, caplog):
    _write(tmp_path)
    source = _open(tmp_path)
    with caplog.at_level("INFO", "supreme"):
        entries = source.index()
    assert "3 records without a row in exams.csv" in caplog.text
    assert {entry.split for entry in entries} == {"test"}
    known = [source.read(entry).entry for entry in entries]
    assert [entry.patient_id for entry in known] == ["code15/7", "code15/7", "code15/8"]
    assert {entry.codes for entry in known} == {("no_chagas",)}


def test_a_record_that_exams_csv_lacks_cannot_share_a_patient_with_training(tmp_path):
    _write(tmp_path)
    _write_exams(tmp_path, "1001", "1003")
    assert [entry.split for entry in _open(tmp_path).index()] == [None, "test", None]


def test_keys_that_became_floats_and_flags_as_numbers_are_read(tmp_path):
    _write(tmp_path)
    rows = "".join(f"{exam}.0,{patient}.0,1.0,0,0,0,0,1,False\n" for exam, patient in PATIENTS.items())
    (tmp_path / "exams.csv").write_text(f"Exam ID,Patient_ID,{','.join(DIAGNOSES)}\n{rows}")
    entries = _open(tmp_path).index()
    assert {entry.codes for entry in entries} == {("1dAVb", "AF", "abnormal_ecg")}
    assert [entry.patient_id for entry in entries] == ["code15/7", "code15/7", "code15/8"]


def test_a_table_of_other_exams_is_refused(tmp_path):
    _write(tmp_path)
    _write_exams(tmp_path, "2001", "2002")
    with pytest.raises(ConfigError, match=r"exams\.csv: no row for any of 3 records.*exam_id '2001'"):
        _open(tmp_path).index()


def test_broken_tables_and_double_exams_are_named(tmp_path):
    _write(tmp_path)
    _write_exams(tmp_path, "1001", "1001")
    with pytest.raises(ConfigError, match=r"exams\.csv: exam_id 1001 in more than one row"):
        _open(tmp_path).index()
    (tmp_path / "exams.csv").write_text("exam_id,patient\n1,2\n")
    with pytest.raises(ConfigError, match=r"exams\.csv: no column 'patient_id'; nearest: 'patient'"):
        _open(tmp_path).index()
    (tmp_path / "exams.csv").unlink()
    write_record(tmp_path / "again", "1001", ecg_mv(0.1), rate_hz=400)
    with pytest.raises(ConfigError, match=r"code15/1001 is there twice"):
        _open(tmp_path).index()


@pytest.mark.parametrize("name", ["code15", "CODE-15", "code15_wfdb"])
def test_it_is_found_by_its_name(tmp_path, name):
    write_record(tmp_path / name, "1001", ecg_mv(0.1), rate_hz=400)
    write_record(tmp_path / "other", "1001", ecg_mv(0.1), rate_hz=400)
    (found,) = discover(str(tmp_path))
    assert (found.kind, found.uri) == ("code15", f"{tmp_path}/{name}")


@pytest.mark.real
def test_real_exams_read_at_400_hz_with_their_patients(realdata):
    source = _open(realdata / "code15")
    known = [source.read(entry) for entry in source.index()]
    assert {record.rate_hz for record in known} == {400.0}
    assert {record.signal_mv.shape[1] for record in known} >= {2934, 4096}
    # Two exams are of one patient, and one of 46 has the disease.
    assert len(known) == 46
    assert len({record.entry.patient_id for record in known}) == 45
    assert [record.entry.codes for record in known].count(("chagas",)) == 1
