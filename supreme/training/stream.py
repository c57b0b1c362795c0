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


def stream(
    corpus: Corpus, order: Order, first: int, last: int, rank: int, cpus: float = 1.0
) -> Iterator[pa.Table]:
    """Batches of the steps from ``first`` to before ``last`` of one worker, in exact order.

    Ray Data tasks, as many as ``cpus`` at once, read ahead, a window each.
    """
    rounds = order.rounds(first, last)
    window_bytes = order.steps_per_round * order.batch_size * corpus.samples * N_LEADS * 2
    windows = max(2, BYTES_PER_EXECUTION // window_bytes)
    for chunk in range(0, len(rounds), windows):
        end = rounds[chunk + windows] if chunk + windows < len(rounds) else last
        read = dataset(corpus, order, rounds[chunk], end, rank, cpus)
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
    A block is a window: iterated with ``batch_format="pyarrow"`` and the order's batch size, none is copied.
    At most ``cpus`` tasks read at once.
    """
    rounds = order.rounds(first, last)

    def read(item: pa.Table) -> pa.Table:
        step = rounds[item.column("id")[0].as_py()]
        return corpus.read_window(order.window(step, rank), step, last, columns)

    data = ray.data.DataContext.get_current()
    data.execution_options.preserve_order = True
    # Every worker runs its own execution, and each would take the whole cluster for its own.
    data.execution_options.resource_limits = ray.data.ExecutionResources.for_limits(cpu=cpus)
    data.enable_progress_bars = False
    return ray.data.range(len(rounds), override_num_blocks=len(rounds)).map_batches(
        read, batch_size=None, batch_format="pyarrow", zero_copy_batch=True
    )
