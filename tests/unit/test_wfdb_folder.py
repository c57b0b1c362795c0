"""Anyone's own folder: a table and WFDB records find each other, or the error says what to do."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wfdb_writer import ecg_mv, write_record

from supreme import config, records
from supreme.config import ConfigError
from supreme.ecg import LEADS, BadRecord, order_leads
from supreme.records import open_source, split_of, wfdb_files
from supreme.records.wfdb_files import WfdbReader
from supreme.records.wfdb_folder import COLUMNS, SYNONYMS

pytestmark = pytest.mark.unit


def _open(folder: Path, **fields: object) -> records.RecordSource:
    return open_source(config.Source(kind="wfdb_folder", name="mine", uri=str(folder), **fields), 0, 100)


def _touch(folder: Path, *stems: str) -> None:
    """Headers without content: enough to be listed."""
    for stem in stems:
        path = folder / f"{stem}.hea"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def _table(folder: Path, *rows: dict[str, str], name: str = "table.csv") -> None:
    with open(folder / name, "w", newline="") as stream:
        writer = csv.DictWriter(stream, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)


def test_every_column_reaches_the_record(tmp_path):
    signal_mv = ecg_mv(0.2)
    write_record(tmp_path / "2024" / "ward", "r1", signal_mv, gain=1000)
    row = {"id": "r1", "patient_id": "p7", "report": "Sinus rhythm\nNormal", "labels": "AF; 426783006 ;"}
    row |= {"age": "61", "sex": "female", "split": "test", "ward": "ignored"}
    _table(tmp_path, row)
    source = _open(tmp_path)
    (entry,) = source.index()
    record = source.read(entry)
    assert (
        record.entry
        == entry
        == records.Entry(
            record_id="mine/r1",
            dataset="mine",
            patient_id="mine/p7",
            split="test",
            report="Sinus rhythm\nNormal",
            codes=("AF", "426783006"),
            age=61.0,
            sex="F",
            source_uri=f"{tmp_path}/2024/ward/r1",
        )
    )
    np.testing.assert_allclose(record.signal_mv, signal_mv, atol=6e-4)


def test_a_map_names_channels_that_are_not_understood(tmp_path):
    signal_mv, names = ecg_mv(0.2), ["CH1", *LEADS[1:3], "V1-", *LEADS[4:]]
    signal_mv[3] *= -1
    write_record(tmp_path, "r", signal_mv, leads=names)
    _table(tmp_path, {"id": "r"})
    source = _open(tmp_path, leads={"CH1": "I", "V1-": "-aVR"})
    record = source.read(source.index()[0])
    ordered, _ = order_leads(record.signal_mv, record.leads)
    np.testing.assert_allclose(ordered, ecg_mv(0.2), atol=6e-4)
    with pytest.raises(ConfigError, match="leads: 'CH1' = 'Z9' is none of I, II"):
        config.parse({"sources": [{"kind": "wfdb_folder", "uri": "x", "leads": {"CH1": "Z9"}}]})
    with pytest.raises(ConfigError, match="gain_per_mv and leads are read from WFDB headers"):
        config.parse({"sources": [{"kind": "simulated", "records": 3, "gain_per_mv": 200}]})
    with pytest.raises(ConfigError, match="gain_per_mv"):
        config.parse({"sources": [{"kind": "csn", "uri": "x", "gain_per_mv": 0}]})


def test_a_prediction_takes_the_same_map_and_gain(tmp_path):
    header = write_record(tmp_path, "r", ecg_mv(0.2), leads=["CH1", *LEADS[1:]])
    values = {"uri": str(tmp_path), "leads": {"CH1": "I"}, "gain_per_mv": 500}
    recipe = config.parse({"sources": [{"kind": "wfdb_folder", **values}], "predict": values})
    entry = wfdb_files.entry_of("", "r", str(header.with_suffix("")))
    one, other = (WfdbReader.of(of).read(entry)[0] for of in (recipe.sources[0], recipe.predict))
    assert one.leads == other.leads == LEADS
    np.testing.assert_array_equal(one.signal_mv, other.signal_mv)
    np.testing.assert_allclose(other.signal_mv, 2 * ecg_mv(0.2), atol=2e-3)
    for wrong in ({"leads": {"CH1": "Z9"}}, {"gain_per_mv": 0}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            config.parse({"predict": values | wrong})


def test_only_the_id_is_needed(tmp_path):
    _touch(tmp_path, "b", "a")
    _table(tmp_path, {"id": "b"}, {"id": "a"})
    a, b = _open(tmp_path).index()
    assert (a.record_id, a.patient_id, a.split, a.report, a.codes) == ("mine/a", "mine/a", None, "", ())
    assert (a.age, a.sex, b.record_id) == (None, "", "mine/b")


def test_a_parquet_table_gives_the_same_entries(tmp_path):
    rows = [
        {"id": "1", "patient_id": "7", "report": "x", "labels": "a;b", "age": "50", "split": ""},
        {"id": "2", "patient_id": "", "report": "", "labels": "", "age": "", "split": "train"},
    ]
    _touch(tmp_path, "1", "2")
    _table(tmp_path, *rows)
    columns = {"id": [1, 2], "patient_id": [7, None], "report": ["x", ""], "labels": [["a", "b"], []]}
    pq.write_table(pa.table(columns | {"age": [50.0, None], "split": ["", "train"]}), tmp_path / "t.parquet")
    assert _open(tmp_path, table="t.parquet").index() == _open(tmp_path, table="table.csv").index()


def test_an_id_is_a_name_or_a_path_and_a_name_of_two_files_is_neither(tmp_path):
    _touch(tmp_path, "x", "a/y", "a/z", "b/z", "b/x")
    _table(tmp_path, *({"id": name} for name in ("x", "y", "z", "b/z", "../x", "/etc/passwd")))
    found = {entry.record_id: entry.source_uri for entry in _open(tmp_path).index()}
    assert found == {
        "mine/x": f"{tmp_path}/x",
        "mine/y": f"{tmp_path}/a/y",
        "mine/z": "",
        "mine/b/z": f"{tmp_path}/b/z",
        "mine/../x": "",
        "mine//etc/passwd": "",
    }


def test_a_row_without_a_file_is_refused_and_files_without_a_row_are_counted(tmp_path, caplog):
    _touch(tmp_path, "a", "b", "sub/c")
    _table(tmp_path, {"id": "a"}, {"id": "missing"})
    source = _open(tmp_path)
    with caplog.at_level("WARNING", "supreme"):
        _, missing = source.index()
    assert "2 records have no row in" in caplog.text
    with pytest.raises(BadRecord, match="missing_file: no record, or more than one, of this name in"):
        source.read(missing)


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=12))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_patients_do_not_cross_splits(tmp_path, patients):
    _table(tmp_path, *({"id": str(n), "patient_id": name} for n, name in enumerate(patients)))
    splits = {(entry.patient_id, split_of(entry)) for entry in _open(tmp_path).index()}
    assert len(splits) == len(set(patients))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"idx": "a"}], "no column 'id'; nearest: 'idx'"),
        ([{"id": "a", "pateint_id": "p"}], "column 'pateint_id' is not read: rename it to 'patient_id'"),
        ([{"id": "a", "labls": "p"}], "'labls' is not read: rename it to 'labels'"),
        ([{"id": "a"}, {"id": "b"}, {"id": "a"}], "id a in more than one row"),
        ([{"id": "a", "age": "1"}, {"id": "", "age": "1"}], "row 2 has no id"),
        ([{"id": "a", "split": "dev"}], "id a: split 'dev' is none of train, validation, test"),
        ([{"id": "c"}, {"id": "sub/c"}], "record sub/c has two rows"),
    ],
)
def test_what_is_wrong_with_the_table_is_named(tmp_path, rows, message):
    _touch(tmp_path, "a", "b", "sub/c")
    _table(tmp_path, *rows)
    with pytest.raises(ConfigError, match=rf"table\.csv.*{message}"):
        _open(tmp_path).index()


def test_what_is_not_read_is_told_on_one_line(tmp_path, caplog):
    _touch(tmp_path, "a")
    _table(tmp_path, {"ID": "a", "ward": "7", "Hospital": "x", "age": "60-70"})
    with caplog.at_level("INFO", "supreme"):
        _open(tmp_path).index()
    (line,) = [record for record in caplog.records if "columns not read" in record.getMessage()]
    assert line.levelname == "WARNING"
    assert line.getMessage().endswith(
        "table.csv: columns not read: 'ward', 'Hospital'; no column patient_id: every record counts as a "
        "patient of its own; age of 1 rows not understood ('60-70'): give years"
    )


def test_a_complete_table_says_nothing(tmp_path, caplog):
    _touch(tmp_path, "a")
    _table(tmp_path, {"id": "a", "patient_id": "p", "age": "61", "sex": "f"})
    with caplog.at_level("INFO", "supreme"):
        _open(tmp_path).index()
    assert caplog.records == []


@pytest.mark.parametrize("patients", [[float("nan"), 1.0, None], ["nan", "1", ""], ["None", "1.0", "NA"]])
def test_no_patient_is_a_patient_of_its_own(tmp_path, patients):
    _touch(tmp_path, "a", "b", "c")
    pq.write_table(pa.table({"id": ["a", "b", "c"], "MRN": patients}), tmp_path / "t.parquet")
    found = [entry.patient_id for entry in _open(tmp_path).index()]
    assert found == ["mine/a", "mine/1", "mine/c"]


def test_a_split_is_read_in_any_case_and_by_its_usual_words(tmp_path):
    words = {"a": "Train", "b": "VAL", "c": "validation", "d": "Testing", "e": ""}
    _touch(tmp_path, *words)
    _table(tmp_path, *({"id": name, "Split": word} for name, word in words.items()))
    splits = [entry.split for entry in _open(tmp_path).index()]
    assert splits == ["train", "validation", "validation", "test", None]


def test_a_record_has_one_row_however_its_id_is_spelled(tmp_path):
    _touch(tmp_path, "0001")
    _table(tmp_path, {"id": "1"}, {"id": "0001"})
    with pytest.raises(ConfigError, match=r"record 0001 has two rows, under two spellings of its id"):
        _open(tmp_path).index()


def test_the_table_is_the_only_one_or_the_one_that_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"no \.csv or \.parquet file in .*table=FILE"):
        _open(tmp_path).index()
    _table(tmp_path, {"id": "a"}, name="one.csv")
    (tmp_path / "sub").mkdir()
    _table(tmp_path / "sub", {"id": "c"}, name="below.csv")
    assert len(_open(tmp_path).index()) == 1
    _table(tmp_path, {"id": "b"}, name="two.csv")
    with pytest.raises(ConfigError, match=r"several tables \(one\.csv, two\.csv\)"):
        _open(tmp_path).index()
    assert [entry.record_id for entry in _open(tmp_path, table="two.csv").index()] == ["mine/b"]
    elsewhere = _open(tmp_path / "sub", table=f"{tmp_path}/one.csv")
    assert [entry.record_id for entry in elsewhere.index()] == ["mine/a"]
    with pytest.raises(ConfigError, match=r"no file .*three\.csv"):
        _open(tmp_path, table="three.csv").index()


def test_the_rooms_page_names_every_column_and_synonym():
    page = (Path(records.__file__).parent / "README.md").read_text()
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| `")]
    listed = {row[0].strip("`"): tuple(row[2].split(", ")) for row in rows if len(row) == 3}
    assert listed == SYNONYMS


def test_the_columns_are_documented():
    documentation = records.wfdb_folder.__doc__ or ""
    assert [line.split()[0] for line in documentation.splitlines() if line.startswith("    ")] == list(
        COLUMNS
    )
