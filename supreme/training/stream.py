"""A corpus as Ray Data: tasks read the windows of the order of training, batches come out in that order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import ray.data

from supreme.ecg import N_LEADS
from supreme.training.corpus import COLUMNS, Corpus
from supreme.training.order import Order

#: Bytes of signal in one Ray Data execution; a run is a chain of them. An execution that no full buffer holds
#: back is over soon and leaves the processor to the step: one for the whole run is polled all the while, and
#: took half a core from each worker.
BYTES_PER_EXECUTION = 96 * 2**20
#: Bytes of signal that a task reads: each costs the main process ten milliseconds, whatever its size.
BYTES_PER_BLOCK = 48 * 2**20


def stream(
    corpus: Corpus, order: Order, first: int, last: int, rank: int, cpus: float = 1.0
) -> Iterator[pa.Table]:
    """Batches of the steps from ``first`` to before ``last`` of one worker, in exact order.

    Ray Data tasks, as many as ``cpus`` at once, read ahead.
    """
    for begin, end in _cut(corpus, order, first, last, BYTES_PER_EXECUTION, fewest=2):
        read = dataset(corpus, order, begin, end, rank, cpus)
        yield from read.iter_batches(batch_size=order.batch_size, batch_format="pyarrow", prefetch_batches=2)


def dataset(
    corpus: Corpus,
    order: Order,
    first: int,
    last: int,
    rank: int = 0,
    cpus: float = 1.0,
    columns: Sequence[str] = COLUMNS,
) -> ray.data.Dataset:
    """The rows of the steps from ``first`` to before ``last`` of one worker as a Ray dataset, in exact order.

    `signal` is plain int16 (`supreme.shards.read.signals_uv`) in shared memory, which must not be written to.
    A block is whole batches: iterated with ``batch_format="pyarrow"`` and the order's batch size, none is
    copied. At most ``cpus`` tasks read at once.
    """
    blocks = _cut(corpus, order, first, last, BYTES_PER_BLOCK)

    def read(item: pa.Table) -> pa.Table:
        begin, end = blocks[item.column("id")[0].as_py()]
        return corpus.read_steps(order, rank, begin, end, columns)

    data = ray.data.DataContext.get_current()
    data.execution_options.preserve_order = True
    # Every worker runs its own execution, and each would take the whole cluster for its own.
    data.execution_options.resource_limits = ray.data.ExecutionResources.for_limits(cpu=cpus)
    data.enable_progress_bars = False
    return ray.data.range(len(blocks), override_num_blocks=len(blocks)).map_batches(
        read, batch_size=None, batch_format="pyarrow", zero_copy_batch=True
    )


def _cut(
    corpus: Corpus, order: Order, first: int, last: int, size: int, fewest: int = 1
) -> list[tuple[int, int]]:
    """Steps in pieces of whole rounds (two bounds each): ``size`` bytes, but at least ``fewest`` rounds."""
    rounds = order.rounds(first, last)
    round_bytes = order.steps_per_round * order.batch_size * corpus.samples * N_LEADS * 2
    begins = rounds[:: max(fewest, size // round_bytes)]
    return list(zip(begins, [*begins[1:], last], strict=True))
