"""A corpus as Ray Data: tasks read the windows of the training order, batches arrive in that order.

Every row carries its place in the order, and every batch is checked against it before it is trained on: by
default Ray Data formats batches in several threads and returns whichever is ready first, which on a busy
machine is not the next one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import ray.data

from supreme.ecg import N_LEADS
from supreme.training.data.corpus import COLUMNS, Corpus
from supreme.training.data.order import Order

#: Bytes of signal in one Ray Data execution; a run is a chain of them. A short execution is soon over and
#: leaves the processor to the step: a single one for the whole run is polled throughout, and took half a core
#: from each worker.
BYTES_PER_EXECUTION = 96 * 2**20
#: Bytes of signal in a block: each block costs the main process ten milliseconds, whatever its size.
BYTES_PER_BLOCK = 48 * 2**20
#: Column with the place of a row among those of its worker: step x batch size + row of the batch.
PLACE = "place"


class OutOfOrder(RuntimeError):
    """Ray Data delivered records of another step, which would change the result."""


def stream(
    corpus: Corpus, order: Order, first: int, last: int, rank: int, threads: int = 1
) -> Iterator[pa.Table]:
    """Batches of the steps from ``first`` to before ``last`` of one worker, in exact order.

    Raises:
        OutOfOrder: Ray Data delivered other rows.
    """
    for begin, end in _pieces(corpus, order, first, last, BYTES_PER_EXECUTION, min_rounds=2):
        rows = dataset(corpus, order, begin, end, rank, threads)
        batches = rows.iter_batches(batch_size=order.batch_size, batch_format="pyarrow", prefetch_batches=2)
        yield from in_order(batches, order.batch_size, begin, end)


def in_order(batches: Iterable[pa.Table], batch_size: int, first: int, last: int) -> Iterator[pa.Table]:
    """The batches of the steps from ``first`` to before ``last``, without `PLACE`.

    Raises:
        OutOfOrder: a row has another place, or there are fewer or more batches.
    """
    step = first
    for batch in batches:
        expected = np.arange(step * batch_size, (step + 1) * batch_size)
        places = batch.column(PLACE).to_numpy()
        if step >= last or not np.array_equal(places, expected):
            delivered = f"{places[0]} to {places[-1]}" if len(places) else "none"
            raise OutOfOrder(
                f"Ray Data delivered the rows {delivered} for step {step} of {first} to {last - 1}, "
                f"which has {expected[0]} to {expected[-1]}: nothing was learned from them"
            )
        yield batch.drop_columns(PLACE)
        step += 1
    if step != last:
        raise OutOfOrder(f"Ray Data delivered nothing for step {step} of {first} to {last - 1}")


def dataset(
    corpus: Corpus,
    order: Order,
    first: int,
    last: int,
    rank: int = 0,
    threads: int = 1,
    columns: Sequence[str] = COLUMNS,
) -> ray.data.Dataset:
    """The rows of the steps from ``first`` to before ``last`` of one worker as a Ray dataset, in exact order.

    It has the ``columns`` and `PLACE`. `signal` is plain int16 (`supreme.shards.read.signals_uv`) in shared
    memory: never write to it. Blocks hold whole batches: iterated with ``batch_format="pyarrow"`` and the
    order's batch size, none is copied.
    """
    pieces = _pieces(corpus, order, first, last, BYTES_PER_BLOCK)

    def read(_: pa.Table) -> Iterator[pa.Table]:
        tables = corpus.read_ahead(order, rank, pieces, threads, columns)
        for (begin, end), table in zip(pieces, tables, strict=True):
            places = np.arange(begin * order.batch_size, end * order.batch_size)
            yield table.append_column(PLACE, pa.array(places))

    # One task with threads: between tasks a core would idle until the next one is placed, and in its first
    # second an execution of Ray 2.60 does not know the cluster's processors and runs one task at a time.
    start = ray.data.range(1)
    start.context.enable_progress_bars = False
    start.context.execution_options.preserve_order = True
    # Blocks of this size are neither split nor merged.
    longest = max((end - begin for begin, end in pieces), default=1)
    start.context.target_max_block_size = longest * order.batch_size * _row_bytes(corpus)
    return start.map_batches(
        read, batch_size=None, batch_format="pyarrow", zero_copy_batch=True, num_cpus=threads
    )


def _pieces(
    corpus: Corpus, order: Order, first: int, last: int, size: int, min_rounds: int = 1
) -> list[tuple[int, int]]:
    """Bounds of pieces of whole rounds, each about ``size`` bytes and at least ``min_rounds`` rounds."""
    rounds = order.rounds(first, last)
    round_bytes = order.steps_per_round * order.batch_size * _row_bytes(corpus)
    begins = rounds[:: max(min_rounds, size // round_bytes)]
    return list(zip(begins, [*begins[1:], last], strict=True))


def _row_bytes(corpus: Corpus) -> int:
    return N_LEADS * corpus.samples * 2
