"""One part: no record ends it, and it is done only when all of it is written."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from wfdb_writer import ecg_mv, write_csn

from supreme import config, records, storage
from supreme.config import Source
from supreme.ecg import LEADS
from supreme.shards import part

pytestmark = pytest.mark.unit


def _rejected(folder: Path) -> dict[str, str]:
    rows = pq.read_table(folder / "rejected" / "train-00000.parquet").to_pylist()
    return {row["record_id"].rpartition("/")[2]: row["reason"] for row in rows}


def test_an_unforeseen_failure_of_one_record_does_not_end_the_job(tmp_path, monkeypatch):
    class Moody:
        dataset = "d"

        def read(self, entry: records.Entry) -> records.Record:
            if entry.record_id == "d/2":
                raise ZeroDivisionError("division by zero")
            return records.Record(entry, ecg_mv(), LEADS, 500)

    monkeypatch.setattr(records, "open_source", lambda *_: Moody())
    entries = [records.Entry(f"d/{number}", "d", f"d/{number}") for number in range(4)]
    shared = part.Job(Source(kind="simulated", records=4), config.Shards(), 0, str(tmp_path))
    result = part.write({"part": "train-00000", "entries": part.dump(entries)}, shared)
    assert (result["seen"], result["rejected"]) == (4, 1)
    assert _rejected(tmp_path) == {"2": "unreadable"}
    (row,) = pq.read_table(tmp_path / "rejected" / "train-00000.parquet").to_pylist()
    assert row["detail"] == "ZeroDivisionError: division by zero"


@pytest.mark.parametrize("failing_write", [0, 1])
def test_a_part_is_done_only_when_its_files_are(tmp_path, monkeypatch, failing_write):
    """Whichever write fails (the shard, the refused records), the part file is not there."""
    write_csn(tmp_path / "csn", 2)[0].write_bytes(b"")
    source = Source(kind="csn", uri=str(tmp_path / "csn"))
    shared = part.Job(source, config.Shards(), 0, str(tmp_path / "out"))
    entries = shared.open_source().index()
    writes = []
    real_write = storage.write_bytes

    def write(uri: str, content: bytes) -> None:
        writes.append(uri)
        if len(writes) == failing_write + 1:
            raise storage.StorageError(f"{uri}: No space left on device")
        real_write(uri, content)

    monkeypatch.setattr(storage, "write_bytes", write)
    with pytest.raises(storage.StorageError, match="No space left"):
        part.write({"part": "train-00000", "entries": part.dump(entries)}, shared)
    assert not (tmp_path / "out" / "parts").exists()
