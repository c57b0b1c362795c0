"""Building compared: what one core and two make of raw records, against a bare decoder of the same bytes."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from supreme import config, log
from supreme.bench import table
from supreme.bench.timing import interleaved, memory_bytes, peak_memory
from supreme.ecg import LEADS, MIMIC_LEADS
from supreme.manifest import Request
from supreme.records import Entry
from supreme.records.simulated import write_mimic_folder
from supreme.shards import build, codec, part
from supreme.shards.fingerprint import changes, in_hexadecimal, signs
from supreme.shards.plan import Plan
from supreme.shards.schema import SCHEMA, part_name

RATE_HZ = 500
#: Different records; more are these over again under new ids.
DISTINCT = 512
#: Of the simulated MIMIC-IV-ECG: 200 steps a millivolt.
_MILLIVOLTS = np.float32(1 / 200)
_ORDER = [MIMIC_LEADS.index(lead) for lead in LEADS]
_MEGABYTE = 2**20

Session = Callable[[], AbstractContextManager[None]]


def compare(recipe: config.Recipe, session: Session) -> dict[str, Any]:
    """Records a second of a bare loop, of one part, of Ray with one part and with two at a time; and memory.

    The records are format 16, 12 x 5,000, in MIMIC-IV-ECG's lead order, from the page cache. ``session``
    starts Ray. Each part has half of `bench.records`.
    """
    Path(recipe.root).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=recipe.root, prefix="bench-") as folder:
        write_mimic_folder(f"{folder}/raw", DISTINCT, recipe.seed)
        source = config.Source(kind="mimic_iv_ecg", uri=f"{folder}/raw")
        shards = recipe.shards.model_copy(update={"rate_hz": RATE_HZ})
        job = part.Job(source, shards, recipe.seed, f"{folder}/shards")
        index, each = job.open_source().index(), recipe.bench.records // 2
        first, second = _entries(index, each, "a"), _entries(index, each, "b")
        ways: dict[str, Callable[[], float]] = {
            "bare decoder, one core": partial(_rate, partial(bare, first, job), each),
            "one part, one core": partial(_rate, partial(_write, first, job), each),
            "Ray, one part": partial(_rate, partial(_build, [first], job), each),
            "Ray, two parts at a time": partial(_rate, partial(_build, [first, second], job), 2 * each),
        }
        memory = _memory(index, (each // 4, each), job)
        with session():
            for run in ways.values():
                run()  # imports, worker processes, page cache
            taken = interleaved(ways, recipe.bench.repetitions)
    bare_per_s, _, one_per_s, _ = taken.values()
    found = {
        name: {
            "records_per_s": round(median(per_s)),
            "to_bare": _ratio(per_s, bare_per_s),
            "to_one_part": _ratio(per_s, one_per_s),
        }
        for name, per_s in taken.items()
    }
    log.get("bench").info(
        f"12 x {shards.samples}, {shards.compression}, median of {recipe.bench.repetitions}"
    )
    for line in table(found):
        log.get("bench").info(line)
    log.get("bench").info(f"MB that writing a part adds at its peak, by its records: {memory}")
    return {"suite": "building", "rates": found, "memory_mb": memory}


def bare(entries: list[Entry], job: part.Job) -> None:
    """Read, decode, reorder, round, encode, write the same columns: no header understood, nothing judged."""
    method, level = codec.compression(job.shards.compression)
    plain = [column for column in SCHEMA.names if column != "signal"]
    options = {"compression": method, "compression_level": level}
    Path(job.folder).mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(
        f"{job.folder}/bare.parquet", SCHEMA, use_dictionary=plain, write_statistics=plain, **options
    ) as writer:
        for start in range(0, len(entries), job.shards.row_group_size):
            rows = [_bare_row(entry, job) for entry in entries[start : start + job.shards.row_group_size]]
            prints = in_hexadecimal(signs(np.stack([row["fingerprint"] for row in rows])))
            rows = [row | {"fingerprint": one} for row, one in zip(rows, prints, strict=True)]
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
        "fingerprint": changes(signal_uv, RATE_HZ),
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


def _rate(run: Callable[[], None], records: int) -> float:
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
