"""Loaders: each data set's own layout, and files that mean harm."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from urllib.request import Request, urlopen

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wfdb_writer import ecg_mv, write_cpsc2018, write_csn, write_ptbxl, write_record

from supreme import config, records, storage
from supreme.config import ConfigError
from supreme.ecg import MIMIC_LEADS, BadRecord, order_leads
from supreme.records import Entry, discover, open_source, patient_tenth, split_of
from supreme.records.simulated import write_mimic_folder

pytestmark = pytest.mark.unit


def _open(kind: str, folder: Path, **fields: object) -> records.Source:
    return open_source(config.Source(kind=kind, uri=str(folder), **fields), seed=0, rate_hz=100)


# --- splits


@given(st.text(min_size=1))
def test_all_records_of_a_patient_share_a_split(patient_id):
    entries = [Entry(f"d/{number}", "d", patient_id) for number in range(3)]
    assert len({split_of(entry) for entry in entries}) == 1


def test_the_split_is_the_same_in_every_version():
    assert [patient_tenth(f"d/{number}") for number in range(12)] == [1, 4, 4, 5, 3, 0, 5, 9, 8, 2, 3, 5]
    shares = Counter(split_of(Entry("d/1", "d", f"d/{number}")) for number in range(10_000))
    assert shares["train"] == pytest.approx(8000, abs=200)
    assert shares["validation"] == pytest.approx(1000, abs=150)


def test_a_data_sets_own_split_wins():
    assert {split_of(Entry("d/1", "d", f"d/{number}", split="test")) for number in range(50)} == {"test"}


# --- PTB-XL


def test_ptbxl_folds_patients_and_codes(tmp_path):
    rows = [{"patient_id": f"{number}.0", "strat_fold": str(1 + number % 10)} for number in range(60)]
    rows[0] |= {"age": "300.0", "sex": "0", "report": "af. Edit: AFIB 100", "scp_codes": "{'AFIB': 100.0}"}
    write_ptbxl(tmp_path, rows, seconds=0.1)
    entries = _open("ptbxl", tmp_path).index()
    folds = {entry.record_id: int(row["strat_fold"]) for entry, row in zip(entries, rows, strict=True)}
    for entry in entries:
        assert (entry.split == "test") == (folds[entry.record_id] >= 9)
        held_out = patient_tenth(entry.patient_id) == 8
        assert (entry.split == "validation") == (held_out and folds[entry.record_id] <= 8)
    assert {entry.split for entry in entries} == {"train", "validation", "test"}
    first = entries[0]
    assert (first.record_id, first.patient_id) == ("ptbxl/00001", "ptbxl/0")
    assert (first.age, first.sex, first.codes, first.report) == (90.0, "M", ("AFIB",), "af. Edit: AFIB 100")
    assert entries[1].codes == ("NORM", "SR")


def test_ptbxl_codes_stand_in_no_other_field(tmp_path):
    write_ptbxl(tmp_path, [{"scp_codes": "{'PLANTED': 80.0}"}], seconds=0.1)
    source = _open("ptbxl", tmp_path)
    (entry,) = source.index()
    fields = source.read(entry).entry.__dict__
    assert [name for name, value in fields.items() if "PLANTED" in str(value)] == ["codes"]


def test_ptbxl_reads_100_hz_where_500_hz_is_absent(tmp_path):
    write_ptbxl(tmp_path, [{}], seconds=0.1)
    shutil.rmtree(tmp_path / "records500")
    write_record(tmp_path / "records100" / "00000", "00001_lr", ecg_mv(2, rate_hz=100), rate_hz=100)
    source = _open("ptbxl", tmp_path)
    assert source.read(source.index()[0]).rate_hz == 100


def test_ptbxl_names_the_broken_row_of_its_table(tmp_path):
    write_ptbxl(tmp_path, [{}, {"strat_fold": "11"}], seconds=0.1)
    with pytest.raises(ConfigError, match=r"ecg_id 2.*strat_fold 11"):
        _open("ptbxl", tmp_path).index()


# --- CSN, CinC 2021, MIMIC-IV-ECG


def test_csn_codes_age_and_sex_come_with_the_record(tmp_path):
    write_csn(tmp_path, 2, seconds=0.1)
    source = _open("csn", tmp_path)
    entries = source.index()
    assert [entry.record_id for entry in entries] == ["csn/JS00001", "csn/JS00002"]
    known = source.read(entries[0]).entry
    assert (known.codes, known.age, known.sex) == (("427172004", "10370003"), 71.0, "F")
    assert known.patient_id == known.record_id


def test_a_record_without_codes_is_not_taken_for_a_healthy_one(tmp_path):
    (header,) = write_csn(tmp_path, 1, seconds=0.1)
    header.write_text("\n".join(line for line in header.read_text().splitlines() if "Dx" not in line))
    source = _open("csn", tmp_path)
    with pytest.raises(BadRecord, match="unlabelled"):
        source.read(source.index()[0])


def test_records_of_one_name_in_two_folders_keep_apart(tmp_path):
    for group in ("g1", "g2"):
        write_record(tmp_path / group, "x", ecg_mv(0.1))
    ids = [entry.record_id for entry in _open("cinc2021", tmp_path, name="georgia").index()]
    assert ids == ["georgia/g1/x", "georgia/g2/x"]


def test_mimic_folder_gives_back_what_was_simulated(tmp_path):
    write_mimic_folder(str(tmp_path), 3, seed=4)
    drawn = open_source(config.Source(kind="simulated", records=3), seed=4, rate_hz=500)
    source = _open("mimic_iv_ecg", tmp_path)
    for entry, original in zip(source.index(), drawn.index(), strict=True):
        record, truth = source.read(entry), drawn.read(original)
        assert record.leads == MIMIC_LEADS
        ordered, _ = order_leads(record.signal_mv, record.leads)
        np.testing.assert_allclose(ordered, truth.signal_mv, atol=0.5 / 200 + 1e-4)
        assert record.entry.report.split("\n") == [line for line in truth.entry.report.split("\n") if line]


def test_mimic_without_its_statements_says_what_is_missing(tmp_path):
    write_mimic_folder(str(tmp_path), 1, seed=4)
    (tmp_path / "machine_measurements.csv").unlink()
    with pytest.raises(ConfigError, match=r"machine_measurements\.csv"):
        _open("mimic_iv_ecg", tmp_path)


# --- opening and finding


def test_a_limit_takes_the_first_by_id(tmp_path):
    write_csn(tmp_path, 3, seconds=0.1)
    assert [entry.record_id for entry in _open("csn", tmp_path, records=2).index()] == [
        "csn/JS00001",
        "csn/JS00002",
    ]


@pytest.mark.parametrize("kind", ["ptbxl", "csn", "cpsc2018", "mimic_iv_ecg"])
def test_wrong_folders_are_named(tmp_path, kind):
    with pytest.raises(ConfigError, match="nowhere is not a folder"):
        _open(kind, tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=str(tmp_path)):
        _open(kind, tmp_path)
    with pytest.raises(ConfigError, match="uri=FOLDER"):
        open_source(config.Source(kind=kind), seed=0, rate_hz=100)


def _write_all(folder: Path) -> None:
    write_ptbxl(folder / "physionet" / "ptb-xl" / "1.0.3", [{}], seconds=0.1)
    write_csn(folder / "csn-here", 1, seconds=0.1)
    write_cpsc2018(folder / "cpsc", ["A0001"])
    for member in ("georgia", "ptb", "unknown_member"):
        write_record(folder / "cinc" / "training" / member / "g1", "x", ecg_mv(0.1))
    (folder / "cinc" / "training" / "ningbo").mkdir()
    write_mimic_folder(str(folder / "mimic"), 1, seed=0)


def test_discovery_finds_every_layout_and_only_those(tmp_path):
    _write_all(tmp_path)
    found = discover(str(tmp_path))
    assert [(source.kind, source.dataset) for source in found] == [
        ("cpsc2018", "cpsc2018"),
        ("csn", "csn"),
        ("cinc2021", "georgia"),
        ("mimic_iv_ecg", "mimic_iv_ecg"),
        ("cinc2021", "ptb"),
        ("ptbxl", "ptbxl"),
    ]
    assert all(len(open_source(source, 0, 100).index()) == 1 for source in found)
    assert [source.dataset for source in discover(str(tmp_path / "cinc" / "training" / "georgia"))] == [
        "georgia"
    ]


def test_discovery_says_what_it_looked_for(tmp_path):
    with pytest.raises(ConfigError, match=r"(?s)no data set found.*ptbxl_database\.csv.*record_list\.csv"):
        discover(str(tmp_path))
    with pytest.raises(ConfigError, match="not a folder"):
        discover(str(tmp_path / "nowhere"))


def test_two_copies_of_a_data_set_are_refused(tmp_path):
    for version in ("1", "2"):
        write_csn(tmp_path / version, 1, seconds=0.1)
    with pytest.raises(ConfigError, match="holds 'csn' twice"):
        discover(str(tmp_path))


def test_a_data_set_that_is_trained_and_evaluated_on_is_built_once(tmp_path):
    write_csn(tmp_path / "a", 1, seconds=0.1)
    recipe = config.parse(
        {
            "real": str(tmp_path),
            "sources": [{"kind": "csn", "uri": f"{tmp_path}/a/"}, {"kind": "simulated", "records": 1}],
        }
    )
    assert [source.dataset for source in records.all_sources(recipe)] == ["csn", "simulated"]
    elsewhere = config.Source(kind="csn", uri=str(tmp_path / "b"))
    with pytest.raises(ConfigError, match="two sources are called 'csn'"):
        records.all_sources(recipe.model_copy(update={"sources": (elsewhere,)}))


# --- object storage


@pytest.fixture
def bucket(monkeypatch):
    from moto.server import ThreadedMotoServer

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    uri = f"s3://bucket/data?endpoint_override={host}:{port}&scheme=http&region=us-east-1"
    urlopen(Request(f"http://{host}:{port}/bucket", method="PUT")).close()
    yield uri
    server.stop()


def test_a_data_set_in_object_storage_reads_like_a_local_one(tmp_path, bucket):
    write_csn(tmp_path, 2, seconds=0.5)
    for name in storage.list_files(str(tmp_path)):
        storage.write_bytes(storage.join(bucket, name), (tmp_path / name).read_bytes())
    (found,) = discover(bucket)
    remote, local = open_source(found, 0, 100), _open("csn", tmp_path)
    for there, here in zip(remote.index(), local.index(), strict=True):
        assert there.record_id == here.record_id
        np.testing.assert_array_equal(remote.read(there).signal_mv, local.read(here).signal_mv)


# --- real records


@pytest.mark.real
def test_real_data_sets_are_found_and_every_record_reads(realdata):
    expected = {"ptbxl": 485, "csn": 46, "cpsc2018": 11, "cpsc_2018": 15, "cpsc_2018_extra": 29}
    found = discover(str(realdata))
    assert {source.dataset: len(open_source(source, 0, 100).index()) for source in found} == expected
    for source in found:
        opened = open_source(source, 0, 100)
        for entry in opened.index()[:: 1 if source.kind != "ptbxl" else 20]:
            record = opened.read(entry)
            ordered, derived = order_leads(record.signal_mv, record.leads)
            assert record.rate_hz == 500
            assert not derived
            assert record.entry.codes
            # Millivolts: III = II - I holds only where all leads share one scale, and a QRS has this size.
            assert np.median(np.abs(ordered[2] - (ordered[1] - ordered[0]))) < 0.01, entry.record_id
            assert 0.2 < np.ptp(ordered[1]) < 30, entry.record_id
