"""A corpus as plain PyTorch: an iterable dataset of whole batches, in the order of training. Without Ray.

corpus = Corpus.open(["runs/demo/shards/simulated"], "train")
batches = Batches(corpus, batch_size=256, seed=0)
for epoch in range(8):
    batches.set_epoch(epoch)
    for batch in torch.utils.data.DataLoader(batches, batch_size=None):
        batch["signal_uv"]  # (256, 12, T) int16 microvolts
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import torch
from torch.utils.data import IterableDataset, get_worker_info

from supreme.shards.read import signals_uv
from supreme.training.data.corpus import Corpus
from supreme.training.data.order import Order


@dataclass(eq=False)
class Batches(IterableDataset[dict[str, Any]]):
    """Batches of one rank and epoch: ``signal_uv`` (batch_size, 12, T) int16 and lists of other columns.

    Every rank has equally many full batches; records short of a batch on every rank come first in the next
    epoch. Threads of this process read ahead, without copies between processes. The worker processes of a
    `DataLoader` alternate every few row groups: the same batches in another order. In a process that has
    started Ray, pass it ``multiprocessing_context="forkserver"``: a fork of Ray's driver can keep all its
    objects from being freed.
    """

    corpus: Corpus
    batch_size: int
    seed: int = 0
    rank: int = 0
    world: int = 1
    columns: Sequence[str] = ("record_id",)
    """Columns besides the signal."""
    threads: int = 2
    _epoch: torch.Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.int64), init=False)

    def __post_init__(self) -> None:
        # Visible to worker processes that outlive an epoch.
        self._epoch.share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration; each epoch has another order."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        first, last = self._steps()
        return last - first

    def __iter__(self) -> Iterator[dict[str, Any]]:
        worker = get_worker_info()
        begin, every = (worker.id, worker.num_workers) if worker else (0, 1)
        order = self._order
        turns = [(step, sum(order.round_at(step))) for step in order.rounds(*self._steps())[begin::every]]
        columns = [*self.columns, "signal"]
        for table in self.corpus.read_ahead(order, self.rank, turns, self.threads, columns):
            signal_uv = to_tensor(table, self.corpus.samples)
            others = {name: table.column(name).to_pylist() for name in self.columns}
            for at in range(0, len(table), self.batch_size):
                rows = slice(at, at + self.batch_size)
                yield {"signal_uv": signal_uv[rows], **{name: others[name][rows] for name in self.columns}}

    @property
    def _order(self) -> Order:
        return Order(self.corpus.sizes, self.seed, self.world, self.batch_size)

    def _steps(self) -> tuple[int, int]:
        order, epoch = self._order, int(self._epoch)
        return order.steps_until(epoch * order.records), order.steps_until((epoch + 1) * order.records)


def to_tensor(table: pa.Table, samples: int) -> torch.Tensor:
    """The `signal` column of one chunk as an int16 tensor ``(N, 12, samples)`` that shares its memory.

    Ray Data returns memory that all processes share: read or copy it, never write to it.
    """
    signal_uv = signals_uv(table, samples)
    flat = pa.Array.from_buffers(pa.int16(), signal_uv.size, [None, pa.py_buffer(signal_uv)])
    return torch.from_dlpack(flat).reshape(signal_uv.shape)
