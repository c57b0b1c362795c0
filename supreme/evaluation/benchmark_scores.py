"""Labels and scores of a benchmark in one Parquet file, so that evaluations can be compared afterwards."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from supreme.evaluation.benchmarks import Benchmark
from supreme.storage.parquet import read_table, write_table

_LABEL, _SCORE = "label:", "score:"


def write(uri: str, benchmark: Benchmark, scores: np.ndarray) -> None:
    """Write ``scores`` ``(N, C)`` beside the labels; NaN for a class without a score."""
    columns: dict[str, list[str] | np.ndarray] = {
        "record_id": list(benchmark.record_ids),
        "patient_id": list(benchmark.patients),
    }
    for c, name in enumerate(benchmark.classes):
        columns[f"{_LABEL}{name}"] = benchmark.labels[:, c]
        columns[f"{_SCORE}{name}"] = scores[:, c].astype(np.float32)
    write_table(uri, pa.table(columns))


def read(uri: str, dataset: str) -> tuple[Benchmark, pa.Table]:
    """Labels, and scores as a table of ``record_id`` and one column a class.

    Classes without a score are in the benchmark alone.
    """
    table = read_table(uri)
    columns = {n.removeprefix(_LABEL): n for n in table.column_names if n.startswith(_LABEL)}
    benchmark = Benchmark.from_table(dataset, table, columns)
    values = {name: table.column(f"{_SCORE}{name}") for name in columns}
    scored = {name: v for name, v in values.items() if np.isfinite(v.to_numpy()).all()}
    return benchmark, pa.table({"record_id": table.column("record_id")} | scored)
