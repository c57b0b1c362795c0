"""The torch dataset: the order of training, each record once an epoch, whatever the workers and ranks."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from test_shards_read import _signal, write
from torch.utils.data import DataLoader

from supreme.shards.codec import CODECS
from supreme.training.data.corpus import Corpus
from supreme.training.data.order import Order
from supreme.training.data.torch_dataset import Batches

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module", params=CODECS)
def corpus(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("shards")
    write(Path(folder), request.param, {"train-00000": 39, "train-00001": 33, "test-00000": 3})
    return Corpus.open([str(folder)], "train")


def ids(batches: Batches, epoch: int = 0, **options: object) -> list[list[str]]:
    batches.set_epoch(epoch)
    return [batch["record_id"] for batch in DataLoader(batches, batch_size=None, **options)]


def test_signals_belong_to_their_records_in_the_order_of_training(corpus: Corpus) -> None:
    batches = Batches(corpus, 3, seed=5, columns=["record_id", "codes"])
    order = Order(corpus.sizes, 5, 1, 3)
    taken = list(batches)
    assert len(taken) == len(batches) == 24
    for step, batch in enumerate(taken):
        assert (batch["signal_uv"].shape, batch["signal_uv"].dtype) == ((3, 12, corpus.samples), torch.int16)
        assert batch["codes"] == [[], [], []]
        expected = np.stack([_signal(int(record_id[2:])) for record_id in batch["record_id"]])
        np.testing.assert_array_equal(batch["signal_uv"].numpy(), expected)
        window = order.window(step, 0)
        rows = slice((step - window.first_step) * 3, (step - window.first_step + 1) * 3)
        wanted = corpus.read_rows(window.groups[rows], window.rows[rows], ["record_id"])
        assert batch["record_id"] == wanted.column("record_id").to_pylist()
    batch["signal_uv"].mul_(2)  # its own memory: what a collate function does in place is allowed


def test_over_the_epochs_every_record_is_taken_equally_often(corpus: Corpus) -> None:
    epochs = [ids(Batches(corpus, 4, rank=rank, world=2), epoch) for epoch in range(4) for rank in (0, 1)]
    counts = Counter(record_id for epoch in epochs for batch in epoch for record_id in batch)
    assert len(counts) == 72
    assert set(counts.values()) == {4}
    assert ids(Batches(corpus, 8), 0) != ids(Batches(corpus, 8), 1)
    assert ids(Batches(corpus, 8), 0) == ids(Batches(corpus, 8, threads=1), 0)
    assert ids(Batches(corpus, 8), 0) != ids(Batches(corpus, 8, seed=1), 0)


def test_worker_processes_give_the_same_batches_in_every_epoch(corpus: Corpus) -> None:
    batches = Batches(corpus, 2, threads=1)
    loader = DataLoader(batches, batch_size=None, num_workers=2, persistent_workers=True)
    for epoch in range(2):
        batches.set_epoch(epoch)
        taken = [batch["record_id"] for batch in loader]
        alone = ids(batches, epoch)
        assert sorted(taken) == sorted(alone)
        assert len(taken) == 36
        # 16 rows a turn: the first of each worker are the first and the ninth.
        assert taken[:4] == [alone[0], alone[8], alone[1], alone[9]]


def test_an_error_while_reading_ahead_is_raised_to_the_reader(tmp_path: Path) -> None:
    shards = write(tmp_path, "none")
    corpus = Corpus.open([str(tmp_path)], "train")
    Path(shards.folder, "train-00001.parquet").unlink()
    with pytest.raises(OSError, match=r"train-00001\.parquet"):
        list(Batches(corpus, 2))
