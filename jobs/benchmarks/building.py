"""Building compared: what one core and two make of raw records, against a bare decoder of the same bytes.

The bare decoder in two processes says what the machine itself gives two cores at once: they share memory and
disk, and where they are threads of one core also its arithmetic.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from itertools import cycle, islice
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from threadpoolctl import threadpool_limits

from benchmarks import Measurements, table
from benchmarks.timing import interleaved, memory_bytes, peak_memory
from supreme import config, log
from supreme.ecg import LEADS, MIMIC_LEADS
from supreme.manifest import Request
from supreme.records import Entry
from supreme.records.simulated import write_mimic_folder
from supreme.settings.data import Source
from supreme.shards import build, codec, part
from supreme.shards.fingerprint import block_differences, simhash_bits, to_hex
from supreme.shards.plan import Plan
from supreme.shards.schema import SCHEMA, part_name

RATE_HZ = 500
#: Different records; more are these over again under new ids.
DISTINCT = 512
#: Each core has so many times `bench.records`, half a minute: in its first second an execution of Ray 2.60
#: does not know of the cluster's processors and runs one task at a time.
_TIMES = 8
#: Of the simulated MIMIC-IV-ECG: 200 steps a millivolt.
_MILLIVOLTS = np.float32(1 / 200)
_ORDER = [MIMIC_LEADS.index(lead) for lead in LEADS]
_MEGABYTE = 2**20

CORES = 2
_BARE, _TWO_BARE = "bare decoder, one core", "bare decoder, two processes"
_RAY, _TWO_RAY = "Ray, one part", "Ray, two parts at a time"
#: Ways on two cores, and the same on one.
_ON_TWO = {_TWO_BARE: _BARE, _TWO_RAY: _RAY}

Session = Callable[[], AbstractContextManager[None]]


def compare(recipe: config.Recipe, session: Session) -> Measurements:
    """Records a second of a bare loop and of ours, on one core and on two; and memory.

    The records are format 16, 12 x 5,000, in MIMIC-IV-ECG's lead order, from the page cache. ``session``
    starts Ray. Each core has `_TIMES` times `bench.records`.
    """
    Path(recipe.root).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=recipe.root, prefix="bench-") as folder:
        write_mimic_folder(f"{folder}/raw", DISTINCT, recipe.seed)
        source = Source(kind="mimic_iv_ecg", uri=f"{folder}/raw")
        shards = recipe.shards.model_copy(update={"rate_hz": RATE_HZ})
        job = part.Job(source, shards, recipe.seed, f"{folder}/shards")
        index, each = job.open_source().index(), _TIMES * recipe.bench.records
        memory = _memory(index, (recipe.bench.records // 8, recipe.bench.records // 2), job)
        with session(), ProcessPoolExecutor(CORES, get_context("spawn")) as processes:
            for run in _ways(index, DISTINCT, job, processes).values():
                run()  # imports, worker processes, page cache
            rates = interleaved(_ways(index, each, job, processes), recipe.bench.repetitions)
    rows = {
        name: {
            "records_per_s": round(median(per_s)),
            "to_bare": _ratio(per_s, rates[_TWO_BARE if name in _ON_TWO else _BARE]),
            "to_one_core": _ratio(per_s, rates[_ON_TWO.get(name, name)]),
        }
        for name, per_s in rates.items()
    }
    log.get("bench").info(
        f"12 x {shards.samples}, {shards.compression}, median of {recipe.bench.repetitions}, "
        f"{each:,} records a core; to_bare: of as many cores"
    )
    for line in table(rows):
        log.get("bench").info(line)
    log.get("bench").info(f"MB that writing a part adds at its peak, by its records: {memory}")
    return {"suite": "building", "rates": rows, "memory_mb": memory}


def _ways(
    index: list[Entry], each: int, job: part.Job, processes: ProcessPoolExecutor
) -> dict[str, Callable[[], float]]:
    """What is measured: rates over parts of ``each`` records."""
    parts = [_entries(index, each, suffix) for suffix in "ab"]
    jobs = [replace(job, folder=f"{job.folder}/{core}") for core in range(CORES)]
    return {
        _BARE: partial(_rate, partial(bare, parts[0], job), each),
        _TWO_BARE: partial(_rate, lambda: list(processes.map(bare, parts, jobs)), CORES * each),
        "one part, one core": partial(_rate, partial(_write, parts[0], job), each),
        _RAY: partial(_rate, partial(_build, parts[:1], job), each),
        _TWO_RAY: partial(_rate, partial(_build, parts, job), CORES * each),
    }


def bare(entries: list[Entry], job: part.Job) -> None:
    """Read, decode, reorder, round, encode, write the same columns: no header understood, nothing judged."""
    method, level = codec.compression(job.shards.compression)
    plain = [column for column in SCHEMA.names if column != "signal"]
    options = {"compression": method, "compression_level": level}
    Path(job.folder).mkdir(parents=True, exist_ok=True)
    with (
        threadpool_limits(1, user_api="blas"),
        pq.ParquetWriter(
            f"{job.folder}/bare.parquet", SCHEMA, use_dictionary=plain, write_statistics=plain, **options
        ) as writer,
    ):
        for start in range(0, len(entries), job.shards.row_group_size):
            rows = [_bare_row(entry, job) for entry in entries[start : start + job.shards.row_group_size]]
            fingerprints = to_hex(simhash_bits(np.stack([row["fingerprint"] for row in rows])))
            rows = [row | {"fingerprint": one} for row, one in zip(rows, fingerprints, strict=True)]
            writer.write_table(pa.Table.from_pylist(rows, SCHEMA), row_group_size=len(rows))


def _bare_row(entry: Entry, job: part.Job) -> dict[str, Any]:
    Path(f"{entry.source_uri}.hea").read_bytes()
    steps = np.frombuffer(Path(f"{entry.source_uri}.dat").read_bytes(), "<i2").reshape(-1, len(LEADS)).T
    signal_mv = steps[_ORDER] * _MILLIVOLTS
    signal_uv = np.rint(signal_mv * np.float32(1000)).astype(np.int16)
    return {
        **{
            name: getattr(entry, name)
            for name in ("record_id", "dataset", "patient_id", "report", "age", "sex")
        },
        "split": "train",
        "signal": codec.encode(signal_uv, job.shards.compression),
        "fingerprint": block_differences(signal_uv, RATE_HZ),
        "n_valid": signal_uv.shape[1],
        "rate_hz": RATE_HZ,
        "source_rate_hz": float(RATE_HZ),
        "codes": [],
        "quality": [],
        "source_uri": entry.source_uri,
    }


def _entries(index: list[Entry], count: int, suffix: str) -> list[Entry]:
    numbered = enumerate(islice(cycle(index), count))
    return [replace(entry, record_id=f"{entry.record_id}/{suffix}{number}") for number, entry in numbered]


def _write(entries: list[Entry], job: part.Job) -> None:
    part.write({"part": part_name("train", 0), "entries": part.dump(entries)}, job)


def _build(parts: list[list[Entry]], job: part.Job) -> None:
    todo = {part_name("train", number): entries for number, entries in enumerate(parts)}
    request = Request(stage="shards", config={"shards": job.shards.model_dump(mode="json")})
    build.carry_out(Plan(job, request, new=True, published=None, done={}, todo=todo, stale=()))


def _rate(run: Callable[[], object], records: int) -> float:
    os.sync()  # or it would wait for what the way before it has left to be written
    begun = time.perf_counter()
    run()
    return records / (time.perf_counter() - begun)


def _ratio(rates: list[float], others: list[float]) -> float:
    return round(median(a / b for a, b in zip(rates, others, strict=True)), 2)


def _memory(index: list[Entry], counts: Iterable[int], job: part.Job) -> dict[int, int]:
    """Megabytes that writing parts of growing size has added to a process at its peak."""
    start, found = memory_bytes(), {}
    for count in counts:
        with peak_memory() as peak:
            _write(_entries(index, count, "m"), job)
        found[count] = (peak.value - start) // _MEGABYTE
    return found
