"""The label stage under load: simulated machine reports in shards without signals."""

from __future__ import annotations

import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import Measurements
from supreme import config, log, manifest, storage
from supreme.records.simulator import beats, findings, report, rhythm, truth
from supreme.reports import stage
from supreme.reports.extract import Mention, RuleExtractor
from supreme.reports.spread import Spread, on_ray
from supreme.settings.data import Shards
from supreme.shards.result import SHARDS, ShardResult
from supreme.shards.schema import SCHEMA, part_name

RECORDS_PER_SHARD = 2048
_DURATION_S = 10.0
#: Simulated ECGs whose reports the load is mixed from.
_POOL = 4000

Session = Callable[[], AbstractContextManager[None]]


class CountingRules(RuleExtractor):
    """The rules; each call adds a byte to a file, from whatever process."""

    def __init__(self, file: str) -> None:
        super().__init__()
        self.file = file

    def extract(self, statement: str) -> list[Mention]:
        """As the rules do."""
        with open(self.file, "ab", buffering=0) as stream:
            stream.write(b".")
        return super().extract(statement)


def compare(recipe: config.Recipe, session: Session) -> Measurements:
    """The label stage over `bench.records` simulated reports on all cores; ``session`` starts Ray."""
    Path(recipe.root).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=recipe.root, prefix="bench-") as folder, session():
        found = run(folder, recipe.bench.records, recipe.seed, on_ray)
    log.get("bench").info(", ".join(f"{name} {value:,}" for name, value in found.items()))
    return {"suite": "labels", **found}


def run(folder: str, records: int, seed: int, spread: Spread) -> Measurements:
    """Label ``records`` simulated reports below an empty local folder.

    Returns:
        Seconds, records a second, unique reports and statements, calls of the extractor, peak memory of this
        process in MB.
    """
    shards, calls = storage.join(folder, "shards"), os.path.join(folder, "calls")
    unique = write_shards(shards, records, seed)
    with open(calls, "wb"):
        start = time.monotonic()
    made = stage.build(
        config.Recipe(root=folder),
        [shards],
        storage.join(folder, "labels"),
        spread=spread,
        extractor=CountingRules(calls),
    )
    seconds = time.monotonic() - start
    return {
        "records": made.result.records,
        "unique_reports": unique,
        "unique_statements": made.result.statements,
        "extractor_calls": os.path.getsize(calls),
        "coverage": round(made.result.coverage, 4),
        "seconds": round(seconds, 1),
        "records_per_second": round(records / seconds),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def write_shards(folder: str, records: int, seed: int) -> int:
    """A finished shard folder with simulated reports and empty signals; the number of different reports."""
    rng = np.random.default_rng(seed)
    pool = [draw(rng).split("\n") for _ in range(min(records, _POOL))]
    made = {}
    seen: set[int] = set()
    for number, start in enumerate(range(0, records, RECORDS_PER_SHARD)):
        reports = list(mix(pool, min(RECORDS_PER_SHARD, records - start), rng))
        seen.update(map(hash, reports))
        name = f"{part_name('train', number)}.parquet"
        with storage.writing(storage.join(folder, name)) as stream:
            pq.write_table(_table(reports, start), stream, compression="zstd")
        made[name] = manifest.describe(storage.join(folder, name), len(reports))
    request = manifest.Request(stage="shards", config={"shards": Shards().model_dump(mode="json")})
    manifest.publish(folder, SHARDS, request, ShardResult(records=records), made)
    return len(seen)


def draw(rng: np.random.Generator) -> str:
    """The report of a simulated ECG."""
    found = findings.draw(rng)
    activations = rhythm.draw(found, _DURATION_S, rng)
    heart = beats.Heart(found, activations.rr_s, rng)
    return report.write(found, truth.conditions(found, activations, heart, _DURATION_S), rng)


def mix(pool: list[list[str]], count: int, rng: np.random.Generator) -> Iterator[str]:
    """As MIMIC-IV-ECG's machines print them: rhythm "with" ectopics, further lines, and lines after "- "."""
    picks = rng.integers(len(pool), size=(count, 3))
    chances = rng.random((count, 3))
    for (one, other, third), (joined, more, qualified) in zip(picks, chances, strict=True):
        lines = list(pool[one])
        if joined < 0.3 and len(lines) > 1:
            lines[:2] = [f"{lines[0]} with {lines[1]}"]
        if more < 0.5:
            lines += pool[other][-2:]
        if qualified < 0.3:
            lines.insert(1, f"- {pool[third][0]}")
        yield "\n".join(lines)


def _table(reports: list[str], start: int) -> pa.Table:
    own = {
        "record_id": [f"load/{start + n:09d}" for n in range(len(reports))],
        "split": ["train"] * len(reports),
        "report": reports,
    }
    columns = [pa.array(own.get(f.name, [empty(f.type)] * len(reports)), f.type) for f in SCHEMA]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def empty(kind: pa.DataType) -> Any:
    """What stands in a column of this type that says nothing."""
    if pa.types.is_string(kind):
        return ""
    if pa.types.is_binary(kind):
        return b""
    return [] if pa.types.is_list(kind) else 0
