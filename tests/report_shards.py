"""Finished shard folders that hold reports and codes, and no signals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from benchmarks.labels import empty

from supreme import manifest
from supreme.settings.data import Shards
from supreme.shards.result import SHARDS, ShardResult
from supreme.shards.schema import SCHEMA


def write(
    folder: Path, reports: Sequence[tuple[str, str] | tuple[str, str, Sequence[str]]], files: int = 1
) -> str:
    """Records ``t/0``, ``t/1`` ... of (split, report[, codes]), each split in ``files`` shards."""
    folder.mkdir(parents=True, exist_ok=True)
    made = {}
    for split in dict.fromkeys(split for split, *_ in reports):
        rows = [_row(f"t/{n}", *given) for n, given in enumerate(reports) if given[0] == split]
        size = -(-len(rows) // files)
        for number in range(-(-len(rows) // size)):
            path = folder / f"{split}-{number:05d}.parquet"
            own = rows[number * size : (number + 1) * size]
            columns = [pa.array([row.get(f.name, empty(f.type)) for row in own], f.type) for f in SCHEMA]
            pq.write_table(pa.Table.from_arrays(columns, schema=SCHEMA), path)
            made[path.name] = manifest.describe(str(path), len(own))
    request = manifest.Request(stage="shards", config={"shards": Shards().model_dump()})
    manifest.publish(str(folder), SHARDS, request, ShardResult(records=len(reports)), made)
    return str(folder)


def _row(record_id: str, split: str, report: str, codes: Sequence[str] = ()) -> dict[str, Any]:
    return {"record_id": record_id, "split": split, "report": report, "codes": list(codes)}
