"""The scoring engine: records are read, cut into windows and scored, and every part is written as it is done.

Reading and preparing are tasks on all cores; each worker that scores holds the model once, on a GPU where
there is one. A part that is finished is never scored again, so that the same call goes on after a kill and
ends with the same bits: which records a batch holds depends on the records alone.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from threadpoolctl import threadpool_limits

from supreme import log, storage
from supreme.runtime import observability
from supreme.storage.parquet import read_table, write_table

#: What the model said of each record; NaN where it was refused.
OUTPUTS = "outputs"
#: Windows that go through the model at a time. Every batch has this size, the last one is padded: the result
#: of a record then does not depend on how many others there are.
BATCH_SIZE = 64
#: Fewer records are scored by this process in less time than the workers of Ray Data take to start, about ten
#: seconds: with the demo's ResNet on two cores 440 a second of 12 x 5,000 samples, 800 or more of 12 x 1,000.
FEW_RECORDS = 5_000

logger = log.get("scoring")


class Signal(NamedTuple):
    """One record as it was read."""

    values: np.ndarray
    """``(12, T)`` in the order of `ecg.LEADS`: int16 microvolts or float millivolts."""
    rate_hz: float


class Unit(NamedTuple):
    """Records that are read, scored and written together."""

    name: str
    records: int


class RecordReader(Protocol):
    """Where records come from. It travels to the workers and holds no open file."""

    @property
    def units(self) -> Sequence[Unit]:
        """In the order of the result."""
        ...

    def read(self, index: int) -> tuple[pa.Table, list[Signal | None]]:
        """What is written beside the scores of ``units[index]``, and the signals; None: refused."""
        ...


class ScoringModel(Protocol):
    """A model as it travels to the workers: it holds no weights before :meth:`load`."""

    @property
    def width(self) -> int:
        """Numbers that it gives for a record."""
        ...

    @property
    def has_gaps(self) -> bool:
        """Whether a number may be NaN, where a record does not show it."""
        ...

    def prepare(self, signal: Signal) -> np.ndarray:
        """The windows ``(W, ...)`` of a record; all windows of all records have the same shape and type."""
        ...

    def load(self) -> Callable[[np.ndarray], np.ndarray]:
        """What maps windows ``(N, ...)`` to float ``(N, width)``; the mean over windows is the record's."""
        ...


@dataclass(frozen=True)
class PreparedUnit:
    """The windows of the records of a unit."""

    metadata: pa.Table
    windows: np.ndarray
    """``(N, ...)`` of all records, one after the other."""
    counts: np.ndarray
    """Windows of each record; 0 where it was refused."""


def score(reader: RecordReader, model: ScoringModel, folder: str, what: str) -> None:
    """Write a part for each unit of ``reader`` that ``folder`` lacks.

    In a Ray session many records are scored on Ray Data; a few, or without a session, in this process.

    Args:
        what: is scored, for the progress line.
    """
    finished = set(storage.sizes(folder, recursive=False))
    todo = [index for index, unit in enumerate(reader.units) if _file(unit) not in finished]
    total = sum(unit.records for unit in reader.units)
    done = total - sum(reader.units[index].records for index in todo)
    if done and todo:
        logger.info(f"{what}: continuing, {done:,} of {total:,} records are scored")
    progress = log.Progress(logger, f"scored {what}", total, done=done)
    for index, table in _scored(reader, model, todo):
        unit = reader.units[index]
        write_table(storage.join(folder, _file(unit)), table)
        done += unit.records
        observability.add("supreme_records_total", unit.records)
        progress.update(done)


def read_parts(reader: RecordReader, folder: str) -> Iterator[pa.Table]:
    """The finished parts in the order of the reader's units."""
    return (read_table(storage.join(folder, _file(unit))) for unit in reader.units)


def delete_parts(reader: RecordReader, folder: str) -> None:
    """Delete the parts, and the folder if nothing else is in it."""
    for unit in reader.units:
        storage.delete_file(storage.join(folder, _file(unit)))
    storage.delete_empty_folders(folder)


def prepare(reader: RecordReader, model: ScoringModel, index: int) -> PreparedUnit:
    """Read a unit and cut its records into windows."""
    metadata, signals = reader.read(index)
    windows = [model.prepare(signal) for signal in signals if signal is not None]
    lengths = iter([len(one) for one in windows])
    counts = np.array([0 if signal is None else next(lengths) for signal in signals], np.int64)
    return PreparedUnit(metadata, np.concatenate(windows) if windows else np.empty(0), counts)


def answer(prepared: PreparedUnit, run: Callable[[np.ndarray], np.ndarray], model: ScoringModel) -> pa.Table:
    """The part of a unit: its metadata, and what the loaded model says of each record."""
    values = np.full((len(prepared.counts), model.width), np.nan, np.float32)
    scored = np.flatnonzero(prepared.counts)
    if len(scored):
        per_window = in_batches(run, prepared.windows)
        counts = prepared.counts[scored]
        sums = np.add.reduceat(per_window.astype(np.float64), np.cumsum(counts) - counts, axis=0)
        values[scored] = sums / counts[:, None]
    wrong = np.isinf(values) if model.has_gaps else ~np.isfinite(values)
    bad = scored[wrong[scored].any(axis=1)]
    if len(bad):
        name = prepared.metadata.column("record_id")[int(bad[0])].as_py()
        raise ValueError(f"{name}: the model gives no number; its weights are damaged or diverged")
    column = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), model.width)
    return prepared.metadata.append_column(OUTPUTS, column)


def in_batches(run: Callable[[np.ndarray], np.ndarray], windows: np.ndarray) -> np.ndarray:
    """What ``run`` says of windows ``(N, ...)``, asked in batches of one size."""
    results = []
    for start in range(0, len(windows), BATCH_SIZE):
        batch = windows[start : start + BATCH_SIZE]
        rows = len(batch)
        if rows < BATCH_SIZE:
            batch = np.concatenate([batch, np.zeros((BATCH_SIZE - rows, *batch.shape[1:]), batch.dtype)])
        results.append(run(batch)[:rows])
    return np.concatenate(results)


def outputs_of(table: pa.Table) -> np.ndarray:
    """The outputs of the records of a part, ``(N, width)`` float32; rows of refused records are NaN."""
    column = table.column(OUTPUTS).combine_chunks()
    values: np.ndarray = column.flatten().to_numpy().reshape(len(column), column.type.list_size)
    return values


def _file(unit: Unit) -> str:
    return f"{unit.name}.parquet"


def _scored(reader: RecordReader, model: ScoringModel, todo: Sequence[int]) -> Iterator[tuple[int, pa.Table]]:
    if not todo:
        return
    from supreme.inference import engine_on_ray

    if engine_on_ray.is_worth_it(sum(reader.units[index].records for index in todo)):
        yield from engine_on_ray.scored(reader, model, todo)
        return
    with _one_thread_each():
        yield from _in_threads(reader, model, todo)


def _in_threads(
    reader: RecordReader, model: ScoringModel, todo: Sequence[int]
) -> Iterator[tuple[int, pa.Table]]:
    """On all cores of this process: torch and numpy release the interpreter while they compute."""
    run, cores = model.load(), len(os.sched_getaffinity(0))

    def part(index: int) -> tuple[int, pa.Table]:
        return index, answer(prepare(reader, model, index), run, model)

    rest, pending = iter(todo), deque[Future[tuple[int, pa.Table]]]()
    with ThreadPoolExecutor(cores) as threads:
        # A bounded number of units is in memory.
        pending.extend(threads.submit(part, index) for index in islice(rest, cores + 1))
        try:
            while pending:
                yield pending.popleft().result()
                pending.extend(threads.submit(part, index) for index in islice(rest, 1))
        except GeneratorExit:  # the parts cannot be written
            threads.shutdown(cancel_futures=True)
            raise
        except BaseException:
            # What is done beside it is kept.
            yield from (one.result() for one in pending if not one.cancel() and one.exception() is None)
            raise


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """As the workers on Ray: several threads sum in another order, and the last bits would differ."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(threads)
