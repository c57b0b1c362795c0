"""Batches ahead of the step: the same ones, in the same order, and how far ahead."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from test_step import Batch, batch

from supreme.training.data.prefetch import prefetch

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_every_batch_comes_once_in_order_and_one_is_taken_ahead(count: int) -> None:
    made = [batch(number) for number in range(count)]
    taken = 0

    def source() -> Iterator[Batch]:
        nonlocal taken
        for one in made:
            taken += 1
            yield one

    for number, one in enumerate(prefetch(source(), torch.device("cpu"))):
        assert taken == min(count, number + 2)
        assert one.record_ids == made[number].record_ids
        assert one.signal_uv.dtype == torch.int16
        assert all(map(torch.equal, one.tensors(), made[number].tensors()))
    assert taken == count
