"""One part of a shard build: a slice of the index becomes one shard, its refused records and a part file.

The part file is written last: a part without it is not done. A part is read, judged and written one row group
at a time, so that memory does not depend on its size. Free of Ray; :mod:`supreme.shards.build` sends the
parts to the workers.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict
from threadpoolctl import threadpool_limits

from supreme import storage
from supreme.manifest import FileEntry
from supreme.records import Entry
from supreme.shards.result import SHARDS
from supreme.shards.rows import Job, read_rows
from supreme.shards.schema import REJECTED_SCHEMA
from supreme.shards.writer import encode_row_groups, encode_whole_records, write_shard, write_table
from supreme.storage.documents import read_document


class ShardPart(BaseModel):
    """A finished part: what it was made of and what became of it."""

    model_config = ConfigDict(frozen=True)

    split: str
    entries: dict[str, str]
    """Record id -> digest of its entry in the index (:func:`digests`)."""
    records: int
    rejected: dict[str, int]
    """Reason -> records."""
    files: dict[str, FileEntry]

    def differing(self, digests: dict[str, str]) -> list[str]:
        """Records that an index knows otherwise, or no more."""
        return [record_id for record_id, digest in self.entries.items() if digests.get(record_id) != digest]

    def is_there(self, sizes: dict[str, int]) -> bool:
        """Whether a folder has its files; ``sizes``: bytes by name."""
        return all(sizes.get(name) == file.bytes for name, file in self.files.items())


def part_uri(folder: str, name: str) -> str:
    """Where the part file of a part lies."""
    return storage.join(folder, f"parts/{name}.json")


def read(folder: str, name: str) -> ShardPart:
    """A finished part. Raises ConfigError when its file is damaged."""
    return read_document(part_uri(folder, name), ShardPart, remedy=SHARDS.remedy)


def write(row: dict[str, Any], job: Job) -> dict[str, Any]:
    """Read, judge and write the records of the part ``{"part": name, "entries": dump(...)}``.

    Returns what was `seen` and `rejected`. No record ends it; storage that does not answer or is full does.
    """
    name, entries = row["part"], _load(row["entries"])
    split = name.rpartition("-")[0]
    rejected: dict[str, dict[str, str]] = {}
    rows = read_rows(job, split, entries, rejected)
    encode = encode_whole_records if job.whole else encode_row_groups
    row_groups = encode(rows, min(job.shards.row_group_size, len(entries)), job.shards.compression)
    # Every core has a part of its own: threads of a matrix product would wait, spinning, for the next one.
    with threadpool_limits(1, user_api="blas"):
        files = write_shard(job.folder, f"{name}.parquet", row_groups, job.shards.compression)
    refused = [rejected[entry.record_id] for entry in entries if entry.record_id in rejected]
    tables = [pa.Table.from_pylist(refused, REJECTED_SCHEMA)] if refused else []
    files |= write_table(job.folder, f"rejected/{name}.parquet", tables)
    done = ShardPart(
        split=split,
        entries=digests(entries),
        records=len(entries) - len(refused),
        rejected=Counter(bad["reason"] for bad in refused),
        files=files,
    )
    storage.write_json(part_uri(job.folder, name), done.model_dump(mode="json"))
    return {"part": name, "seen": len(entries), "rejected": len(refused)}


def digests(entries: Iterable[Entry]) -> dict[str, str]:
    """Record id -> what tells whether its entry is the same as before."""
    return {entry.record_id: _digest(entry) for entry in entries}


def _digest(entry: Entry) -> str:
    # A field that is new and empty must not change what was built without it.
    # Why a record is refused may name what is near, and changes with its neighbours.
    known = {name: value for name, value in vars(entry).items() if name != "refused"}
    filled = {name: value for name, value in known.items() if value not in (None, "", ())}
    return storage.sha256(json.dumps(filled, sort_keys=True).encode())[:16]


def dump(entries: list[Entry]) -> str:
    """Entries as JSON, in which they travel to the workers."""
    return json.dumps([vars(entry) for entry in entries], ensure_ascii=False)


def _load(text: str) -> list[Entry]:
    return [Entry(**{**fields, "codes": tuple(fields["codes"])}) for fields in json.loads(text)]
