"""Raw records to shards, on Ray Data: a part of the index is one task, which writes one shard.

A part writes its shard, then its refused records, then `parts/<part>.json`; whatever is killed in between is
done again, whatever has its part file is not. The bytes depend on the records and the configuration alone,
not on how many workers there were or how often they were interrupted.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import ray

from supreme import config, log, manifest, quality, records, signal, storage
from supreme.config import ConfigError
from supreme.ecg import N_LEADS, BadRecord, order_leads, to_microvolts
from supreme.manifest import FileEntry, Manifest, Request
from supreme.records import SPLITS, Entry, Source, split_of
from supreme.shards.schema import REJECTED_SCHEMA, SCHEMA, part_name, signal_bytes

#: For the plan: a real 12-lead ECG takes this share of its int16 size, and this long on one core.
_ZSTD_FRACTION = 0.4
_SECONDS_PER_RECORD = 0.006


class TooManyRejected(RuntimeError):
    """More records were refused than `shards.max_rejected_fraction` allows."""


@dataclass(frozen=True)
class _Job:
    """What every task needs to know."""

    source: config.Source
    shards: config.Shards
    seed: int
    folder: str


def folder_of(recipe: config.Recipe, source: config.Source) -> str:
    return recipe.folder(f"shards/{source.dataset}")


def build(recipe: config.Recipe, source: config.Source, *, new: bool = False) -> Manifest:
    """Make the shards of one source under `<root>/<name>/shards/<dataset>`, or continue, or find them made.

    Needs a running Ray session.

    Raises:
        ConfigError: no such data set, nothing in it, or a folder made with another configuration.
        TooManyRejected: after everything is written.
    """
    folder, request = folder_of(recipe, source), _request(recipe, source)
    if not new and manifest.read(folder):
        finished = manifest.begin(folder, request)
        assert finished is not None
        return finished
    job = _Job(source, recipe.shards, recipe.seed, folder)
    parts = _parts(_entries(job), recipe.shards.records_per_shard)
    manifest.begin(folder, request, new=new)
    present = set(storage.list_files(folder))
    todo = {name: entries for name, entries in parts.items() if not _is_done(job, name, entries, present)}
    _run(job, todo, total=sum(map(len, parts.values())))
    made = [storage.read_json(_part_uri(folder, name)) for name in parts]
    counts = _counts(folder, made)
    _refuse_if_too_many(counts, recipe.shards.max_rejected_fraction, folder)
    files = {name: FileEntry(**entry) for part in made for name, entry in part["files"].items()}
    return manifest.publish(folder, request, counts, files)


def plan(recipe: config.Recipe, source: config.Source) -> dict[str, Any]:
    """What :func:`build` would do: records, shards, bytes and seconds, estimated without reading a signal."""
    folder, shards = folder_of(recipe, source), recipe.shards
    parts = _parts(_entries(_Job(source, shards, recipe.seed, folder)), shards.records_per_shard)
    n_records = sum(map(len, parts.values()))
    share = _ZSTD_FRACTION if shards.compression == "zstd" else 1.0
    return {
        "dataset": source.dataset,
        "folder": folder,
        "finished": manifest.read(folder) is not None,
        "records": n_records,
        "shards": len(parts),
        "bytes": round(n_records * N_LEADS * shards.samples * 2 * share),
        "seconds": round(n_records * _SECONDS_PER_RECORD / (os.cpu_count() or 1), 1),
    }


def _request(recipe: config.Recipe, source: config.Source) -> Request:
    # The limit decides whether the stage fails, not what it writes: raising it must not orphan the parts.
    shards = recipe.shards.model_dump(mode="json", exclude={"max_rejected_fraction"})
    sections = {"source": source.model_dump(mode="json"), "shards": shards, "seed": recipe.seed}
    return Request(stage="shards", config=sections)


def _entries(job: _Job) -> list[Entry]:
    entries = records.open_source(job.source, job.seed, job.shards.rate_hz).index()
    if not entries:
        raise ConfigError(f"source {job.source.dataset!r}: {job.source.uri} holds no records")
    return entries


def _parts(entries: list[Entry], size: int) -> dict[str, list[Entry]]:
    """Part name -> its entries: by split, then by record id."""
    parts = {}
    for split in SPLITS:
        chosen = [entry for entry in entries if split_of(entry) == split]
        for number, start in enumerate(range(0, len(chosen), size)):
            parts[part_name(split, number)] = chosen[start : start + size]
    return parts


def _run(job: _Job, todo: dict[str, list[Entry]], total: int) -> None:
    if not todo:
        return
    logger = log.get(__name__)
    done = total - sum(map(len, todo.values()))
    if done:
        logger.info(f"{job.source.dataset}: continuing, {done:,} of {total:,} records are done")
    progress = log.Progress(logger, f"{job.source.dataset}: records", total, done=done)
    # Each task is sent its own slice of the index: reading all of it would cost more than the work.
    items = [{"part": name, "entries": _dump(entries)} for name, entries in todo.items()]
    tasks = ray.data.from_items(items, override_num_blocks=len(items)).map(
        partial(_write_part, job=job), num_cpus=_logical_cpus_per_core()
    )
    refused = 0
    for row in tasks.iter_rows():
        done, refused = done + row["seen"], refused + row["rejected"]
        progress.update(done, rejected=refused)


def _logical_cpus_per_core() -> float:
    """What a task asks for, where Ray was told of more CPUs than the machine has cores."""
    here = ray.get_runtime_context().get_node_id()
    logical = sum(node["Resources"].get("CPU", 0) for node in ray.nodes() if node["NodeID"] == here)
    return max(1.0, logical // (os.cpu_count() or 1))


def _write_part(row: dict[str, Any], job: _Job) -> dict[str, Any]:
    """One task: read, judge and write the records of one part."""
    name, entries = row["part"], _load(row["entries"])
    source = records.open_source(job.source, job.seed, job.shards.rate_hz)
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
    storage.write_json(_part_uri(job.folder, name), part)
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


def _is_done(job: _Job, name: str, entries: list[Entry], present: set[str]) -> bool:
    if f"parts/{name}.json" not in present:
        return False
    part = storage.read_json(_part_uri(job.folder, name))
    same = part["entries"] == storage.sha256(_dump(entries).encode())
    return same and present.issuperset(part["files"])


def _counts(folder: str, parts: list[dict[str, Any]]) -> dict[str, Any]:
    by_split, refused = Counter(dict.fromkeys(SPLITS, 0)), Counter[str]()
    patients: set[str] = set()
    for part in parts:
        by_split[part["split"]] += part["records"]
        refused.update(part["rejected"])
        for name in part["files"]:
            if "/" not in name:
                system, path = storage.filesystem(storage.join(folder, name))
                column = pq.read_table(path, columns=["patient_id"], filesystem=system)["patient_id"]
                patients.update(column.unique().to_pylist())
    return {
        "records": sum(by_split.values()),
        **{f"records_{split}": by_split[split] for split in SPLITS},
        "patients": len(patients),
        "rejected": sum(refused.values()),
        "rejected_by_reason": dict(sorted(refused.items())),
    }


def _refuse_if_too_many(counts: dict[str, Any], limit: float, folder: str) -> None:
    seen = counts["records"] + counts["rejected"]
    if counts["rejected"] <= math.floor(limit * seen) and counts["records"]:
        return
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in counts["rejected_by_reason"].items())
    raise TooManyRejected(
        f"{counts['rejected']:,} of {seen:,} records were refused ({reasons}), more than "
        f"shards.max_rejected_fraction={limit:g} allows; each is listed in {folder}/rejected. Repair "
        "the source and run again with --new, or accept it with a larger shards.max_rejected_fraction"
    )


def _part_uri(folder: str, name: str) -> str:
    return storage.join(folder, f"parts/{name}.json")


def _dump(entries: list[Entry]) -> str:
    return json.dumps([asdict(entry) for entry in entries], sort_keys=True, ensure_ascii=False)


def _load(text: str) -> list[Entry]:
    return [Entry(**{**fields, "codes": tuple(fields["codes"])}) for fields in json.loads(text)]
