"""Files of a data set: only regular ones in its folder are read; every spelling of an id finds its record."""

from __future__ import annotations

import os
import threading
import unicodedata
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wfdb_writer import ecg_mv, write_csn, write_record

from supreme import config, storage
from supreme.config import ConfigError
from supreme.ecg import BadRecord
from supreme.records import Entry, RecordSource, is_hidden, open_source
from supreme.records.record_files import RecordFiles
from supreme.shards import part
from supreme.shards.rows import Job

pytestmark = pytest.mark.unit

CODES = ["Dx: 426783006"]


def _source(folder: Path, kind: str = "csn", **fields: object) -> config.Source:
    return config.Source(kind=kind, name="d", uri=str(folder), **fields)


def _open(folder: Path, kind: str = "csn", **fields: object) -> RecordSource:
    return open_source(_source(folder, kind, **fields), 0, 100)


def _own(folder: Path, table: str) -> RecordSource:
    folder.mkdir(exist_ok=True)
    (folder / "t.csv").write_text(table)
    return _open(folder, "wfdb_folder")


def _reason(source: RecordSource, entry: Entry) -> str:
    """Why an entry is refused; a read that waits is a failure."""
    reasons: list[str] = []

    def read() -> None:
        try:
            source.read(entry)
        except BadRecord as error:
            reasons.append(str(error))

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive(), "reading waits"
    return reasons[0] if reasons else ""


@pytest.fixture
def csn(tmp_path: Path) -> Path:
    """A folder with one record, and the place of its files."""
    write_csn(tmp_path / "csn", 1, seconds=2)
    return tmp_path / "csn" / "WFDBRecords" / "01" / "010"


def _entries(csn: Path) -> tuple[RecordSource, dict[str, Entry]]:
    source = _open(csn.parents[2])
    return source, {entry.record_id.partition("/")[2]: entry for entry in source.index()}


# --- regular files in the folder


@pytest.mark.parametrize("suffix", [".hea", ".dat"])
def test_a_pipe_a_device_and_a_link_that_leads_out_are_refused_with_their_reason(csn, tmp_path, suffix):
    outside = write_record(tmp_path / "outside", "x", ecg_mv(2), comments=CODES).with_suffix(suffix)
    reasons = {"pipe": "not_a_file", "device": "not_a_file", "out": "outside_folder", "gone": "missing_file"}
    for name in reasons:
        write_record(csn, name, ecg_mv(2), comments=CODES)
        (csn / f"{name}{suffix}").unlink()
    os.mkfifo(csn / f"pipe{suffix}")
    (csn / f"device{suffix}").symlink_to("/dev/zero")
    (csn / f"out{suffix}").symlink_to(outside)
    (csn / f"gone{suffix}").symlink_to(csn / "nowhere")
    source, entries = _entries(csn)
    assert entries.keys() == {*reasons, "JS00001"}
    for name, reason in reasons.items():
        assert _reason(source, entries[name]).startswith(f"{reason}: {csn}")
    assert _reason(source, entries["JS00001"]) == ""


def test_links_within_the_folder_and_a_linked_folder_itself_are_read(csn, tmp_path):
    for suffix in (".hea", ".dat"):
        (csn / f"JS00001{suffix}").rename(csn.parent / f"kept{suffix}")
        (csn / f"JS00001{suffix}").symlink_to(f"../kept{suffix}")
    (tmp_path / "link").symlink_to(csn.parents[2])
    source = _open(tmp_path / "link")
    entry = next(entry for entry in source.index() if entry.record_id == "d/JS00001")
    header = csn / "JS00001.hea"
    assert header.is_symlink()
    assert _reason(source, entry) == ""


def test_a_folder_that_is_linked_in_a_circle_or_leads_out_is_not_entered(csn, tmp_path, caplog):
    write_record(tmp_path / "outside", "secret", ecg_mv(2), comments=CODES)
    (csn / "circle").symlink_to("..")
    (csn / "out").symlink_to(tmp_path / "outside")
    (csn / "root").symlink_to("/")
    with caplog.at_level("WARNING", "supreme"):
        _, entries = _entries(csn)
    assert entries.keys() == {"JS00001"}
    assert "2 linked folders lead out of it and are not read" in caplog.text


def test_a_table_that_is_a_pipe_or_leads_out_is_refused(tmp_path):
    folder = tmp_path / "own"
    write_record(folder, "r", ecg_mv(2))
    (tmp_path / "outside.csv").write_text("id\nr\n")
    (folder / "t.csv").symlink_to(tmp_path / "outside.csv")
    with pytest.raises(ConfigError, match=r"t\.csv leads to .*outside\.csv.*copy the table into the folder"):
        _open(folder, "wfdb_folder").index()
    assert len(_open(folder, "wfdb_folder", table=str(tmp_path / "outside.csv")).index()) == 1
    (folder / "t.csv").unlink()
    os.mkfifo(folder / "t.csv")
    with pytest.raises(ConfigError, match=r"t\.csv is no regular file"):
        _open(folder, "wfdb_folder").index()


@pytest.mark.parametrize("kind", ["csn", "cpsc2018", "code15", "wfdb_folder"])
def test_a_name_that_is_not_utf_8_gives_a_refused_row_or_none_and_ends_nothing(tmp_path, kind):
    place = tmp_path / {"csn": "WFDBRecords", "cpsc2018": "Training", "code15": "", "wfdb_folder": ""}[kind]
    write_record(place, "r", ecg_mv(2, rate_hz=100), rate_hz=100, comments=CODES)
    for suffix in (".hea", ".dat"):
        os.link(place / f"r{suffix}", os.fsencode(place) + b"/M\xfcller" + suffix.encode())
    (tmp_path / "REFERENCE.csv").write_text("Recording,First_label,Second_label,Third_label\nr,1,,\n")
    source = _source(tmp_path, kind, **({"table": "t.csv"} if kind == "wfdb_folder" else {}))
    (tmp_path / "t.csv").write_text("id,sex\nr,F\n")
    job = Job(source, config.Shards(duration_s=2), 0, str(tmp_path / "out"))
    entries = job.open_source().index()
    row = {"part": "train-00000", "entries": part.dump(entries)}
    done = part.write(row, job)
    refused = int(kind != "wfdb_folder")  # there only a row of the table makes a record
    assert (done["seen"], done["rejected"]) == (1 + refused, refused)
    if refused:
        (rejected,) = pq.read_table(tmp_path / "out" / "rejected" / "train-00000.parquet").to_pylist()
        assert (rejected["record_id"], rejected["reason"]) == ("d/M\\xfcller", "unsafe_name")


# --- companions


@pytest.mark.parametrize(
    "name",
    [
        "._x.hea",
        "a/._x.hea",
        ".ipynb_checkpoints/x.hea",
        "__MACOSX/x.hea",
        "a/.git/x.hea",
        "~$t.csv",
        ".DS_Store",
    ],
)
def test_what_systems_and_editors_add_is_neither_record_nor_table(tmp_path, name):
    assert is_hidden(name)
    write_record(tmp_path, "x", ecg_mv(2))
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(b"\0\5\26\7")
    (tmp_path / Path(name).parent / "._t.csv").write_bytes(b"\0\5\26\7")
    assert [entry.record_id for entry in _own(tmp_path, "id\nx\n").index()] == ["d/x"]


def test_names_with_dots_and_tildes_within_are_not_hidden():
    assert not any(map(is_hidden, ("a.b.hea", "x~.hea", "1.2.840.hea", "a/b.c", "MACOSX/x")))


# --- ids


_NAMES = st.lists(
    st.text("abZ019ü_-", min_size=1, max_size=6).filter(lambda name: not name.startswith("-")),
    min_size=1,
    unique=True,
)


def _spell(name: str, how: str) -> str:
    return {
        "same": name,
        "blank": f" {name}\t",
        "header": f"{name}.hea",
        "signal": f"{name}.DAT",
        "nfd": unicodedata.normalize("NFD", name),
        "here": f"./{name}",
        "windows": f"sub\\{name}",
    }[how]


@given(names=_NAMES, how=st.sampled_from(["same", "blank", "header", "signal", "nfd", "here", "windows"]))
def test_every_spelling_of_an_id_finds_its_own_record_and_no_other(names, how):
    prefix = "sub/" if how == "windows" else ""
    files = RecordFiles(tuple(sorted(prefix + name for name in names)))
    assert [files.find(_spell(name, how)) for name in names] == [prefix + name for name in names]


@given(st.lists(st.integers(0, 999), min_size=1, unique=True), st.integers(3, 9))
def test_numbers_without_their_zeros_or_as_floats_find_their_record(numbers, width):
    files = RecordFiles(tuple(sorted(f"{number:0{width}d}" for number in numbers)))
    for spelled in ("{}", "{}.0", "0{}", "{}.hea"):
        assert [files.find(spelled.format(number)) for number in numbers] == [
            f"{number:0{width}d}" for number in numbers
        ]


def test_an_id_that_fits_two_records_is_neither():
    files = RecordFiles(("01", "001", "A1", "a1", "x/b", "y/b"))
    assert [files.find(record) for record in ("1", "B", "b", "x/b", "../01")] == [
        None,
        None,
        None,
        "x/b",
        None,
    ]
    assert (files.find("A1"), files.find("a1")) == ("A1", "a1")


def test_ids_without_a_record_are_told_once_with_what_is_near(tmp_path, caplog):
    for name in ("ecg_0001", "ecg_0002", "ecg_0003"):
        write_record(tmp_path, name, ecg_mv(0.1))
    with caplog.at_level("INFO", "supreme"):
        entries = _own(tmp_path, "id\necg_0001\necg_0002\nECG-0003\n").index()
    assert "1 of 3 rows have no record: 'ECG-0003' (near: 'ecg_0003')" in caplog.text
    assert [bool(entry.refused) for entry in entries] == [True, False, False]
    with pytest.raises(ConfigError, match=r"no row has a record: 'r7', but records are called 'ecg_0001'"):
        _own(tmp_path, "id\nr7\nr8\n").index()


def test_a_name_in_one_unicode_form_finds_a_signal_file_in_the_other(tmp_path):
    header = write_record(tmp_path, "r", ecg_mv(2))
    for on_disk, in_header in (("NFD", "NFC"), ("NFC", "NFD")):
        name = unicodedata.normalize(on_disk, "Müller.dat")
        (tmp_path / "r.dat").rename(tmp_path / name)
        text = header.read_text()
        header.write_text(text.replace("r.dat", unicodedata.normalize(in_header, "Müller.dat")))
        source = _own(tmp_path, "id\nr\n")
        assert source.read(source.index()[0]).signal.shape == (12, 1000)
        header.write_text(text)
        (tmp_path / name).rename(tmp_path / "r.dat")


def test_a_file_is_read_within_bounds(tmp_path):
    (tmp_path / "x").write_bytes(b"12345")
    with pytest.raises(storage.TooLarge):
        storage.read_bytes(str(tmp_path / "x"), 4)
    assert storage.read_bytes(str(tmp_path / "x"), 5, within=str(tmp_path)) == b"12345"
    with pytest.raises(storage.OutsideFolder):
        storage.read_bytes(str(tmp_path / "x"), 5, within=str(tmp_path / "sub"))
