"""The training loop of a single worker in the process of a test, without Ray."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from supreme.training.data.batch import Batch, to_batch
from supreme.training.run import worker, worker_setup


def prepare(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Let `worker_setup.open_run` and `WorkerRun.train` run here; reports are appended to the list."""
    alone = SimpleNamespace(get_world_rank=lambda: 0, get_world_size=lambda: 1)
    # What a worker sets for its own process must not change this one.
    monkeypatch.setattr(worker_setup.log, "configure", lambda **_: None)
    monkeypatch.setattr(worker_setup.torch, "set_num_threads", lambda count: None)
    monkeypatch.setattr(worker_setup.memory, "disable_malloc_trim", lambda: None)
    monkeypatch.setattr(worker_setup.ray.train, "get_context", lambda: alone)
    monkeypatch.setattr(worker_setup.ray.train.torch, "get_device", lambda: "cpu")
    monkeypatch.setattr(worker_setup, "broadcast_from_rank_zero", lambda value: value)
    monkeypatch.setattr(worker.WorkerRun, "batches", _batches)
    reports: list[dict[str, Any]] = []
    monkeypatch.setattr(worker.ray.train, "report", reports.append)
    return reports


def _batches(run: worker.WorkerRun, first: int, last: int) -> Iterator[Batch]:
    for step in range(first, last):
        table = run.corpus.read_steps(run.order, run.rank, step, step + 1)
        yield to_batch(table, run.corpus.samples, run.labels, run.reports)
