"""One part: no record ends it, it is done only when all of it is written, and it is never whole in memory."""

from __future__ import annotations

import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.io import savemat
from threadpoolctl import threadpool_info, threadpool_limits
from wfdb_writer import ecg_mv, write_cpsc2018, write_csn, write_mat_record, write_record

from supreme import quality, records, storage
from supreme.ecg import LEADS, MIMIC_LEADS, BadRecord, to_microvolts
from supreme.records import Entry, Record
from supreme.settings.data import Shards, Source
from supreme.shards import part
from supreme.shards import rows as rows_module
from supreme.shards.codec import decode
from supreme.shards.fingerprint import fingerprints, to_hex
from supreme.shards.writer import _Hashed

pytestmark = pytest.mark.unit

SHORT = ecg_mv(2, 100)
NAME = "train-00000"


def _job(folder: Path, source: Source | None = None, **shards: object) -> part.Job:
    section = Shards.model_validate({"duration_s": 2, "row_group_size": 4} | shards)
    return part.Job(source or Source(kind="simulated", records=4), section, 0, str(folder))


def _write(job: part.Job, entries: list[Entry]) -> dict[str, int]:
    done = part.write({"part": NAME, "entries": part.dump(entries)}, job)
    return {"seen": done["seen"], "rejected": done["rejected"]}


def _entries(count: int) -> list[Entry]:
    return [Entry(f"d/{number:04d}", "d", f"d/{number}") for number in range(count)]


def _ids(file: Path) -> list[str]:
    return pq.read_table(file, columns=["record_id"])["record_id"].to_pylist()


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Entry], None]], list[str]]:
    """A source whose `read` first does what a test says; gives the list of what was read."""

    def install(before: Callable[[Entry], None]) -> list[str]:
        read: list[str] = []

        class Moody:
            dataset = "d"

            def read(self, entry: Entry) -> Record:
                before(entry)
                read.append(entry.record_id)
                return Record(entry, SHORT, LEADS, 100.0)

        monkeypatch.setattr(records, "open_source", lambda *_: Moody())
        return read

    return install


def test_an_unforeseen_failure_of_one_record_does_not_end_the_job(tmp_path, reading):
    def fail(entry: Entry) -> None:
        if entry.record_id == "d/0002":
            raise ZeroDivisionError("division by zero")

    reading(fail)
    assert _write(_job(tmp_path), _entries(4)) == {"seen": 4, "rejected": 1}
    (row,) = pq.read_table(tmp_path / "rejected" / f"{NAME}.parquet").to_pylist()
    assert (row["record_id"], row["reason"]) == ("d/0002", "unreadable")
    assert row["detail"] == "ZeroDivisionError: division by zero"


@pytest.mark.parametrize("trouble", [storage.Unavailable("s3 answers 503"), MemoryError()])
def test_trouble_that_is_not_the_records_own_ends_the_job_and_refuses_nothing(tmp_path, reading, trouble):
    def fail(entry: Entry) -> None:
        if entry.record_id == "d/0009":
            raise trouble

    reading(fail)
    with pytest.raises(type(trouble)):
        _write(_job(tmp_path), _entries(12))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_refused_records_are_told_in_the_order_of_the_index(tmp_path, reading, monkeypatch):
    """Also where one passes the step that the next one fails."""

    def fail(entry: Entry) -> None:
        if entry.record_id == "d/0002":
            raise BadRecord("truncated")

    def refuse(signal: np.ndarray, rate_hz: float) -> list[str]:
        judged.append(1)
        if len(judged) == 2:
            raise BadRecord("nan")
        return []

    judged: list[int] = []
    reading(fail)
    monkeypatch.setattr(quality, "check", refuse)
    assert _write(_job(tmp_path), _entries(4)) == {"seen": 4, "rejected": 2}
    rows = pq.read_table(tmp_path / "rejected" / f"{NAME}.parquet").to_pylist()
    assert [(row["record_id"], row["reason"]) for row in rows] == [("d/0001", "nan"), ("d/0002", "truncated")]
    kept = pq.read_table(tmp_path / f"{NAME}.parquet")["record_id"].to_pylist()
    assert kept == ["d/0000", "d/0003"]


@pytest.mark.parametrize("failing", [f"{NAME}.parquet", f"rejected/{NAME}.parquet", f"parts/{NAME}.json"])
def test_a_part_is_done_only_when_its_files_are(tmp_path, monkeypatch, failing):
    write_csn(tmp_path / "csn", 2)[0].write_bytes(b"")
    job = _job(tmp_path / "out", Source(kind="csn", uri=str(tmp_path / "csn")))
    entries, writing = job.open_source().index(), storage.writing

    @contextmanager
    def broken(uri: str, size: int = 0) -> Iterator[pa.NativeFile]:
        with writing(uri, size) as stream:
            yield stream
            if uri.endswith(f"/out/{failing}"):
                raise storage.Unavailable(f"{uri}: No space left on device")

    monkeypatch.setattr(storage, "writing", broken)
    with pytest.raises(storage.Unavailable, match="No space left"):
        _write(job, entries)
    assert not list((tmp_path / "out").glob("parts/*"))
    assert not list(tmp_path.rglob("*.partial"))
    monkeypatch.undo()
    assert _write(job, entries) == {"seen": 2, "rejected": 1}
    assert sorted(part.read(str(tmp_path / "out"), NAME).files) == [
        f"rejected/{NAME}.parquet",
        f"{NAME}.parquet",
    ]


def test_a_full_disk_says_so_and_leaves_nothing_half_written(tmp_path, reading):
    reading(lambda entry: None)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(storage.Unavailable, match="make room"):
            _write(_job(tmp_path, compression="none"), _entries(40))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert _write(_job(tmp_path), _entries(40)) == {"seen": 40, "rejected": 0}


def test_a_row_group_is_on_its_way_before_the_next_is_read(tmp_path, reading, monkeypatch):
    """Memory follows from the size of a row group, not of a part."""
    read = reading(lambda entry: None)
    read_when_written = []
    write = _Hashed.write

    def watched(self: _Hashed, content: bytes) -> int:
        read_when_written.append(len(read))
        return write(self, content)

    monkeypatch.setattr(_Hashed, "write", watched)
    _write(_job(tmp_path, row_group_size=4), _entries(40))
    assert set(read_when_written) >= {4 * group for group in range(1, 11)}
    metadata = pq.read_metadata(tmp_path / f"{NAME}.parquet")
    assert [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)] == [4] * 10


def test_each_row_holds_the_signal_and_the_fingerprint_of_its_record(tmp_path):
    """Row groups are filled in place: full ones, the last one, and past what is refused."""
    job = _job(tmp_path, Source(kind="simulated", records=11), row_group_size=4, rate_hz=100)
    source = job.open_source()
    index = source.index()
    refused = replace(index[2], record_id="simulated/none")
    assert _write(job, [*index[:2], refused, *index[2:]]) == {"seen": 12, "rejected": 1}
    file = pq.ParquetFile(tmp_path / f"{NAME}.parquet")
    assert [file.metadata.row_group(number).num_rows for number in range(3)] == [4, 4, 3]
    table = file.read()
    wanted = np.stack([to_microvolts(source.read(entry).signal_mv[:, :200]) for entry in index])
    assert table["record_id"].to_pylist() == [entry.record_id for entry in index]
    np.testing.assert_array_equal(decode(table["signal"], 200, job.shards.compression), wanted)
    assert table["fingerprint"].to_pylist() == to_hex(fingerprints(wanted, 100))


def test_a_part_keeps_to_its_core(tmp_path, reading):
    """Threads of a matrix product, a row group apart, would spend the other parts' cores on waiting."""

    def threads() -> set[int]:
        return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}

    seen: list[set[int]] = []
    reading(lambda entry: seen.append(threads()))
    with threadpool_limits(2, user_api="blas"):
        _write(_job(tmp_path), _entries(4))
        assert seen == [{1}] * 4
        assert threads() == {2}


def test_from_object_storage_records_are_fetched_ahead_and_stay_in_order(tmp_path, reading):
    def slow(entry: Entry) -> None:
        number = int(entry.record_id[2:])
        time.sleep(0.02 if number % 3 else 0.001)
        if number == 7:
            raise ZeroDivisionError

    read = reading(slow)
    source = Source(kind="csn", uri="s3://bucket/csn?anonymous=true&region=us-east-1")
    entries, begun = _entries(60), time.monotonic()
    assert _write(_job(tmp_path, source), entries) == {"seen": 60, "rejected": 1}
    assert time.monotonic() - begun < 0.5 * 60 * 0.02
    wanted = [entry.record_id for entry in entries if entry.record_id != "d/0007"]
    assert _ids(tmp_path / f"{NAME}.parquet") == wanted
    assert sorted(read) == wanted


@pytest.mark.parametrize(
    ("folder", "uri"),
    [
        ("/data/ptb-xl", "/data/ptb-xl/records500/1"),
        ("/data/what?/", "/data/what?/records500/1"),
        ("s3://b/set?anonymous=true", "s3://b/set/records500/1?anonymous=true"),
        ("file:///data", "file:///data/records500/1"),
    ],
)
def test_shards_say_where_a_record_lies_in_its_data_set(folder, uri):
    assert storage.join(folder, "records500/1") == uri
    assert rows_module._relative(uri, folder) == "records500/1"
    assert rows_module._relative("simulated:3/17", "") == "simulated:3/17"


def test_the_same_records_in_other_forms_give_the_same_shard(tmp_path):
    """WFDB with .dat or .mat, in another lead order, gain, folder: the same bytes; structs: the same ECGs."""
    names, comments = ("A0001", "A0002"), ["Age: 73", "Sex: Female", "Dx: 59118001"]
    signals = [np.rint(1000 * ecg_mv(6, seed=seed).astype(np.float64)) for seed in range(2)]
    # As far off as a limb lead may be, which floats would not all agree on.
    signals[1][2] = signals[1][1] - signals[1][0] + np.resize([100, -100, 0, 0], signals[1].shape[1])
    signals = [signal_uv / 1000 for signal_uv in signals]
    mimic = [LEADS.index(lead) for lead in MIMIC_LEADS]
    forms: dict[str, Callable[[Path, str, np.ndarray], object]] = {
        "dat": lambda folder, name, ecg: write_record(folder, name, ecg, comments=comments),
        "mat": write_mat_record,
        "order": lambda folder, name, ecg: write_record(
            folder, name, ecg[mimic], leads=MIMIC_LEADS, gain=2000, comments=comments
        ),
    }
    shards = {}
    for form, write in forms.items():
        write_csn(tmp_path / form, 0)
        for name, ecg in zip(names, signals, strict=True):
            write(tmp_path / form / "WFDBRecords" / "01", name, ecg)
        shards[form] = _whole_shard(Source(kind="csn", uri=str(tmp_path / form)), tmp_path / f"{form}-out")
    assert shards["mat"].read_bytes() == shards["dat"].read_bytes()
    assert shards["order"].read_bytes() == shards["dat"].read_bytes()
    write_cpsc2018(tmp_path / "struct", names)
    for name, ecg in zip(names, signals, strict=True):
        struct = {"sex": "Female", "age": 73, "data": ecg}
        savemat(tmp_path / "struct" / "TrainingSet1" / f"{name}.mat", {"ECG": struct})
    struct_shard = _whole_shard(
        Source(kind="cpsc2018", uri=str(tmp_path / "struct")), tmp_path / "struct-out"
    )
    alike = ["signal", "fingerprint", "n_valid", "rate_hz", "source_rate_hz", "quality", "age", "sex"]
    assert pq.read_table(struct_shard, columns=alike).equals(pq.read_table(shards["dat"], columns=alike))


def _whole_shard(source: Source, out: Path) -> Path:
    job = _job(out, source, rate_hz=500, duration_s=6)
    assert _write(job, job.open_source().index()) == {"seen": 2, "rejected": 0}
    return out / f"{NAME}.parquet"


def test_a_row_keeps_the_fold_of_its_data_set(tmp_path, reading):
    reading(lambda entry: None)
    entries = [replace(entry, fold=fold) for entry, fold in zip(_entries(3), (9, None, 10), strict=True)]
    _write(_job(tmp_path), entries)
    table = pq.read_table(tmp_path / f"{NAME}.parquet", columns=["fold"])
    assert table["fold"].to_pylist() == [9, None, 10]
