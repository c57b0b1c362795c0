"""Training on Ray: the stream is exact, two workers learn, losing one changes nothing, bad runs end."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import ray.train
import training_data
from safetensors.torch import load_file

from supreme import config, manifest
from supreme.job import ray_session
from supreme.shards.read import signals_uv
from supreme.training import driver, history, saving
from supreme.training.corpus import Corpus
from supreme.training.order import Order, replay
from supreme.training.step import TrainingStopped
from supreme.training.stream import stream

pytestmark = [pytest.mark.ray, pytest.mark.slow]
# The controller's process cannot import this file.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture(scope="module")
def session() -> Iterator[None]:
    with ray_session():
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("train")
    training_data.write(training_data.recipe(folder))
    return folder


def read(corpus: Corpus, order: Order, first: int, last: int, rank: int) -> list[Any]:
    return list(stream(corpus, order, first, last, rank, threads=2))


def record_ids(tables: list[Any]) -> list[str]:
    return [record_id for table in tables for record_id in table.column("record_id").to_pylist()]


def test_the_stream_has_every_record_once_and_a_restart_repeats_its_order(session: None, root: Path) -> None:
    corpus = Corpus.open(driver.shard_folders(training_data.recipe(root)), "train")
    order = Order(corpus.sizes, 0, 2, 10)
    steps = order.steps_until(order.records)
    taken = [read(corpus, order, 0, steps, rank) for rank in range(2)]
    assert [len(table) for tables in taken for table in tables] == [10] * 2 * steps
    assert sorted(Counter(record_ids(taken[0]) + record_ids(taken[1])).values()) == [1] * 300
    again = read(corpus, order, 7, steps, 1)
    assert record_ids(again) == record_ids(taken[1][7:])
    shard = corpus.shards[0].table(["record_id", "signal"], "train")
    truth = dict(zip(shard.column("record_id").to_pylist(), signals_uv(shard, corpus.samples), strict=True))
    for table in taken[0]:
        signals = signals_uv(table, corpus.samples)
        for record_id, signal_uv in zip(table.column("record_id").to_pylist(), signals, strict=True):
            np.testing.assert_array_equal(signal_uv, truth[record_id])


def test_from_two_workers_to_three_in_the_middle_of_an_epoch(session: None, root: Path) -> None:
    corpus = Corpus.open(driver.shard_folders(training_data.recipe(root)), "train")
    before = Order(corpus.sizes, 0, 2, 10)
    after = replay(corpus.sizes, 0, [(2, 10, 5)], 3, 10)
    ids = [i for rank in range(2) for i in record_ids(read(corpus, before, 0, 5, rank))]
    left = after.steps_until(300)
    ids += [i for rank in range(3) for i in record_ids(read(corpus, after, 0, left, rank))]
    counts = Counter(ids)
    assert len(counts) == counts.total() == 100 + 30 * left
    assert 300 - counts.total() < 30


class KillWorker(ray.train.UserCallback):
    """After the first report, kill one training worker of this session, once."""

    def __init__(self) -> None:
        self.done = False

    def after_report(self, run_context: Any, metrics: Any, checkpoint: Any) -> None:
        if not self.done:
            self.done = True
            os.kill(self.siblings("RayTrainWorker")[0], signal.SIGKILL)

    def siblings(self, name: str) -> list[int]:
        """Processes of the same raylet: other sessions on this machine are left alone."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == os.getppid() and name in (entry / "cmdline").read_text():
                    found.append(int(entry.name))
        return sorted(found)


def train(recipe: config.Recipe, folder: Path, **extra: Any) -> tuple[driver.Trained, list[list[int]]]:
    """What was trained, and of every report the samples seen of the whole history."""
    file = folder / "reported"

    def report(lines: Sequence[history.Line]) -> None:
        with file.open("a") as stream:
            stream.write(f"{[line['samples_seen'] for line in lines]}\n")

    folder.mkdir(exist_ok=True)
    trained = driver.train(recipe, driver.request(recipe), str(folder), report=report, **extra)
    return trained, [json.loads(line) for line in file.read_text().splitlines()]


@pytest.fixture(scope="module")
def undisturbed(session: None, root: Path) -> driver.Trained:
    trained, reported = train(training_data.recipe(root, epochs=6), root / "undisturbed")
    samples = [report["samples_seen"] for report in trained.state.reports]
    assert reported == [samples[:count] for count in range(1, 1 + len(samples))]
    return trained


def test_it_learns_what_was_planted(undisturbed: driver.Trained, root: Path) -> None:
    counts = undisturbed.counts
    assert (counts["steps"], counts["samples_seen"]) == (56, 56 * 32)
    assert counts["selection"]["value"] > 0.7
    losses = [report["loss"] for report in undisturbed.state.reports]
    assert losses[-1] < losses[0]
    assert [round(report["epoch"]) for report in undisturbed.state.reports] == [1, 2, 3, 4, 5, 6]
    averaged = load_file(f"{saving.latest(str(root / 'undisturbed'))}/ema.safetensors")
    weights = undisturbed.model.state_dict()
    assert all((weights[name] == averaged[f"model.{name}"]).all() for name in weights)
    assert len((root / "undisturbed/metrics.jsonl").read_text().splitlines()) == 6


def test_a_killed_worker_changes_nothing(session: None, undisturbed: driver.Trained, root: Path) -> None:
    recipe = training_data.recipe(root, epochs=6)
    trained, _ = train(recipe, root / "killed", callbacks=[KillWorker()])
    assert trained.counts["weights_sha256"] == undisturbed.counts["weights_sha256"]
    assert [r["samples_seen"] for r in trained.state.reports] == [
        r["samples_seen"] for r in undisturbed.state.reports
    ]


def test_a_loss_that_is_not_finite_ends_the_run_without_a_retry(session: None, root: Path) -> None:
    recipe = training_data.recipe(root, learning_rate=1e30, gradient_clip=1e30)
    with pytest.raises(TrainingStopped, match=r"step \d+ .*planted/train"):
        train(recipe, root / "diverged")


def test_another_configuration_in_the_same_folder_is_refused(session: None, root: Path) -> None:
    recipe = training_data.recipe(root)
    assert driver.begin(recipe)[1] is None
    with pytest.raises(config.ConfigError, match=r"learning_rate: 0\.01 -> 0\.02"):
        driver.begin(training_data.recipe(root, learning_rate=0.02))
    with pytest.raises(config.ConfigError, match=r"learning_rate: 0\.01 -> 0\.02"):
        train(training_data.recipe(root, epochs=6, learning_rate=0.02), root / "undisturbed")
    (root / "undisturbed/state.json").unlink()
    # Checkpoints without the rest must refuse, too.
    with pytest.raises(config.ConfigError, match=r"learning_rate: 0\.01 -> 0\.02"):
        train(training_data.recipe(root, epochs=6, learning_rate=0.02), root / "undisturbed")


def test_what_cannot_be_trained_says_why(session: None, root: Path, tmp_path: Path) -> None:
    with pytest.raises(config.ConfigError, match=r"jobs/shard\.py"):
        driver.begin(training_data.recipe(tmp_path))
    with pytest.raises(config.ConfigError, match=r"lower training\.batch_size"):
        train(training_data.recipe(root, batch_size=500), root / "large")
    training_data.write(training_data.recipe(tmp_path))
    labels = tmp_path / "tiny/labels"
    pq.write_table(pq.read_table(labels / "labels.parquet").slice(40), labels / "labels.parquet")
    assert manifest.read(str(labels))
    with pytest.raises(config.ConfigError, match=r"have no labels.*jobs/label\.py"):
        train(training_data.recipe(tmp_path), tmp_path / "unlabelled")
