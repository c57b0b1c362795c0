"""What Ray Data delivers is trained on only in the order of training."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from supreme.training.data.ray_stream import PLACE, OutOfOrder, in_order

SIZE, FIRST, LAST = 4, 3, 9


def batches() -> list[pa.Table]:
    """The batches of steps 3 to 8, as they should come."""
    places = np.arange(FIRST * SIZE, LAST * SIZE)
    table = pa.table({"record_id": [f"r{place}" for place in places], PLACE: places})
    return [table.slice(at, SIZE) for at in range(0, len(table), SIZE)]


def test_the_batches_of_the_steps_pass_without_their_places() -> None:
    delivered = list(in_order(iter(batches()), SIZE, FIRST, LAST))
    assert [table.column_names for table in delivered] == [["record_id"]] * (LAST - FIRST)
    assert pa.concat_tables(delivered).column("record_id").to_pylist() == [f"r{n}" for n in range(12, 36)]


@pytest.mark.parametrize(
    "disturb",
    [
        lambda b: [b[1], b[2], b[0], *b[3:]],
        lambda b: [*b[:2], b[1], *b[2:]],
        lambda b: [*b[:2], *b[3:]],
        lambda b: b[:-1],
        lambda b: [*b, b[-1]],
        lambda b: [*b[:-1], b[-1].slice(1)],
        lambda b: [b[0].take(pa.array([1, 0, 2, 3])), *b[1:]],
        lambda b: [],
    ],
    ids=["overtaken", "twice", "left out", "too few", "too many", "short", "rows exchanged", "none"],
)
def test_anything_else_is_refused_before_it_is_trained_on(
    disturb: Callable[[list[pa.Table]], list[pa.Table]],
) -> None:
    delivered = in_order(iter(disturb(batches())), SIZE, FIRST, LAST)
    passed: list[str] = []

    def train() -> None:
        for batch in delivered:
            passed.extend(batch.column("record_id").to_pylist())

    with pytest.raises(OutOfOrder, match="for step"):
        train()
    assert passed == [f"r{n}" for n in range(12, 36)][: len(passed)]


def test_no_exchange_of_two_batches_goes_unseen() -> None:
    for seed in range(50):
        shuffled = batches()
        random.Random(seed).shuffle(shuffled)
        if [b.column(PLACE)[0] for b in shuffled] == [b.column(PLACE)[0] for b in batches()]:
            continue
        with pytest.raises(OutOfOrder):
            list(in_order(iter(shuffled), SIZE, FIRST, LAST))
