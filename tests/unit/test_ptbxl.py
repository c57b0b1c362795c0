"""PTB-XL: folds, patients and codes of its table; either rate."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from wfdb_writer import ecg_mv, write_ptbxl, write_record

from supreme import config, records
from supreme.config import ConfigError
from supreme.records import open_source, patient_tenth

pytestmark = pytest.mark.unit


def _open(folder: Path, **fields: object) -> records.RecordSource:
    return open_source(config.Source(kind="ptbxl", uri=str(folder), **fields), seed=0, rate_hz=100)


def test_folds_patients_and_codes(tmp_path):
    rows = [{"patient_id": f"{number}.0", "strat_fold": str(1 + number % 10)} for number in range(20, 40)]
    rows[0] |= {"age": "300.0", "sex": "0", "report": "af. Edit: AFIB 100", "scp_codes": "{'AFIB': 100.0}"}
    write_ptbxl(tmp_path, rows, seconds=0.1)
    entries = _open(tmp_path).index()
    folds = {entry.record_id: int(row["strat_fold"]) for entry, row in zip(entries, rows, strict=True)}
    for entry in entries:
        assert entry.fold == folds[entry.record_id]
        assert (entry.split == "test") == (folds[entry.record_id] >= 9)
        held_out = patient_tenth(entry.patient_id) == 8
        assert (entry.split == "validation") == (held_out and folds[entry.record_id] <= 8)
    assert {entry.split for entry in entries} == {"train", "validation", "test"}
    first = entries[0]
    assert (first.record_id, first.patient_id) == ("ptbxl/00001", "ptbxl/20")
    assert (first.age, first.sex, first.codes, first.report) == (90.0, "M", ("AFIB",), "af. Edit: AFIB 100")
    assert entries[1].codes == ("NORM", "SR")


def test_codes_stand_in_no_other_field(tmp_path):
    write_ptbxl(tmp_path, [{"scp_codes": "{'PLANTED': 80.0}"}], seconds=0.1)
    source = _open(tmp_path)
    (entry,) = source.index()
    fields = vars(source.read(entry).entry)
    assert [name for name, value in fields.items() if "PLANTED" in str(value)] == ["codes"]


def test_numbers_are_whole_or_not_and_cells_may_be_empty_as_in_1_0_3(tmp_path):
    row = {"patient_id": "7", "strat_fold": "10.0", "age": "", "sex": "1.0", "report": "", "scp_codes": "{}"}
    write_ptbxl(tmp_path, [row], seconds=0.1)
    (entry,) = _open(tmp_path).index()
    assert (entry.patient_id, entry.split, entry.age, entry.sex) == ("ptbxl/7", "test", None, "F")
    assert (entry.report, entry.codes) == ("", ())


def test_the_highest_rate_that_is_there_or_the_one_that_is_asked_for(tmp_path):
    write_ptbxl(tmp_path, [{}], seconds=0.1)
    with pytest.raises(ConfigError, match=r"has no records100/.*rate_hz"):
        _open(tmp_path, rate_hz=100)
    write_record(tmp_path / "records100" / "00000", "00001_lr", ecg_mv(2, rate_hz=100), rate_hz=100)
    for fields, rate_hz in (({}, 500), ({"rate_hz": 500}, 500), ({"rate_hz": 100}, 100)):
        source = _open(tmp_path, **fields)
        assert source.read(source.index()[0]).rate_hz == rate_hz
    shutil.rmtree(tmp_path / "records500")
    source = _open(tmp_path)
    assert source.read(source.index()[0]).rate_hz == 100
    shutil.rmtree(tmp_path / "records100")
    with pytest.raises(ConfigError, match="has no records500/ or records100/"):
        _open(tmp_path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"strat_fold": "11"}, "ecg_id 2: .*strat_fold 11"),
        ({"strat_fold": ""}, "row 2 has no strat_fold"),
        ({"ecg_id": ""}, "row 2 has no ecg_id"),
        ({"ecg_id": "1"}, "ecg_id 1 in more than one row"),
        ({"ecg_id": "01"}, "ptbxl/00001 is there twice"),
        ({"ecg_id": "one"}, "ecg_id one: ValueError"),
        ({"patient_id": "nan"}, "row 2 has no patient_id"),
        ({"patient_id": "inf"}, "ecg_id 2: OverflowError"),
        ({"scp_codes": "NORM"}, "ecg_id 2: ValueError"),
        ({"scp_codes": "{'NORM': }"}, "ecg_id 2: SyntaxError"),
        ({"scp_codes": "[1, 2]"}, "ecg_id 2: TypeError"),
        ({"scp_codes": "(" * 9000}, "ecg_id 2: (MemoryError|RecursionError|SyntaxError)"),
        ({"filename_hr": "../../etc/passwd"}, "ecg_id 2: .*leads out of"),
    ],
)
def test_the_broken_row_of_the_table_is_named(tmp_path, row, message):
    write_ptbxl(tmp_path, [{}, row], seconds=0.1)
    with pytest.raises(ConfigError, match=rf"ptbxl_database\.csv: .*{message}"):
        _open(tmp_path).index()


def test_a_missing_column_is_named_with_the_nearest(tmp_path):
    write_ptbxl(tmp_path, [{}], seconds=0.1)
    table = tmp_path / "ptbxl_database.csv"
    table.write_text(table.read_text().replace("strat_fold", "fold"))
    with pytest.raises(ConfigError, match="no column 'strat_fold'; nearest: 'fold'"):
        _open(tmp_path).index()
