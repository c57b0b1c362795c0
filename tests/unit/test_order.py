"""Order of training: exact coverage, determinism, indifference to interruptions and numbers of workers."""

from __future__ import annotations

from collections import Counter
from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supreme.training.data.order import Order, locate, replay

pytestmark = pytest.mark.unit

sizes_strategy = st.lists(st.integers(1, 9), min_size=1, max_size=12).map(np.array)
segment_strategy = st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(0, 9))


def batches(order: Order, first: int, last: int) -> list[list[np.ndarray]]:
    """Row groups and rows, as one number each, of every step and worker."""
    found = []
    for step in range(first, last):
        ranks = []
        for rank in range(order.world):
            window = order.window(step, rank)
            begin = (step - window.first_step) * order.batch_size
            ids = window.groups * 1000 + window.rows
            ranks.append(ids[begin : begin + order.batch_size])
        found.append(ranks)
    return found


def count(steps: list[list[np.ndarray]]) -> Counter:
    return Counter(int(i) for ranks in steps for batch in ranks for i in batch)


def everything(sizes: np.ndarray) -> set[int]:
    return {group * 1000 + row for group, size in enumerate(sizes) for row in range(size)}


@settings(deadline=None, max_examples=60)
@given(sizes=sizes_strategy, world=st.integers(1, 4), batch=st.integers(1, 7), seed=st.integers(0, 3))
def test_every_record_once_an_epoch_and_full_batches_everywhere(
    sizes: np.ndarray, world: int, batch: int, seed: int
) -> None:
    order = Order(sizes, seed, world, batch)
    for epochs in (1, 2, 5):
        taken = batches(order, 0, order.steps_until(epochs * order.records))
        assert all(len(b) == batch for ranks in taken for b in ranks)
        counts = count(taken)
        assert set(counts) <= everything(sizes)
        assert max(counts.values(), default=epochs) <= epochs
        missing = sum(epochs - counts[i] for i in everything(sizes))
        assert missing < order.global_batch


@settings(deadline=None, max_examples=80)
@given(
    sizes=sizes_strategy,
    seed=st.integers(0, 3),
    segments=st.lists(
        st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(0, 9)), min_size=1, max_size=4
    ),
)
def test_changing_the_number_of_workers_neither_loses_nor_repeats(
    sizes: np.ndarray, seed: int, segments: list[tuple[int, int, int]]
) -> None:
    consumed: Counter = Counter()
    history: list[tuple[int, int, int]] = []
    for world, batch, steps in [*segments, (2, 3, -1)]:
        same = bool(history) and history[-1][:2] == (world, batch)
        order = replay(sizes, seed, history, world, batch)
        begin = history.pop()[2] if same else 0
        samples = order.first_sample + begin * order.global_batch
        assert samples == consumed.total()
        epochs = samples // order.records + 2
        end = begin + steps if steps >= 0 else order.steps_until(epochs * order.records)
        consumed += count(batches(order, begin, end))
        history.append((world, batch, end))
    assert max(consumed.values(), default=0) <= epochs
    assert sum(epochs - consumed[i] for i in everything(sizes)) < 2 * 3


def test_each_epoch_has_another_order_and_a_seed_gives_the_same() -> None:
    sizes = np.full(40, 8)
    one = Order(sizes, 0, 2, 16)
    per_epoch = one.steps_until(320)
    epochs = [
        np.concatenate(list(chain(*batches(one, e * per_epoch, (e + 1) * per_epoch)))) for e in range(3)
    ]
    assert not np.array_equal(epochs[0], epochs[1])
    assert not np.array_equal(epochs[1], epochs[2])
    again = np.concatenate(list(chain(*batches(Order(sizes, 0, 2, 16), 0, per_epoch))))
    other = np.concatenate(list(chain(*batches(Order(sizes, 1, 2, 16), 0, per_epoch))))
    np.testing.assert_array_equal(again, epochs[0])
    assert not np.array_equal(other, epochs[0])


def test_a_window_reads_few_row_groups_and_mixes_them() -> None:
    order = Order(np.full(400, 128), 0, 4, 64)
    window = order.window(0, 1)
    assert window.steps * 64 == 512
    assert len(np.unique(window.groups)) <= 5
    assert len(np.unique(window.groups[:64])) >= 4


def test_golden_order() -> None:
    """A change of the order breaks the resumption of every checkpoint in the world: it must be meant."""
    window = Order(np.array([3, 4, 2]), 7, 2, 2).window(0, 1)
    assert (window.groups.tolist(), window.rows.tolist()) == GOLDEN


GOLDEN = ([1, 1, 1, 2], [1, 2, 0, 1])


def test_locate_is_a_bijection_per_epoch() -> None:
    sizes = np.array([3, 1, 5])
    groups, rows = locate(np.arange(18), sizes, 0)
    for epoch in (slice(0, 9), slice(9, 18)):
        assert set((groups[epoch] * 1000 + rows[epoch]).tolist()) == everything(sizes)
