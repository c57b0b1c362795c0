"""The scoring engine on Ray Data: tasks that read and prepare, and workers that hold the model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import ray.data

from supreme.inference.engine import FEW_RECORDS, PreparedUnit, RecordReader, ScoringModel, answer, prepare
from supreme.shards.build import logical_cpus_per_core

#: A row of Ray Data.
Row = dict[str, Any]


def is_worth_it(records: int) -> bool:
    """Whether a session runs, and there are records enough."""
    return bool(ray.is_initialized()) and records >= FEW_RECORDS


def scored(reader: RecordReader, model: ScoringModel, todo: Sequence[int]) -> Iterator[tuple[int, pa.Table]]:
    """The part of each unit in ``todo``, in the order in which they are done."""
    units = ray.data.from_items([{"unit": index} for index in todo], override_num_blocks=len(todo))
    prepared = units.map(partial(_prepare, reader=ray.put(reader), model=model), num_cpus=_cpus_of_a_task())
    worker: Any = _Worker
    for row in prepared.map(worker, fn_constructor_args=(model,), **_workers(len(todo))).iter_rows():
        yield row["unit"], _from_bytes(row["part"])


def _cpus_of_a_task() -> float:
    return logical_cpus_per_core() / 2


def _workers(units: int) -> Row:
    """A worker on each GPU; without one, a worker of one thread on each core."""
    if gpus := int(ray.cluster_resources().get("GPU", 0)):
        return {"compute": ray.data.ActorPoolStrategy(size=min(gpus, units)), "num_gpus": 1}
    cores = max(1, int(ray.cluster_resources().get("CPU", 1) // logical_cpus_per_core()))
    # Logical CPUs are left for the tasks that read: workers do not wait for each other.
    size = min(cores, units)
    return {"compute": ray.data.ActorPoolStrategy(size=size), "num_cpus": 0.25}


def _prepare(row: Row, reader: Any, model: ScoringModel) -> Row:
    unit = prepare(ray.get(reader), model, row["unit"])
    return {
        "unit": row["unit"],
        "metadata": _to_bytes(unit.metadata),
        "windows": unit.windows.tobytes(),
        "dtype": unit.windows.dtype.str,
        "shape": list(unit.windows.shape),
        "counts": unit.counts.tolist(),
    }


class _Worker:
    """Holds the model."""

    def __init__(self, model: ScoringModel) -> None:
        import torch

        if not torch.cuda.is_available():
            torch.set_num_threads(1)
        self.run, self.model = model.load(), model

    def __call__(self, row: Row) -> Row:
        windows = np.frombuffer(row["windows"], row["dtype"]).reshape(row["shape"])
        unit = PreparedUnit(_from_bytes(row["metadata"]), windows, np.asarray(row["counts"], np.int64))
        return {"unit": row["unit"], "part": _to_bytes(answer(unit, self.run, self.model))}


def _to_bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return sink.getvalue().to_pybytes()


def _from_bytes(content: bytes) -> pa.Table:
    return pa.ipc.open_stream(content).read_all()
