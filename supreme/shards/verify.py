"""Check every byte of finished shards against their manifest, and their rows against each other.

For a copy that has travelled, or a disk that is not trusted. Reading for training verifies the checksum of
every page; :meth:`supreme.shards.read.ShardDataset.open` alone compares names and sizes only.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from supreme import log, manifest, storage
from supreme.manifest import FileEntry
from supreme.shards.result import SHARDS, ShardManifest
from supreme.shards.schema import REJECTED_SCHEMA, SCHEMA

_MAKE_AGAIN = "delete it and run jobs/shard.py again, which makes the same bytes again"
_START_AFRESH = "make the shards afresh with jobs/shard.py --new"
#: What is read of every row; the refused have an id only.
_COLUMNS = ("record_id", "patient_id", "split")
_CHUNK_BYTES = 2**22
_EXAMPLES = 5


class Damaged(RuntimeError):
    """Shards that are not what their manifest says: each file, what is wrong with it, and the remedy."""


@dataclass(frozen=True)
class FolderSize:
    """What a finished shard folder holds."""

    files: int
    bytes: int
    records: int

    @classmethod
    def of(cls, described: ShardManifest) -> FolderSize:
        """As its manifest says."""
        n_bytes = sum(entry.bytes for entry in described.files.values())
        return cls(len(described.files), n_bytes, described.result.records)


def sizes(folders: Iterable[str]) -> dict[str, FolderSize]:
    """What finished folders hold, from their manifests alone.

    Raises:
        ConfigError: a folder is unfinished.
    """
    return {folder: FolderSize.of(manifest.require(folder, SHARDS)) for folder in folders}


def verify(folders: Iterable[str]) -> dict[str, FolderSize]:
    """Check every byte and row of finished shard folders.

    Size, hash, schema, rows and row groups of every file; every record in one row, of a shard or of the
    refused; no patient in two splits. A few MB of memory a core, and that of a folder's record ids.

    Raises:
        ConfigError: a folder is unfinished.
        Damaged: after everything is checked.
    """
    manifests = {folder: manifest.require(folder, SHARDS) for folder in folders}
    problems = [
        f"{folder}/{one}" for folder, described in manifests.items() for one in _check(folder, described)
    ]
    if problems:
        raise Damaged(f"problems found: {len(problems):,}\n  " + "\n  ".join(problems))
    return {folder: FolderSize.of(described) for folder, described in manifests.items()}


def _check(folder: str, described: ShardManifest) -> list[str]:
    progress = log.Progress(log.get(__name__), f"{folder}: bytes", FolderSize.of(described).bytes)
    problems: list[str] = []
    rows: list[pa.Table] = []
    done = 0
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        checked = threads.map(partial(_check_file, folder, described), described.files)
        for (name, entry), (wrong, ids) in zip(described.files.items(), checked, strict=True):
            problems += [f"{name} {wrong}"] if wrong else []
            rows += [ids] if ids else []
            done += entry.bytes
            progress.update(done, damaged=len(problems))
    return problems + [f": {wrong}" for wrong in _check_rows(rows)]


def _check_file(folder: str, described: ShardManifest, name: str) -> tuple[str, pa.Table | None]:
    """What is wrong with one file, and `record_id`, `patient_id` and `split` of its rows."""
    entry, uri = described.files[name], storage.join(folder, name)
    try:
        size, sha256 = _read(uri)
    except storage.NotFound:
        return f"is missing: {_MAKE_AGAIN}", None
    if size != entry.bytes:
        return f"has {size:,} bytes instead of {entry.bytes:,}: {_MAKE_AGAIN}", None
    if sha256 != entry.sha256:
        return f"has other bytes than were written: {_MAKE_AGAIN}", None
    with storage.open_file(uri) as stream, pq.ParquetFile(stream) as file:
        wrong = _check_layout(file, name, entry, described.config["shards"]["row_group_size"])
        columns = [column for column in _COLUMNS if column in file.schema_arrow.names]
        return (f"{wrong}: {_START_AFRESH}", None) if wrong else ("", file.read(columns=columns))


def _read(uri: str) -> tuple[int, str]:
    size, sha256 = 0, hashlib.sha256()
    with storage.open_file(uri) as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            size += len(chunk)
            sha256.update(chunk)
    return size, sha256.hexdigest()


def _check_layout(file: pq.ParquetFile, name: str, entry: FileEntry, row_group_size: int) -> str:
    metadata, refused = file.metadata, name.startswith("rejected/")
    if not file.schema_arrow.equals(REJECTED_SCHEMA if refused else SCHEMA):
        return f"has other columns ({', '.join(file.schema_arrow.names)})"
    if metadata.num_rows != entry.rows:
        return f"has {metadata.num_rows:,} rows instead of {entry.rows:,}"
    sizes = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
    if not refused and (set(sizes[:-1]) - {row_group_size} or sizes[-1] > row_group_size):
        return f"has row groups of {sizes} rows instead of {row_group_size}"
    return ""


def _check_rows(tables: list[pa.Table]) -> Iterator[str]:
    ids = pa.chunked_array([chunk for table in tables for chunk in table["record_id"].chunks], pa.string())
    counts = ids.value_counts()
    twice = counts.filter(pc.greater(counts.field("counts"), 1)).field("values").to_pylist()
    if twice:
        yield f"{len(twice):,} records stand in several rows ({_examples(twice)}): {_START_AFRESH}"
    shards = pa.concat_tables([table for table in tables if "split" in table.column_names])
    splits = shards.group_by("patient_id").aggregate([("split", "count_distinct")])
    torn = splits.filter(pc.greater(splits["split_count_distinct"], 1))["patient_id"].to_pylist()
    if torn:
        yield f"{len(torn):,} patients stand in several splits ({_examples(torn)}): {_START_AFRESH}"


def _examples(ids: list[str]) -> str:
    return ", ".join(sorted(ids)[:_EXAMPLES]) + (", ..." if len(ids) > _EXAMPLES else "")
