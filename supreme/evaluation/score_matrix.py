"""Score tables in the order of a benchmark; missing, doubled and non-finite scores are named."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from supreme.config import ConfigError
from supreme.evaluation.benchmarks import Benchmark


def matrix(tables: Sequence[pa.Table], benchmark: Benchmark) -> np.ndarray:
    """Scores ``(N, C)``, float64, in the order of a benchmark; NaN for a class that no table has.

    Raises:
        ConfigError: a record has no score or two, or an annotated one has a score that is not finite; the
            message names the first.
    """
    row_of = {record: row for row, record in enumerate(benchmark.record_ids)}
    values = np.full((len(row_of), len(benchmark.classes)), np.nan)
    times = np.zeros(len(row_of), int)
    present = np.zeros(len(benchmark.classes), bool)
    for table in tables:
        rows = np.array([row_of.get(record, -1) for record in table.column("record_id").to_pylist()], int)
        here = rows >= 0
        np.add.at(times, rows[here], 1)
        for c, name in _columns(table, benchmark):
            present[c] = True
            values[rows[here], c] = _numbers(table, name, benchmark)[here]
    _check_once(benchmark, times)
    _check_finite(benchmark, values, present)
    return values


def _columns(table: pa.Table, benchmark: Benchmark) -> Iterator[tuple[int, str]]:
    names = set(table.column_names)
    return ((c, name) for c, name in enumerate(benchmark.classes) if name in names)


def _numbers(table: pa.Table, name: str, benchmark: Benchmark) -> np.ndarray:
    column = table.column(name)
    if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
        raise ConfigError(f"{benchmark.dataset}: the scores of class {name} are {column.type}, not numbers")
    return column.cast(pa.float64()).to_numpy()


def _check_once(benchmark: Benchmark, times: np.ndarray) -> None:
    for rows, problem, remedy in (
        (times == 0, "no score", "score every record of the benchmark"),
        (times > 1, "more than one score", "leave one row a record"),
    ):
        if rows.any():
            count, first = int(rows.sum()), benchmark.record_ids[int(np.argmax(rows))]
            records = "1 record has" if count == 1 else f"{count:,} records have"
            raise ConfigError(f"{benchmark.dataset}: {records} {problem}, first {first}: {remedy}")


def _check_finite(benchmark: Benchmark, values: np.ndarray, present: np.ndarray) -> None:
    wrong = (benchmark.labels >= 0) & ~np.isfinite(values) & present
    if wrong.any():
        row, column = (int(part[0]) for part in np.nonzero(wrong))
        count, name = int(wrong.sum()), benchmark.classes[column]
        scores = "1 score is" if count == 1 else f"{count:,} scores are"
        raise ConfigError(
            f"{benchmark.dataset}: {scores} not finite, first that of {benchmark.record_ids[row]} for "
            f"class {name}, which is {values[row, column]}: give every record a finite score, or leave out "
            "the column"
        )
