"""Small inputs that people ran into elsewhere: each is read as meant, or refused with reason and remedy."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest

from supreme import config
from supreme.config import ConfigError
from supreme.ecg import LEADS, BadRecord, order_leads, to_millivolts
from supreme.records import Entry, RecordSource, open_source, split_of

pytestmark = pytest.mark.unit


def _open(folder: Path) -> RecordSource:
    (source,) = tomllib.loads((folder / "recipe.toml").read_text())["sources"]
    return open_source(config.Source(**source | {"uri": str(folder / source["uri"])}), 0, 100)


def _folder(cases: Path, number: str) -> Path:
    (folder,) = cases.glob(f"{number}-*")
    return folder


def _ecg(source: RecordSource, entry: Entry) -> np.ndarray:
    record = source.read(entry)
    return to_millivolts(order_leads(record.signal, record.leads)[0])


def _by_id(source: RecordSource) -> dict[str, Entry]:
    return {entry.record_id.partition("/")[2]: entry for entry in source.index()}


@pytest.mark.parametrize("number", ["01", "02"])
def test_patients_are_found_under_the_columns_other_names(cases, number):
    entries = _open(_folder(cases, number)).index()
    assert (len(entries), len({entry.patient_id for entry in entries})) == (60, 12)
    assert len({(entry.patient_id, split_of(entry)) for entry in entries}) == 12


def test_a_negated_lead_is_turned(cases):
    source = _open(_folder(cases, "04"))
    entries = _by_id(source)
    standard, cabrera = (_ecg(source, entries[name]) for name in ("standard", "cabrera"))
    np.testing.assert_array_equal(cabrera, standard)
    limb = dict(zip(LEADS, cabrera, strict=True))
    np.testing.assert_allclose(limb["aVR"], -(limb["I"] + limb["II"]) / 2, atol=0.002)


@pytest.mark.parametrize(
    ("number", "plain", "others"),
    [
        ("06", "plain", ("monitor",)),
        ("08", "plain", ("monitor",)),
        ("09", "plain", ("mdc", "iberian")),
        ("34", "plain", ("millivolts",)),
        ("35", "microvolt", ("latin1",)),
    ],
)
def test_the_same_leads_have_the_same_samples(cases, number, plain, others):
    source = _open(_folder(cases, number))
    entries = _by_id(source)
    expected, rate_hz = _ecg(source, entries[plain]), source.read(entries[plain]).rate_hz
    for name in others:
        np.testing.assert_allclose(_ecg(source, entries[name]), expected, atol=1e-6)
        assert source.read(entries[name]).rate_hz == rate_hz


@pytest.mark.parametrize(
    ("number", "ids"),
    [("11", {"00001", "00002"}), ("12", {"00003", "sub/00004"}), ("36", {"uid"}), ("37", {"Müller"})],
)
def test_ids_and_file_names_find_their_record(cases, number, ids):
    source = _open(_folder(cases, number))
    entries = _by_id(source)
    assert {name.replace("\u0075\u0308", "ü") for name in entries} == ids
    assert all(_ecg(source, entry).shape[0] == 12 for entry in entries.values())


def test_a_null_in_a_list_takes_nothing_else_with_it(cases):
    entries = _by_id(_open(_folder(cases, "13")))
    assert (entries["a"].codes, entries["a"].report) == (("AF", "LBBB"), "Atrial fibrillation")
    assert entries["b"].codes == ("AF", "LBBB")


def test_nan_is_no_patient(cases):
    entries = _open(_folder(cases, "14")).index()
    assert len({entry.patient_id for entry in entries}) == 29


def test_companion_files_are_no_records(cases, caplog):
    with caplog.at_level("INFO", "supreme"):
        source = _open(_folder(cases, "16"))
        entries = source.index()
    assert len(entries) == 8
    assert "8 hidden .hea files are left out" in caplog.text
    assert all(source.read(entry).signal.shape[0] == 12 for entry in entries)


def test_keys_that_became_floats_are_joined(cases):
    entries = _open(_folder(cases, "29")).index()
    assert {entry.report for entry in entries} == {"Atrial fibrillation\nLeft bundle branch block"}


def test_labels_are_split_however_they_are_written(cases):
    codes = {name: entry.codes for name, entry in _by_id(_open(_folder(cases, "31"))).items()}
    assert codes == {"l3": ("AF",)} | dict.fromkeys(("l0", "l1", "l2", "l4"), ("AF", "LBBB"))


def test_sex_as_a_number_is_counted_and_an_open_age_is_read(cases, caplog):
    entries = _by_id(_open(_folder(cases, "32")))
    assert [(entry.sex, entry.age) for entry in entries.values()] == [("", 57.0), ("", 90.0)]
    assert caplog.text.count("sex of 2 rows not understood ('0', '1'): write F or M") == 1


def test_sex_and_age_are_read_in_words(cases):
    entries = _by_id(_open(_folder(cases, "33")))
    assert [(entry.sex, entry.age) for entry in entries.values()] == [("F", 57.0), ("F", 57.0), ("F", 57.5)]


def test_all_lines_of_codes_count(cases):
    source = _open(_folder(cases, "38"))
    first, second = (source.read(entry).entry.codes for entry in source.index())
    assert first == second == ("426783006", "164909002")


def test_absent_statements_are_no_advice_to_rename_another_column(cases):
    (entry,) = _open(_folder(cases, "51")).index()
    assert entry.report == "Sinus rhythm\nNormal ECG"


def test_a_table_separated_by_semicolons_is_read(cases):
    (entry,) = _open(_folder(cases, "52")).index()
    assert (entry.record_id, entry.report) == ("mine/0001", "Sinus rhythm")


def test_what_the_cases_once_named_is_still_refused(tmp_path, cases):
    """Reading more must not mean reading anything: one of each kind that stays wrong."""
    header = (_folder(cases, "09") / "data" / "plain.hea").read_text()
    (tmp_path / "x.csv").write_text("id\nr\n")
    (tmp_path / "plain.dat").write_bytes((_folder(cases, "09") / "data" / "plain.dat").read_bytes())
    for old, new, reason in (
        (" V6", " V7", r"unknown_lead: 'V7'.*sources\.N\.leads"),
        (" V6", " V1-", "unknown_lead: 'V1-'"),
        (" V6", " lead v5", "duplicate_lead: 'V5' and 'lead v5' are both lead V5"),
        ("/mV", "/mmHg", "unknown_unit: signal 'I': 'mmHg' is not a voltage: give mV, uV, nV or V"),
    ):
        (tmp_path / "r.hea").write_text(header.replace(old, new))
        source = open_source(config.Source(kind="wfdb_folder", uri=str(tmp_path)), 0, 100)
        with pytest.raises(BadRecord, match=reason):
            _ecg(source, source.index()[0])
    (tmp_path / "x.csv").write_text("file,record\nr,r\n")
    with pytest.raises(ConfigError, match="'record' and 'file' may each be 'id'"):
        source.index()
