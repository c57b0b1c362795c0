"""Sources: splits, opening, finding; what holds for every kind of data set, on disk and in object storage."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import get_args
from urllib.request import Request, urlopen

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wfdb_writer import ecg_mv, write_cpsc2018, write_csn, write_ptbxl, write_record

from supreme import config, records, storage
from supreme.config import ConfigError
from supreme.ecg import BadRecord, order_leads
from supreme.records import Entry, discover, open_source, patient_tenth, split_of
from supreme.records.simulated import write_mimic_folder
from supreme.settings.data import SourceKind

pytestmark = pytest.mark.unit


def _open(kind: str, folder: Path, **fields: object) -> records.RecordSource:
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


# --- CSN


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


def _write_all(folder: Path, records: int = 1) -> None:
    """Every layout that can be found, each with so many records."""
    names = [f"A{number:04d}" for number in range(1, 1 + records)]
    write_ptbxl(folder / "physionet" / "ptb-xl" / "1.0.3", [{}] * records, seconds=0.1)
    write_csn(folder / "csn-here", records, seconds=0.1)
    write_cpsc2018(folder / "cpsc", names)
    for name in names:
        write_record(folder / "CODE-15", name, ecg_mv(0.1))
        for member in ("georgia", "ptb", "unknown_member"):
            place = folder / "cinc" / "training" / member / "g1"
            write_record(place, name, ecg_mv(0.1), comments=["Dx: 426783006"])
    (folder / "cinc" / "training" / "ningbo").mkdir()
    write_mimic_folder(str(folder / "mimic"), records, seed=0)


FOUND = [
    ("code15", "code15"),
    ("cpsc2018", "cpsc2018"),
    ("csn", "csn"),
    ("cinc2021", "georgia"),
    ("mimic_iv_ecg", "mimic_iv_ecg"),
    ("cinc2021", "ptb"),
    ("ptbxl", "ptbxl"),
]


def _write_own(folder: Path, records: int = 1) -> config.Source:
    names = [f"r{number}" for number in range(records)]
    for name in names:
        write_record(folder, name, ecg_mv(0.1))
    (folder / "own.csv").write_text("\n".join(["id", *names]))
    return config.Source(kind="wfdb_folder", uri=str(folder))


def test_discovery_finds_every_layout_and_only_those(tmp_path):
    _write_all(tmp_path)
    found = discover(str(tmp_path))
    assert [(source.kind, source.dataset) for source in found] == FOUND
    assert {kind for kind, _ in FOUND} == set(get_args(SourceKind)) - {
        "simulated",
        "wfdb_folder",
        "ecg_folder",
    }
    assert all(len(open_source(source, 0, 100).index()) == 1 for source in found)
    assert [source.dataset for source in discover(str(tmp_path / "cinc" / "training" / "georgia"))] == [
        "georgia"
    ]


def test_an_index_asks_the_storage_no_more_for_more_records(tmp_path, monkeypatch):
    asked: list[str] = []

    def watch(name: str) -> None:
        door = getattr(storage, name)
        monkeypatch.setattr(storage, name, lambda *args, **how: asked.append(name) or door(*args, **how))

    for name in ("read_bytes", "list_files", "list_folders", "exists", "is_folder"):
        watch(name)
    counts = []
    for number in (1, 3):
        folder = tmp_path / str(number)
        _write_all(folder, number)
        own = _write_own(tmp_path / f"own-{number}", number)
        opened = [open_source(source, 0, 100) for source in [*discover(str(folder)), own]]
        asked.clear()
        assert {len(source.index()) for source in opened} == {number}
        counts.append(Counter(asked))
    assert counts[0] == counts[1]
    assert 0 < counts[0]["list_files"] <= len(FOUND)


def test_options_are_refused_where_they_are_not_read():
    for field, value in (("rate_hz", 100), ("report_filter", "merl"), ("table", "t.csv"), ("unit", "mV")):
        with pytest.raises(ConfigError, match=f"{field} is read by kind '[a-z_0-9' ]+ only, not by 'csn'"):
            config.parse({"sources": [{"kind": "csn", "uri": "x", field: value}]})


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


def test_data_sets_in_object_storage_read_like_local_ones(tmp_path, bucket):
    _write_all(tmp_path / "all")
    own = _write_own(tmp_path / "own")
    for name in storage.list_files(str(tmp_path)):
        storage.write_bytes(storage.join(bucket, name), (tmp_path / name).read_bytes())
    here = [*discover(str(tmp_path / "all")), own]
    there = discover(storage.join(bucket, "all"))
    there.append(own.model_copy(update={"uri": storage.join(bucket, "own")}))
    assert [source.dataset for source in here] == [source.dataset for source in there]
    for local, remote in zip(here, there, strict=True):
        near, far = open_source(local, 0, 100), open_source(remote, 0, 100)
        (one,), (other,) = near.index(), far.index()
        assert replace(one, source_uri="") == replace(other, source_uri="")
        first, second = near.read(one), far.read(other)
        assert replace(first.entry, source_uri="") == replace(second.entry, source_uri="")
        np.testing.assert_array_equal(first.signal_mv, second.signal_mv)


# --- real records


@pytest.mark.real
def test_real_data_sets_are_found_and_every_record_reads(realdata):
    expected = {"ptbxl": 485, "csn": 46, "cpsc2018": 11, "cpsc_2018": 15, "cpsc_2018_extra": 29, "code15": 46}
    found = discover(str(realdata))
    assert {source.dataset: len(open_source(source, 0, 100).index()) for source in found} == expected
    for source in found:
        opened, sizes_mv = open_source(source, 0, 100), []
        for entry in opened.index()[:: 1 if source.kind != "ptbxl" else 20]:
            record = opened.read(entry)
            ordered, derived = order_leads(record.signal_mv, record.leads)
            assert record.rate_hz == (400 if source.kind == "code15" else 500)
            assert not derived
            assert record.entry.codes or source.kind == "code15"
            # Millivolts: III = II - I holds only where all leads share one scale, and a QRS has this size.
            assert np.median(np.abs(ordered[2] - (ordered[1] - ordered[0]))) < 0.01, entry.record_id
            sizes_mv.append(np.ptp(ordered[1]))
        assert min(sizes_mv) > 0.2
        assert 0.8 < np.median(sizes_mv) < 3, source.dataset
