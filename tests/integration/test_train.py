"""Training on Ray: the stream is exact, it learns, losing workers or a node changes nothing, bad runs end."""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray.train
import torch
import training_data
from ray._raylet import GcsClient
from ray.cluster_utils import Cluster
from ray.core.generated.autoscaler_pb2 import DrainNodeReason
from ray.data._internal.arrow_block import ArrowBlockAccessor
from safetensors.torch import load_file

from supreme import config, manifest
from supreme.runtime import session as session_module
from supreme.settings.training import Training
from supreme.shards.read import signals_uv
from supreme.training.data.corpus import Corpus
from supreme.training.data.order import Order, replay
from supreme.training.data.ray_stream import stream
from supreme.training.data.sources import shard_folders
from supreme.training.learner.finite import TrainingStopped
from supreme.training.learner.validation import METRIC
from supreme.training.run import checkpoint_writer, driver, history, worker, worker_setup
from supreme.training.run.result import TrainedModel
from supreme.training.run.stage import PretrainStage
from supreme.training.run.summary import PRETRAIN

pytestmark = [pytest.mark.ray, pytest.mark.slow]
# The controller's process cannot import this file.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
CPUS = 8
PREEMPTION = int(DrainNodeReason.DRAIN_NODE_REASON_PREEMPTION)


@pytest.fixture(scope="module")
def session() -> Iterator[Cluster]:
    with session_module._own_folder():
        cluster = Cluster(True, head_node_args={"num_cpus": CPUS, "include_dashboard": False})
        ray.init(cluster.address, logging_level="WARNING")
        session_module._name_cluster(cluster.address)
        yield cluster
        ray.shutdown()
        cluster.shutdown()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("train")
    training_data.write(training_data.recipe(folder))
    return folder


def read(corpus: Corpus, order: Order, first: int, last: int, rank: int) -> list[Any]:
    return list(stream(corpus, order, first, last, rank, threads=2))


def record_ids(tables: list[Any]) -> list[str]:
    return [record_id for table in tables for record_id in table.column("record_id").to_pylist()]


def test_the_stream_has_every_record_once_and_a_restart_repeats_its_order(
    session: Cluster, root: Path
) -> None:
    corpus = Corpus.open(shard_folders(training_data.recipe(root)), "train")
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


def test_batches_come_in_order_also_where_formatting_one_takes_longer(
    session: Cluster, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine a thread of Ray Data's stands still, and others overtake it."""
    to_arrow, numbers = ArrowBlockAccessor.to_arrow, itertools.count()

    def slow_at_times(accessor: ArrowBlockAccessor) -> Any:
        time.sleep(0.2 if next(numbers) % 3 == 0 else 0.0)
        return to_arrow(accessor)

    monkeypatch.setattr(ArrowBlockAccessor, "to_arrow", slow_at_times)
    corpus = Corpus.open(shard_folders(training_data.recipe(root)), "train")
    order = Order(corpus.sizes, 0, 2, 10)
    expected = [record_ids([corpus.read_steps(order, 1, step, step + 1)]) for step in range(4, 15)]
    assert [record_ids([table]) for table in read(corpus, order, 4, 15, 1)] == expected
    assert next(numbers) >= len(expected), "nothing was held up"


def test_from_two_workers_to_three_in_the_middle_of_an_epoch(session: Cluster, root: Path) -> None:
    corpus = Corpus.open(shard_folders(training_data.recipe(root)), "train")
    before = Order(corpus.sizes, 0, 2, 10)
    after = replay(corpus.sizes, 0, [(2, 10, 5)], 3, 10)
    ids = [i for rank in range(2) for i in record_ids(read(corpus, before, 0, 5, rank))]
    left = after.steps_until(300)
    ids += [i for rank in range(3) for i in record_ids(read(corpus, after, 0, left, rank))]
    counts = Counter(ids)
    assert len(counts) == counts.total() == 100 + 30 * left
    assert 300 - counts.total() < 30


class KillWorker(ray.train.UserCallback):
    """After so many reports, kill a worker that notes into this folder, once."""

    def __init__(self, folder: Path, reports: int = 1) -> None:
        self.folder, self.left = folder, reports

    def after_report(self, run_context: Any, metrics: Any, checkpoint: Any) -> None:
        self.left -= 1
        if self.left == 0:
            newest = max(self.folder.glob("read-*.jsonl"), key=lambda file: file.stat().st_mtime)
            os.kill(int(newest.stem.split("-")[-1]), signal.SIGKILL)


def noting_loop(stage: PretrainStage, before: Callable[[worker.WorkerRun, int, int], None]) -> None:
    """The training loop; notes what is really read, and calls ``before`` (run, first sample, batch)."""
    run, state = worker_setup.open_run(stage)
    name = f"read-{state.samples_seen}-{run.world}-{run.rank}-{os.getpid()}.jsonl"
    file = Path(stage.folder, name).open("w", buffering=1)  # noqa: SIM115
    to_batch, numbers = worker.to_batch, itertools.count()

    def noting(table: Any, *rest: Any) -> Any:
        before(run, state.samples_seen, next(numbers))
        file.write(json.dumps(table.column("record_id").to_pylist()) + "\n")
        return to_batch(table, *rest)

    worker.to_batch = noting
    run.train(state)


@dataclass(frozen=True)
class Attempt:
    """What one start of the workers read, from its notes."""

    first: int
    """Records that were seen before."""
    world: int
    steps: list[list[str]]
    """Record ids of each step, of all workers."""

    @classmethod
    def all_in(cls, folder: Path) -> list[Attempt]:
        """Every start, in order of time."""
        files: dict[tuple[int, int], list[Path]] = {}
        for file in sorted(folder.glob("read-*.jsonl"), key=lambda file: file.stat().st_mtime):
            first, world = map(int, file.stem.split("-")[1:3])
            files.setdefault((first, world), []).append(file)
        found = []
        for (first, world), own in files.items():
            # Of a killed worker the last line may be cut off.
            read = [[json.loads(x) for x in f.read_text().splitlines() if x.endswith("]")] for f in own]
            steps = [list(itertools.chain(*step)) for step in zip(*read, strict=False)]
            found.append(cls(first, world, steps))
        return sorted(found, key=lambda attempt: attempt.first)


def train(recipe: config.Recipe, folder: Path, **extra: Any) -> tuple[TrainedModel, list[list[int]]]:
    """What was trained, and of every report the samples seen of the whole history."""
    file = folder / "reported"

    def report(reports: Sequence[history.Report]) -> None:
        with file.open("a") as stream:
            stream.write(f"{[report.samples_seen for report in reports]}\n")

    folder.mkdir(exist_ok=True)
    opened = replace(PretrainStage.open(recipe), folder=str(folder))
    opened.inputs.verify()
    trained = driver.train(opened, report=report, **extra)
    return trained, [json.loads(line) for line in file.read_text().splitlines()]


@pytest.fixture(scope="module")
def undisturbed(session: Cluster, root: Path) -> TrainedModel:
    trained, reported = train(training_data.recipe(root, epochs=6), root / "undisturbed")
    samples = [report.samples_seen for report in trained.state.reports]
    assert reported == [samples[:count] for count in range(1, 1 + len(samples))]
    return trained


def test_it_learns_what_was_planted(undisturbed: TrainedModel, root: Path) -> None:
    counts = undisturbed.result
    assert (counts.steps, counts.samples_seen) == (56, 56 * 32)
    assert counts.selection.value > 0.7
    losses = [report.metrics["loss"] for report in undisturbed.state.reports]
    assert losses[-1] < losses[0]
    assert [round(report.metrics["epoch"]) for report in undisturbed.state.reports] == [1, 2, 3, 4, 5, 6]
    averaged = load_file(f"{checkpoint_writer.latest(str(root / 'undisturbed'))}/ema.safetensors")
    weights = undisturbed.model.state_dict()
    assert all((weights[name] == averaged[f"model.{name}"]).all() for name in weights)
    assert len((root / "undisturbed/metrics.jsonl").read_text().splitlines()) == 6


def drained_loop(stage: PretrainStage, _: object) -> None:
    """In the first attempt the node of the workers says that it will be gone in ten seconds."""

    def before(run: worker.WorkerRun, first: int, batch: int) -> None:
        if first == 0:
            time.sleep(0.4)
        if (first, batch, run.rank) == (0, 10, 0):
            ray.kill(ray.get_actor("filler", "test"))
            context, gone_ms = ray.get_runtime_context(), int(1000 * (time.time() + 10))
            gcs = GcsClient(address=context.gcs_address)
            assert gcs.drain_node(context.get_node_id(), PREEMPTION, "test", gone_ms)[0]

    noting_loop(stage, before)


def test_a_node_taken_away_and_a_killed_worker_change_nothing(
    session: Cluster, undisturbed: TrainedModel, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S", "0.3")
    monkeypatch.setattr(driver, "train_loop", drained_loop)
    filler = ray.remote(num_cpus=CPUS - 1)(Counter).options(name="filler", namespace="test").remote()
    ray.get(filler.__ray_ready__.remote())
    folder = root / "disturbed"
    # Only here is room for both workers, until the filler goes.
    session.add_node(num_cpus=2)
    # The notice does not count as a failure.
    recipe = training_data.recipe(root, epochs=6, checkpoint_every=4, max_failures=1)
    trained, _ = train(recipe, folder, callbacks=[KillWorker(folder)])
    assert trained.result.weights_sha256 == undisturbed.result.weights_sha256
    reported = [report.samples_seen for report in trained.state.reports]
    assert reported == [38 * 32, 56 * 32]
    curve = [point.samples_seen for report in trained.state.reports for point in report.curve]
    assert curve == sorted(set(curve))
    assert len(curve) == 14
    starts = [attempt.first for attempt in Attempt.all_in(folder)]
    assert starts[0] == 0
    # It went on from the checkpoint just in time: from between the reports.
    assert 10 * 32 <= starts[1] < reported[0]
    assert len(starts) in (2, 3)  # killed before the next checkpoint was written, or after


def check_every_record_once_an_epoch(folder: Path, trained: TrainedModel, batch_size: int) -> None:
    """From what the workers read: nothing is skipped, and nothing comes again before all others came."""
    attempts = Attempt.all_in(folder)
    ends = [attempt.first for attempt in attempts[1:]] + [trained.state.samples_seen]
    assert any(end % 300 for end in ends[:-1]), "no restart in the middle of an epoch"
    seen: Counter[str] = Counter()
    for attempt, end in zip(attempts, ends, strict=True):
        # What came after the checkpoint was done again.
        for step in attempt.steps[: (end - attempt.first) // (batch_size * attempt.world)]:
            seen.update(step)
            assert max(seen.values()) <= -(-seen.total() // 300)
    assert seen.total() == trained.state.samples_seen
    assert len(seen) == 300
    assert min(seen.values()) >= seen.total() // 300


def broken_loop(stage: PretrainStage, _: object) -> None:
    """Weights that are no numbers, as the 18th batch of the first attempt is read (a step ahead)."""

    def before(run: worker.WorkerRun, first: int, batch: int) -> None:
        if (first, batch, run.rank) == (0, 17, 1):
            for weights in run.learner.task.parameters():
                weights.data.fill_(torch.nan)

    noting_loop(stage, before)


def test_whatever_ends_it_and_however_many_workers_go_on_every_record_is_read_once_an_epoch(
    session: Cluster, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "train_loop", broken_loop)
    folder = root / "elastic"

    def on(workers: int, **extra: Any) -> TrainedModel:
        values = {"epochs": 5, "batch_size": 10, "checkpoint_every": 0.35, "select": "best"}
        recipe = training_data.recipe(root, **values, workers=workers, max_failures=int(workers == 2))
        return train(recipe, folder, **extra)[0]

    with pytest.raises(TrainingStopped, match=r"step 1[67] .*worker 1, loss nan: planted/train"):
        on(2)
    assert len(Attempt.all_in(folder)) == 1, "what is bound to fail again was tried again"
    with pytest.raises(ray.train.WorkerGroupError):
        # At the third report the checkpoint of the first is surely written.
        on(1, callbacks=[KillWorker(folder, reports=3)])
    trained = on(3)
    attempts = Attempt.all_in(folder)
    assert [attempt.world for attempt in attempts] == [2, 1, 3]
    assert [world for world, _, _ in trained.state.history] == [2, 1, 3]
    check_every_record_once_an_epoch(folder, trained, batch_size=10)
    reports = trained.state.reports
    best = max(reports, key=lambda report: report.metrics[METRIC])
    assert trained.result.selection.value == best.metrics[METRIC]
    assert trained.state.best_checkpoint.startswith(f"{best.samples_seen:012d}-")
    ema = load_file(folder / "checkpoints" / trained.state.best_checkpoint / "ema.safetensors")
    weights = trained.model.state_dict()
    assert all(torch.equal(weights[name], ema[f"model.{name}"]) for name in weights)


def slow_loop(stage: PretrainStage, _: object) -> None:
    noting_loop(stage, lambda run, first, batch: time.sleep(0.2))


def test_training_begins_with_fewer_workers_and_takes_another_when_a_node_joins(
    session: Cluster, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Places besides CPUs, so that those who read have room as well."""
    folder, values = root / "growing", {"epochs": 5, "batch_size": 10, "checkpoint_every": 0.35}

    def scaling(training: Training, made: Any = driver.scaling) -> ray.train.ScalingConfig:
        soon = {"elastic_resize_monitor_interval_s": 1.0, "resources_per_worker": {"CPU": 1, "place": 1}}
        return replace(made(training), **soon)

    monkeypatch.setattr(driver, "scaling", scaling)
    monkeypatch.setattr(driver, "train_loop", slow_loop)
    session.add_node(num_cpus=3, resources={"place": 2})
    recipe = training_data.recipe(root, **values, workers=3, min_workers=2, max_failures=0)
    # Nodes are started by the main thread alone.
    with ThreadPoolExecutor() as pool:
        training = pool.submit(train, recipe, folder)
        while not training.done() and not any(len(attempt.steps) > 4 for attempt in Attempt.all_in(folder)):
            time.sleep(0.2)
        session.add_node(num_cpus=2, resources={"place": 1})
        trained, _ = training.result()
    assert [attempt.world for attempt in Attempt.all_in(folder)] == [2, 3]
    check_every_record_once_an_epoch(folder, trained, batch_size=10)


def test_without_a_better_validation_it_ends(session: Cluster, root: Path) -> None:
    """Nothing is learned: only the statistics of normalisation move."""
    recipe = training_data.recipe(root, epochs=20, learning_rate=1e-12, patience=2)
    trained, _ = train(recipe, root / "patience")
    assert trained.result.stopped_early
    found = [report.metrics[METRIC] for report in trained.state.reports]
    assert len(found) == 1 + found.index(max(found)) + 2 < 20
    again, _ = train(recipe, root / "patience")
    assert again.result == trained.result


def test_another_configuration_in_the_same_folder_is_refused(session: Cluster, root: Path) -> None:
    recipe = training_data.recipe(root)
    assert training_data.begin(PretrainStage.open(recipe)) is None
    with pytest.raises(config.ConfigError, match=r"learning_rate: 0\.01 -> 0\.02"):
        training_data.begin(PretrainStage.open(training_data.recipe(root, learning_rate=0.02)))
    with pytest.raises(config.ConfigError, match=r"learning_rate: 0\.01 -> 0\.02"):
        train(training_data.recipe(root, epochs=6, learning_rate=0.02), root / "undisturbed")
    (root / "undisturbed/state.json").unlink()
    # Checkpoints without the rest must refuse, too.
    with pytest.raises(config.ConfigError, match=r"learning_rate: 0\.01 -> 0\.02"):
        train(training_data.recipe(root, epochs=6, learning_rate=0.02), root / "undisturbed")


def test_what_cannot_be_trained_says_why(session: Cluster, root: Path, tmp_path: Path) -> None:
    with pytest.raises(config.ConfigError, match=r"jobs/shard\.py"):
        PretrainStage.open(training_data.recipe(tmp_path))
    with pytest.raises(config.ConfigError, match=r"lower training\.batch_size"):
        train(training_data.recipe(root, batch_size=500), root / "large")
    for more, lacking in (({"gpu": True}, "2 training workers need a GPU"), ({"workers": 50}, "50 .* a CPU")):
        with pytest.raises(config.ConfigError, match=rf"{lacking} each, and Ray has \d+: .*lower training"):
            train(training_data.recipe(root, **more), root / "crowded")
    made = training_data.recipe(tmp_path)
    training_data.write(made)
    with pytest.raises(config.ConfigError, match=r"lower training\.batch_size"):
        training_data.begin(PretrainStage.open(training_data.recipe(tmp_path, batch_size=500)))
    opened = PretrainStage.open(made)
    assert training_data.begin(opened) is None  # what failed has not claimed the folder
    manifest.publish(opened.folder, PRETRAIN, opened.request, training_data.result(), {})
    with pytest.raises(config.ConfigError, match=r"lower training\.batch_size"):
        training_data.begin(PretrainStage.open(training_data.recipe(tmp_path, batch_size=500)), new=True)
    assert training_data.begin(opened), "nothing is deleted by what is refused"
    Path(tmp_path, "tiny/labels/vocabulary.json").write_text("{}")
    with pytest.raises(config.ConfigError, match=r"vocabulary\.json is not what .*jobs/label\.py"):
        train(training_data.recipe(tmp_path), tmp_path / "unlabelled")


def test_two_workers_bring_ecgs_and_reports_together(session: Cluster, root: Path) -> None:
    """MERL from shards to weights: embedded reports reach the workers, who contrast all records of a step."""
    trained, _ = train(training_data.recipe(root, objective="merl", epochs=3), root / "merl")
    assert trained.model.head == "common_space"
    assert trained.result.selection.value > 0.7
    last = trained.state.reports[-1]
    assert last.metrics["cross_modal"] > 0
    assert last.metrics["loss"] < trained.state.reports[0].metrics["loss"]
    assert (root / "merl/reports.safetensors").exists()
