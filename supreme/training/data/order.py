"""Which record is trained on at which step by which worker: a pure function of seed, sizes and history.

All epochs form one endless line of positions: epoch after epoch, each a permutation of the row groups seeded
by (seed, epoch). The line is divided into rounds of a few steps. In a round every worker has an equal,
contiguous piece of the line (its window, so that it reads few row groups) and permutes the rows in it.

Two properties follow. Every worker has exactly ``batch_size`` rows at every step, so no all-reduce waits for
a worker without data. And rounds end where epochs end: after the last step of an epoch every position before
it was consumed exactly once; the rows that do not fill a global batch come first in the next epoch.

The position in the line is a count of steps. When the number of workers changes in the middle of a round,
the remaining rows of the round are consumed first (`Order.resized`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import numpy as np

#: A window spans about this many row groups: the bound of the shuffle and of a worker's memory.
GROUPS_PER_WINDOW = 4


class Stretch(NamedTuple):
    """Consecutive steps with one number of workers and one batch size."""

    workers: int
    batch_size: int
    steps: int


@dataclass(frozen=True)
class Window:
    """The rows of one worker between ``first_step`` and ``first_step + steps``, in training order."""

    first_step: int
    steps: int
    groups: np.ndarray
    """Row group of each row (index into the sizes), shape (steps * batch_size,)."""
    rows: np.ndarray
    """Row inside its row group, same shape."""


@dataclass(frozen=True, eq=False)
class Order:
    """The order from ``first_sample`` on, for one number of workers and one batch size."""

    sizes: np.ndarray
    """Rows of each row group."""
    seed: int
    world: int
    batch_size: int
    first_sample: int = 0
    """Records consumed before this order begins."""
    left_over: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    """Positions that an interrupted round did not consume; they come first."""

    @property
    def records(self) -> int:
        """Records of an epoch."""
        return int(self.sizes.sum())

    @property
    def global_batch(self) -> int:
        """Records of a step, of all workers."""
        return self.world * self.batch_size

    @property
    def steps_per_round(self) -> int:
        """Steps of a round: about `GROUPS_PER_WINDOW` row groups for each worker."""
        return max(1, -(-GROUPS_PER_WINDOW * int(self.sizes.max()) // self.batch_size))

    def steps_until(self, samples: float) -> int:
        """Whole steps from the beginning of this order that keep the consumed records within ``samples``."""
        return max(0, int((samples - self.first_sample) // self.global_batch))

    def round_at(self, step: int) -> tuple[int, int]:
        """First step and number of steps of the round that holds ``step``."""
        epoch = (self.first_sample + step * self.global_batch) // self.records
        # The step that straddles an epoch's end belongs to the next epoch.
        while self.steps_until((epoch + 1) * self.records) <= step:
            epoch += 1
        begin, end = self.steps_until(epoch * self.records), self.steps_until((epoch + 1) * self.records)
        first = begin + (step - begin) // self.steps_per_round * self.steps_per_round
        return first, min(self.steps_per_round, end - first)

    def rounds(self, first: int, last: int) -> list[int]:
        """First steps of the rounds from ``first`` to before ``last``; ``first`` may be inside a round."""
        begins = []
        while first < last:
            begins.append(first)
            first = sum(self.round_at(first))
        return begins

    def window(self, step: int, rank: int) -> Window:
        """The rows of worker ``rank`` in the round that holds ``step``."""
        first, steps = self.round_at(step)
        positions = self._positions(first, steps, rank)
        groups, rows = locate(positions, self.sizes, self.seed)
        return Window(first, steps, groups, rows)

    def resized(self, steps: int, world: int, batch_size: int) -> Order:
        """The order that continues after ``steps`` steps with another number of workers or batch size.

        No record is lost or repeated, also in the middle of a round.
        """
        first, length = self.round_at(steps)
        done = (steps - first) * self.batch_size
        rest = [self._positions(first, length, rank)[done:] for rank in range(self.world)]
        next_sample = self.first_sample + (first + length) * self.global_batch
        waiting = self._samples(np.arange(next_sample, max(next_sample, self._line_start)))
        return Order(
            self.sizes,
            self.seed,
            world,
            batch_size,
            first_sample=self.first_sample + steps * self.global_batch,
            left_over=np.sort(np.concatenate([*rest, waiting])),
        )

    @property
    def _line_start(self) -> int:
        return self.first_sample + len(self.left_over)

    def _samples(self, samples: np.ndarray) -> np.ndarray:
        """Positions in the line of the n-th consumed records."""
        positions = samples.copy()
        early = samples < self._line_start
        positions[early] = self.left_over[samples[early] - self.first_sample]
        return positions

    def _positions(self, first_step: int, steps: int, rank: int) -> np.ndarray:
        begin = self.first_sample + first_step * self.global_batch + rank * steps * self.batch_size
        positions = self._samples(np.arange(begin, begin + steps * self.batch_size))
        return np.random.default_rng([self.seed, 1, begin]).permutation(positions)


def locate(positions: np.ndarray, sizes: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Row group and row inside it of positions in the endless line."""
    records = int(sizes.sum())
    epochs, offsets = np.divmod(positions, records)
    groups, rows = np.empty_like(positions), np.empty_like(positions)
    for epoch in np.unique(epochs):
        order = _permutation(seed, int(epoch), len(sizes))
        starts = np.concatenate([[0], np.cumsum(sizes[order])])
        here = epochs == epoch
        place = np.searchsorted(starts, offsets[here], side="right") - 1
        groups[here] = order[place]
        rows[here] = offsets[here] - starts[place]
    return groups, rows


@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, groups: int) -> np.ndarray:
    return np.random.default_rng([seed, 0, epoch]).permutation(groups)


def replay(sizes: np.ndarray, seed: int, history: Sequence[Stretch], world: int, batch_size: int) -> Order:
    """The order that follows a history of stretches.

    A last stretch with the same ``world`` and ``batch_size`` is still open: its order is returned, to be
    entered at its number of steps.
    """
    now = (world, batch_size)
    shapes = [(w, b) for w, b, _ in history]
    order = Order(np.asarray(sizes, np.int64), seed, *(shapes or [now])[0])
    for (_, _, steps), next_shape in zip(history, [*shapes, now][1:], strict=True):
        if (order.world, order.batch_size) != next_shape:
            order = order.resized(steps, *next_shape)
    return order
