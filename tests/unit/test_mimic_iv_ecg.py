"""MIMIC-IV-ECG: two tables become entries; MERL's filter refuses what MERL leaves out."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wfdb_writer import ecg_mv, write_record

from supreme import config
from supreme.config import ConfigError
from supreme.ecg import MIMIC_LEADS, BadRecord, order_leads
from supreme.records import open_source
from supreme.records.mimic_iv_ecg import REPORT_COLUMNS, MimicIvEcg, count_words
from supreme.records.simulated import write_mimic_folder

pytestmark = pytest.mark.unit

STUDIES = {  # study: statements
    "40000003": ["Sinus rhythm", "", "Normal ECG"],
    "40000000": [],  # Arrow's join drops rows of nulls
    "40000001": ["*** age not entered ***", "Atrial fibrillation", "- rapid response"],
    "40000002": ["Normal ECG"],
}


def _write(folder: Path, studies: dict[str, list[str]], records: Sequence[str] = ()) -> None:
    def rows(name: str, header: list[str], lines: list[list[str]]) -> None:
        with open(folder / name, "w", newline="", encoding="utf-8-sig") as stream:
            csv.writer(stream).writerows([header, *lines])

    listed = [
        ["10000032", study, study, "2180-07-23 08:44:00", f"files/p1000/p10000032/s{study}/{study}"]
        for study in records or studies
    ]
    rows("record_list.csv", ["subject_id", "study_id", "file_name", "ecg_time", "path"], listed)
    measured = [
        ["10000032", study, "6848296", *said, *[""] * (18 - len(said))] for study, said in studies.items()
    ]
    rows("machine_measurements.csv", ["subject_id", "study_id", "cart_id", *REPORT_COLUMNS], measured)


def _open(folder: Path, **fields: object) -> MimicIvEcg:
    source = open_source(config.Source(kind="mimic_iv_ecg", uri=str(folder), **fields), seed=0, rate_hz=100)
    assert isinstance(source, MimicIvEcg)
    return source


def test_the_folder_gives_back_what_was_simulated(tmp_path):
    write_mimic_folder(str(tmp_path), 3, seed=4)
    drawn = open_source(config.Source(kind="simulated", records=3), seed=4, rate_hz=500)
    source = _open(tmp_path)
    for entry, original in zip(source.index(), drawn.index(), strict=True):
        record, truth = source.read(entry), drawn.read(original)
        assert record.leads == MIMIC_LEADS
        ordered, _ = order_leads(record.signal_mv, record.leads)
        np.testing.assert_allclose(ordered, truth.signal_mv, atol=0.5 / 200 + 1e-4)
        assert record.entry.report.split("\n") == [line for line in truth.entry.report.split("\n") if line]


def test_statements_are_joined_by_study_whatever_the_order_of_the_rows(tmp_path):
    _write(tmp_path, STUDIES, records=["40000002", "40000003", "40000000", "40000001"])
    entries = _open(tmp_path).index()
    assert {entry.record_id: entry.report for entry in entries} == {
        f"mimic_iv_ecg/{study}": "\n".join(filter(None, said)) for study, said in STUDIES.items()
    }
    assert [entry.record_id for entry in entries] == sorted(entry.record_id for entry in entries)
    assert {entry.patient_id for entry in entries} == {"mimic_iv_ecg/10000032"}
    assert entries[1].source_uri == f"{tmp_path}/files/p1000/p10000032/s40000001/40000001"


def test_a_record_without_measurements_has_an_empty_report_and_is_counted(tmp_path, caplog):
    _write(tmp_path, STUDIES, records=["40000001", "40000009"])
    with caplog.at_level("INFO", "supreme"):
        assert [entry.report for entry in _open(tmp_path).index()][1] == ""
    assert "no row for 1 of 2 records" in caplog.text


def test_empty_statement_columns_that_a_tool_dropped_are_not_missed(tmp_path):
    _write(tmp_path, STUDIES)
    path = tmp_path / "machine_measurements.csv"
    rows = list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines()))
    with open(path, "w", newline="") as stream:
        csv.writer(stream).writerows([[*row[:2], *row[3:6]] for row in rows])
    assert {entry.report for entry in _open(tmp_path).index()} == {
        "\n".join(filter(None, statements)) for statements in STUDIES.values()
    }
    with open(path, "w", newline="") as stream:
        csv.writer(stream).writerows([row[:3] for row in rows])
    with pytest.raises(ConfigError, match=r"machine_measurements\.csv: no column report_0, report_1"):
        _open(tmp_path).index()


def test_measurements_of_other_studies_are_refused(tmp_path):
    _write(tmp_path, STUDIES, records=["50000001", "50000002"])
    with pytest.raises(
        ConfigError, match=r"no row for any of 2 records.*study_id '4000000.', '50000001' there"
    ):
        _open(tmp_path).index()


def _as_merl_does(statements: list[str]) -> int:
    """`process_report` of MERL's `pretrain/preprocess.ipynb`, as far as the count goes."""
    report = ". ".join(statements)
    report = report.replace("EKG", "ECG").replace("ekg", "ecg")
    report = report.strip(" ***").strip("*** ").strip("***").strip("=-").strip("=")  # noqa: B005
    return len(report.lower().split())


@given(st.lists(st.text("aE *=-.\t", min_size=1), max_size=4))
def test_words_are_counted_as_merl_does(statements):
    assert count_words("\n".join(statements)) == _as_merl_does(statements)


def test_merls_filter_refuses_short_reports_without_reading_a_signal(tmp_path):
    _write(tmp_path, STUDIES)
    dropped = {"40000002": "2 of the 4", "40000000": "0 of the 4"}
    for study in STUDIES.keys() - dropped.keys():
        place = tmp_path / f"files/p1000/p10000032/s{study}"
        write_record(place, study, ecg_mv(0.1), leads=MIMIC_LEADS)
    filtered, plain = _open(tmp_path, report_filter="merl"), _open(tmp_path)
    assert filtered.index() == plain.index()
    for entry in filtered.index():
        study = entry.record_id.rpartition("/")[2]
        if study in dropped:
            with pytest.raises(BadRecord, match=f"report_filter: {dropped[study]}"):
                filtered.read(entry)
            with pytest.raises(BadRecord, match="missing_file"):
                plain.read(entry)
        else:
            assert filtered.read(entry).entry == entry


@pytest.mark.parametrize(
    ("table", "old", "new", "message"),
    [
        (
            "record_list.csv",
            "40000003",
            "40000001",
            r"record_list\.csv: study_id 40000001 in more than one row",
        ),
        ("record_list.csv", "subject_id", "patient", r"record_list\.csv: no column 'subject_id'"),
        ("record_list.csv", "10000032,40000001", ",40000001", "row 3 has no subject_id"),
        ("record_list.csv", "files/p1000", "../p1000", r"record_list\.csv: unsafe_path"),
        ("record_list.csv", ",2180-07-23 08:44:00", "", "row 1 has not 5 cells"),
        ("machine_measurements.csv", "40000003", "40000001", "study_id 40000001 in more than one row"),
        ("machine_measurements.csv", "study_id", "study", "no column 'study_id'; nearest: 'study'"),
        ("machine_measurements.csv", "Sinus", "Sin\udcffus", "line 2 is not UTF-8"),
        ("machine_measurements.csv", None, "", "is empty"),
    ],
)
def test_what_is_wrong_with_a_table_is_named(tmp_path, table, old, new, message):
    _write(tmp_path, STUDIES)
    path = tmp_path / table
    text = path.read_text(encoding="utf-8-sig")
    broken = text.replace(old, new, 1) if old else new
    path.write_bytes(broken.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError, match=message):
        _open(tmp_path).index()


def test_a_folder_without_its_statements_says_what_is_missing(tmp_path):
    _write(tmp_path, STUDIES)
    (tmp_path / "machine_measurements.csv").unlink()
    with pytest.raises(ConfigError, match=r"machine_measurements\.csv"):
        _open(tmp_path)


@pytest.mark.real
def test_the_real_tables_have_these_columns(realdata, tmp_path):
    for name in ("record_list", "machine_measurements"):
        shutil.copy(realdata / "mimic-iv-ecg" / f"{name}_example.csv", tmp_path / f"{name}.csv")
    (entry,) = _open(tmp_path).index()
    assert (entry.record_id, entry.patient_id) == ("mimic_iv_ecg/40689238", "mimic_iv_ecg/10000032")
    assert len(entry.report.split("\n")) == 3
    assert count_words(entry.report) == 8
