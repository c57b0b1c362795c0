"""Raw records to shards, on Ray Data: a part of the index is one task, which writes one shard.

Parts that are done are not done again. The bytes depend on the records and the configuration alone, not on
how many workers there were or how often they were interrupted.
"""

from __future__ import annotations

import os
from collections import Counter
from functools import partial
from typing import Any

import pyarrow.parquet as pq
import ray

from supreme import config, log, manifest, storage
from supreme.config import ConfigError
from supreme.ecg import N_LEADS
from supreme.manifest import FileEntry, Manifest, Request
from supreme.records import SPLITS, Entry, split_of
from supreme.shards import part
from supreme.shards.schema import part_name

#: For the plan: a real 12-lead ECG takes this share of its int16 size, and this long on one core.
_ZSTD_FRACTION = 0.4
_SECONDS_PER_RECORD = 0.006


class TooManyRejected(RuntimeError):
    """More records were refused than `shards.max_rejected_fraction` allows."""


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
    job = part.Job(source, recipe.shards, recipe.seed, folder)
    parts = _parts(_entries(job), recipe.shards.records_per_shard)
    manifest.begin(folder, request, new=new)
    present = set(storage.list_files(folder))
    todo = {name: entries for name, entries in parts.items() if not part.is_done(job, name, entries, present)}
    _run(job, todo, total=sum(map(len, parts.values())))
    made = [storage.read_json(job.part_uri(name)) for name in parts]
    counts = _counts(folder, made)
    _refuse_if_too_many(counts, recipe.shards.max_rejected_fraction, folder)
    files = {name: FileEntry(**entry) for done in made for name, entry in done["files"].items()}
    return manifest.publish(folder, request, counts, files)


def plan(recipe: config.Recipe, source: config.Source) -> dict[str, Any]:
    """What :func:`build` would do: records, shards, bytes and seconds, estimated without reading a signal."""
    folder, shards = folder_of(recipe, source), recipe.shards
    parts = _parts(_entries(part.Job(source, shards, recipe.seed, folder)), shards.records_per_shard)
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


def _entries(job: part.Job) -> list[Entry]:
    entries = job.open_source().index()
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


def _run(job: part.Job, todo: dict[str, list[Entry]], total: int) -> None:
    if not todo:
        return
    logger = log.get(__name__)
    done = total - sum(map(len, todo.values()))
    if done:
        logger.info(f"{job.source.dataset}: continuing, {done:,} of {total:,} records are done")
    progress = log.Progress(logger, f"{job.source.dataset}: records", total, done=done)
    # Each task is sent its own slice of the index: reading all of it would cost more than the work.
    items = [{"part": name, "entries": part.dump(entries)} for name, entries in todo.items()]
    tasks = ray.data.from_items(items, override_num_blocks=len(items)).map(
        partial(part.write, job=job), num_cpus=_logical_cpus_per_core()
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


def _counts(folder: str, parts: list[dict[str, Any]]) -> dict[str, Any]:
    by_split, refused = Counter(dict.fromkeys(SPLITS, 0)), Counter[str]()
    patients: set[str] = set()
    for done in parts:
        by_split[done["split"]] += done["records"]
        refused.update(done["rejected"])
        for name in done["files"]:
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
    if counts["rejected"] <= limit * seen + 1e-9 and counts["records"]:
        return
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in counts["rejected_by_reason"].items())
    raise TooManyRejected(
        f"{counts['rejected']:,} of {seen:,} records were refused ({reasons}), more than "
        f"shards.max_rejected_fraction={limit:g} allows; each is listed in {folder}/rejected. Repair "
        "the source and run again with --new, or accept it with a larger shards.max_rejected_fraction"
    )
