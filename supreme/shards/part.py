"""One part of a shard build: a slice of the index becomes one shard, its refused records and a part file.

The part file is written last: a part without it is not done. A part is read, judged and written one row group
at a time, so that memory does not depend on its size. Free of Ray; :mod:`supreme.shards.build` sends the
parts to the workers.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict
from threadpoolctl import threadpool_limits

from supreme import config, quality, records, signal, storage
from supreme.ecg import BadRecord, order_leads, to_microvolts, whole_microvolts
from supreme.manifest import FileEntry
from supreme.records import Entry, Record, Source
from supreme.shards import codec, fingerprint
from supreme.shards.schema import REJECTED_SCHEMA, SCHEMA

#: From object storage so many records are fetched at a time: each takes two round trips.
READ_AHEAD = 16
#: So many records take a step before they take the next one, and no more than a row group has.
TOGETHER = 16

_Before = TypeVar("_Before")
_After = TypeVar("_After")


@dataclass(frozen=True)
class Job:
    """What every part needs to know."""

    source: config.Source
    shards: config.Shards
    seed: int
    folder: str

    def open_source(self) -> Source:
        return records.open_source(self.source, self.seed, self.shards.rate_hz)


class Part(BaseModel):
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


class _Ordered(NamedTuple):
    """The first seconds of a record, its twelve leads in order."""

    entry: Entry
    signal: np.ndarray
    rate_hz: float
    derived: bool
    """Whether limb leads were made of I and II."""
    has_wrong_gains: bool


class _Row(NamedTuple):
    """One row of a shard, before its row group is made."""

    signal_uv: np.ndarray
    changes: np.ndarray
    """Of which its fingerprint is made."""
    others: dict[str, Any]
    """The other columns."""


def part_uri(folder: str, name: str) -> str:
    return storage.join(folder, f"parts/{name}.json")


def read(folder: str, name: str) -> Part:
    return Part.model_validate_json(storage.read_bytes(part_uri(folder, name)))


def write(row: dict[str, Any], job: Job) -> dict[str, Any]:
    """Read, judge and write the records of the part ``{"part": name, "entries": dump(...)}``.

    Returns what was `seen` and `rejected`. No record ends it; storage that does not answer or is full does.
    """
    name, entries = row["part"], _load(row["entries"])
    split = name.rpartition("-")[0]
    rejected: dict[str, dict[str, str]] = {}
    usable = _rows(job, split, entries, rejected)
    row_groups = _row_groups(usable, min(job.shards.row_group_size, len(entries)), job.shards.compression)
    # Every core has a part of its own: threads of a matrix product would wait, spinning, for the next one.
    with threadpool_limits(1, user_api="blas"):
        files = write_shard(job.folder, f"{name}.parquet", row_groups, job.shards.compression)
    refused = [rejected[entry.record_id] for entry in entries if entry.record_id in rejected]
    tables = [pa.Table.from_pylist(refused, REJECTED_SCHEMA)] if refused else []
    files |= _write_table(job.folder, f"rejected/{name}.parquet", tables)
    done = Part(
        split=split,
        entries=digests(entries),
        records=len(entries) - len(refused),
        rejected=Counter(bad["reason"] for bad in refused),
        files=files,
    )
    storage.write_json(part_uri(job.folder, name), done.model_dump(mode="json"))
    return {"part": name, "seen": len(entries), "rejected": len(refused)}


def write_shard(
    folder: str, name: str, row_groups: Iterable[pa.Table], compression: codec.Codec
) -> dict[str, FileEntry]:
    """Write a shard of tables of `SCHEMA`, a row group each, their signals encoded with ``compression``."""
    library, level = codec.compression(compression)
    # A dictionary or statistics on the signal would cost time and size, and say nothing.
    plain = [column for column in SCHEMA.names if column != "signal"]
    return _write_table(
        folder,
        name,
        row_groups,
        compression=library,
        compression_level=level,
        use_dictionary=plain,
        write_statistics=plain,
        write_batch_size=1,
        data_page_size=codec.page_bytes(compression),
    )


def _row_groups(made: Iterator[_Row], size: int, compression: codec.Codec) -> Iterator[pa.Table]:
    """Rows as tables of a row group each."""
    for first in made:
        # Each signal is encoded into its place: one column is made without another copy of them all.
        width = first.signal_uv.nbytes
        signals = np.frombuffer(pa.allocate_buffer(size * width), np.uint8).reshape(size, width)
        rows, changes = [], []
        for place, row in zip(signals, chain([first], made), strict=False):
            codec.pack(row.signal_uv, compression, place)
            rows.append(row.others)
            changes.append(row.changes)
        columns = {
            "signal": codec.plain_column(signals[: len(rows)]),
            "fingerprint": fingerprint.in_hexadecimal(fingerprint.signs(np.stack(changes))),
        }
        columns |= {name: [row[name] for row in rows] for name in rows[0]}
        yield pa.table({name: columns[name] for name in SCHEMA.names}, SCHEMA)


def _rows(job: Job, split: str, entries: list[Entry], rejected: dict[str, dict[str, str]]) -> Iterator[_Row]:
    """The rows of the usable records; the others go to ``rejected``, by record id.

    Each step is taken by some records after each other, so that its code stays in the processor's cache.
    """
    reads, together = _reads(job, entries), min(TOGETHER, job.shards.row_group_size)
    for _ in range(0, len(entries), together):
        ordered = _each(islice(reads, together), lambda read: _ordered(read(), job), rejected)
        judged = _each(ordered, lambda one: (one, quality.check(one.signal, one.rate_hz)), rejected)
        yield from (row for _, row in _each(judged, lambda one: _row(*one, split, job), rejected))


def _each(
    some: Iterable[tuple[Entry, _Before]],
    step: Callable[[_Before], _After],
    rejected: dict[str, dict[str, str]],
) -> list[tuple[Entry, _After]]:
    """What a step makes of each record; one that it refuses goes to ``rejected``."""
    made = []
    for entry, before in some:
        try:
            made.append((entry, step(before)))
        except (storage.Unavailable, MemoryError):
            raise  # says nothing about the record
        except BadRecord as error:
            rejected[entry.record_id] = _rejected_row(entry, error.reason, error.detail)
        except Exception as error:  # one record must never end the job
            rejected[entry.record_id] = _rejected_row(entry, "unreadable", f"{type(error).__name__}: {error}")
    return made


def _reads(job: Job, entries: list[Entry]) -> Iterator[tuple[Entry, Callable[[], Record]]]:
    """Entries in order, each with what gives its record or raises why there is none."""
    source = job.open_source()
    if not job.source.uri.startswith("s3://"):
        yield from ((entry, partial(source.read, entry)) for entry in entries)
        return
    with ThreadPoolExecutor(READ_AHEAD) as threads:
        ahead: deque[tuple[Entry, Callable[[], Record]]] = deque()
        try:
            for entry in entries:
                ahead.append((entry, threads.submit(source.read, entry).result))
                if len(ahead) > READ_AHEAD:
                    yield ahead.popleft()
            yield from ahead
        finally:
            threads.shutdown(wait=False, cancel_futures=True)


def _ordered(record: Record, job: Job) -> _Ordered:
    shards = job.shards
    ordered, derived = order_leads(record.signal, record.leads, derive_limb_leads=shards.derive_limb_leads)
    # Not a view, which would hold all of a long record.
    kept = np.ascontiguousarray(signal.first_seconds(ordered, record.rate_hz, shards.duration_s))
    has_wrong_gains = quality.has_wrong_gains(record.signal, record.leads, record.gains)
    return _Ordered(record.entry, whole_microvolts(kept), record.rate_hz, derived, has_wrong_gains)


def _row(ordered: _Ordered, flags: list[str], split: str, job: Job) -> _Row:
    shards, known = job.shards, ordered.entry
    prepared, n_valid = signal.prepare(ordered.signal, ordered.rate_hz, shards.rate_hz, shards.samples)
    if ordered.has_wrong_gains and quality.SCALED_LEADS not in flags:
        flags.append(quality.SCALED_LEADS)
    flags += ["derived_limb_leads"] if ordered.derived else []
    flags += ["short"] if n_valid < shards.samples else []
    signal_uv = to_microvolts(prepared)
    others = {
        "record_id": known.record_id,
        "dataset": known.dataset,
        "patient_id": known.patient_id,
        "split": split,
        "n_valid": n_valid,
        "rate_hz": shards.rate_hz,
        "source_rate_hz": ordered.rate_hz,
        "report": known.report,
        "codes": list(known.codes),
        "age": known.age,
        "sex": known.sex,
        "quality": flags,
        "source_uri": _relative(known.source_uri, job.source.uri),
    }
    return _Row(signal_uv, fingerprint.changes(signal_uv, shards.rate_hz), others)


def _relative(source_uri: str, folder: str) -> str:
    """Where a record lies in its data set: shards of a copy of it elsewhere are the same bytes."""
    base, mark, query = folder.partition("?") if folder.startswith("s3://") else (folder, "", "")
    return source_uri.removesuffix(mark + query).removeprefix(base.rstrip("/") + "/")


def _rejected_row(entry: Entry, reason: str, detail: str) -> dict[str, str]:
    return {
        "record_id": entry.record_id,
        "dataset": entry.dataset,
        "reason": reason,
        "detail": detail[:500],
        "source_uri": entry.source_uri,
    }


def _write_table(
    folder: str, name: str, row_groups: Iterable[pa.Table], **options: Any
) -> dict[str, FileEntry]:
    """Write each table as a row group; nothing, and no file, where there is none."""
    tables = iter(row_groups)
    first = next(tables, None)
    if first is None:
        return {}
    n_rows = 0
    with storage.writing(storage.join(folder, name)) as stream:
        hashed = _Hashed(stream)
        with pq.ParquetWriter(hashed, first.schema, **options) as writer:
            for table in chain([first], tables):
                writer.write_table(table, row_group_size=len(table))
                n_rows += len(table)
    return {name: FileEntry(sha256=hashed.sha256.hexdigest(), bytes=hashed.size, rows=n_rows)}


class _Hashed(io.RawIOBase):
    """Passes on what is written, and knows its sha256 and size."""

    def __init__(self, stream: pa.NativeFile) -> None:
        self.stream, self.sha256, self.size = stream, hashlib.sha256(), 0

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        self.sha256.update(content)
        self.stream.write(content)
        self.size += len(content)
        return len(content)

    def tell(self) -> int:
        return self.size


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
