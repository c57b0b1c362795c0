"""One part of a shard build: a slice of the index becomes one shard, its refused records and a part file.

The part file is written last: a part without it is not done. Free of Ray; :mod:`supreme.shards.build` sends
the parts to the workers.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from supreme import config, quality, records, signal, storage
from supreme.ecg import BadRecord, order_leads, to_microvolts
from supreme.records import Entry, Source
from supreme.shards.schema import REJECTED_SCHEMA, SCHEMA, signal_bytes


@dataclass(frozen=True)
class Job:
    """What every part needs to know."""

    source: config.Source
    shards: config.Shards
    seed: int
    folder: str

    def open_source(self) -> Source:
        return records.open_source(self.source, self.seed, self.shards.rate_hz)

    def part_uri(self, name: str) -> str:
        return storage.join(self.folder, f"parts/{name}.json")


def write(row: dict[str, Any], job: Job) -> dict[str, Any]:
    """Read, judge and write the records of the part ``{"part": name, "entries": dump(...)}``.

    Returns what was `seen` and `rejected`. No record ends it; a failing write does.
    """
    name, entries = row["part"], _load(row["entries"])
    source = job.open_source()
    split, files, rejected = name.rpartition("-")[0], {}, []
    sink = pa.BufferOutputStream()
    n_rows = 0
    with _writer(sink, SCHEMA, job.shards.compression) as writer:
        group: list[dict[str, Any]] = []
        for entry in entries:
            try:
                group.append(_shard_row(source, entry, split, job.shards))
            except BadRecord as error:
                rejected.append(_rejected_row(entry, error.reason, error.detail))
            except Exception as error:  # one record must never end the job
                rejected.append(_rejected_row(entry, "unreadable", f"{type(error).__name__}: {error}"))
            if len(group) == job.shards.row_group_size:
                n_rows += _flush(writer, group)
        n_rows += _flush(writer, group)
    if n_rows:
        files[f"{name}.parquet"] = _store(job.folder, f"{name}.parquet", sink.getvalue(), n_rows)
    if rejected:
        where = f"rejected/{name}.parquet"
        refused = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(rejected, REJECTED_SCHEMA), refused)
        files[where] = _store(job.folder, where, refused.getvalue(), len(rejected))
    part = {
        "entries": storage.sha256(row["entries"].encode()),
        "split": split,
        "records": n_rows,
        "rejected": Counter(bad["reason"] for bad in rejected),
        "files": files,
    }
    storage.write_json(job.part_uri(name), part)
    return {"part": name, "seen": len(entries), "rejected": len(rejected)}


def _shard_row(source: Source, entry: Entry, split: str, shards: config.Shards) -> dict[str, Any]:
    record = source.read(entry)
    ordered, derived = order_leads(record.signal_mv, record.leads, derive_limb_leads=shards.derive_limb_leads)
    kept = signal.first_seconds(ordered, record.rate_hz, shards.duration_s)
    flags = quality.check(kept, record.rate_hz)
    prepared, n_valid = signal.prepare(kept, record.rate_hz, shards.rate_hz, shards.samples)
    flags += ["derived_limb_leads"] if derived else []
    flags += ["short"] if n_valid < shards.samples else []
    known = record.entry
    return {
        "record_id": known.record_id,
        "dataset": known.dataset,
        "patient_id": known.patient_id,
        "split": split,
        "signal": signal_bytes(to_microvolts(prepared)),
        "n_valid": n_valid,
        "rate_hz": shards.rate_hz,
        "source_rate_hz": record.rate_hz,
        "report": known.report,
        "codes": list(known.codes),
        "age": known.age,
        "sex": known.sex,
        "quality": flags,
        "source_uri": known.source_uri,
    }


def _rejected_row(entry: Entry, reason: str, detail: str) -> dict[str, str]:
    return {
        "record_id": entry.record_id,
        "dataset": entry.dataset,
        "reason": reason,
        "detail": detail[:500],
        "source_uri": entry.source_uri,
    }


def _writer(sink: pa.NativeFile, schema: pa.Schema, compression: str) -> pq.ParquetWriter:
    # A dictionary or statistics on the signal would cost time and size, and say nothing.
    plain = [name for name in schema.names if name != "signal"]
    level = 3 if compression == "zstd" else None
    return pq.ParquetWriter(
        sink,
        schema,
        compression=compression,
        compression_level=level,
        use_dictionary=plain,
        write_statistics=plain,
    )


def _flush(writer: pq.ParquetWriter, group: list[dict[str, Any]]) -> int:
    """Write the collected rows as one row group, and empty the list."""
    rows = len(group)
    if rows:
        writer.write_table(pa.Table.from_pylist(group, SCHEMA), row_group_size=rows)
        group.clear()
    return rows


def _store(folder: str, name: str, content: pa.Buffer, rows: int) -> dict[str, Any]:
    plain = content.to_pybytes()
    storage.write_bytes(storage.join(folder, name), plain)
    return {"sha256": storage.sha256(plain), "bytes": len(plain), "rows": rows}


def is_done(job: Job, name: str, entries: list[Entry], present: set[str]) -> bool:
    """Whether a part of exactly these entries is finished; ``present``: the files of the job's folder."""
    if f"parts/{name}.json" not in present:
        return False
    part = storage.read_json(job.part_uri(name))
    same = part["entries"] == storage.sha256(dump(entries).encode())
    return same and present.issuperset(part["files"])


def dump(entries: list[Entry]) -> str:
    """Entries as JSON, in which they travel to the workers."""
    return json.dumps([asdict(entry) for entry in entries], sort_keys=True, ensure_ascii=False)


def _load(text: str) -> list[Entry]:
    return [Entry(**{**fields, "codes": tuple(fields["codes"])}) for fields in json.loads(text)]
