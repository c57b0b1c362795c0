"""The training loop that every Ray Train worker runs: stream, step, validate, checkpoint, report."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import ray.train
import ray.train.torch
import torch
import torch.distributed as dist
from ray.train.collective import broadcast_from_rank_zero

from supreme import log, storage
from supreme.config import ConfigError, Recipe
from supreme.objectives.make import make_task
from supreme.read_ahead import buffered
from supreme.reports.label_table import read_unseen, read_vocabulary
from supreme.training.data.batch import Batch
from supreme.training.data.corpus import Corpus
from supreme.training.data.labels import Labels
from supreme.training.data.order import Order, replay
from supreme.training.data.prefetch import prefetched
from supreme.training.data.queries import Queries
from supreme.training.data.ray_stream import stream
from supreme.training.data.reports import Reports
from supreme.training.learner import memory, parallel
from supreme.training.learner.learner import Learner, positive_rate
from supreme.training.learner.validation import METRIC, UNSEEN_METRIC, to_batch, validate
from supreme.training.run import checkpoint as checkpoints
from supreme.training.run.checkpoint_writer import Saver, latest
from supreme.training.run.failures import quieten_worker
from supreme.training.run.meter import Meter, Progress
from supreme.training.run.preemption import Watch

#: Batches read ahead of the step, so that the next execution starts before the last one is used up.
BATCHES_AHEAD = 16
#: Points of the loss curve between two checkpoints.
CURVE_POINTS = 10

#: Ray calls this logger by its file; it prints every report with all its values, on every worker.
_RAY_REPORT_LOGGER = str(sys.modules["ray.train.v2._internal.execution.context"].__file__)

logger = log.get("train")


def train_loop(config: dict[str, Any]) -> None:
    """Train from the latest checkpoint, or from nothing, to the end; ``config`` as in `open_run`."""
    run, state = open_run(config)
    run.train(state)


def open_run(config: dict[str, Any]) -> tuple[Run, checkpoints.State]:
    """This worker's run, and the state of the latest checkpoint that it goes on from.

    ``config``: ``recipe`` (values), ``request`` (what the checkpoint belongs to), ``shards`` (folders),
    ``labels`` (folder), ``queries`` and ``reports`` (files), ``folder`` (of the run, where its checkpoints
    are). All paths are absolute.
    """
    log.configure()
    for name in ("ray.data", "ray.train", _RAY_REPORT_LOGGER):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)
    quieten_worker()
    recipe = Recipe.model_validate(config["recipe"])
    torch.set_num_threads(recipe.training.threads_per_worker)
    memory.keep_freed()
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    vocabulary = read_vocabulary(config["labels"])
    queries = Queries.read(config["queries"])
    unseen = () if queries.unseen is None else read_unseen(config["labels"]).ids
    labels = Labels.open(config["labels"], vocabulary.ids, unseen)
    corpus = Corpus.open(config["shards"], "train")
    held_out = Corpus.open(config["shards"], "validation")
    learner = _make_learner(recipe, corpus, labels, queries, rank, world)
    state = checkpoints.State.fresh(config["request"], recipe.seed)
    # One worker looks: all must go on from the same.
    place = broadcast_from_rank_zero(latest(config["folder"]) if rank == 0 else None)
    if place:
        state = checkpoints.read_state(storage.join(place, checkpoints.STATE), config["request"])
        checkpoints.load_learner(place, state, learner)
        if recipe.training.micro_batch == "auto":
            learner.micro_batch = state.micro_batch or learner.micro_batch
    state = state.model_copy(update={"micro_batch": learner.micro_batch})
    order = replay(corpus.sizes, recipe.seed, state.history, world, recipe.training.batch_size)
    reports = Reports.read(config["reports"]) if learner.task.reads_reports else None
    return Run(
        recipe, learner, corpus, held_out, labels, order, rank, world, config["folder"], reports
    ), state


def _make_learner(
    recipe: Recipe, corpus: Corpus, labels: Labels, queries: Queries, rank: int, world: int
) -> Learner:
    if len(queries.offsets) - 1 != labels.codes.shape[1]:
        raise ConfigError(
            f"{len(queries.offsets) - 1} queries for {labels.codes.shape[1]} entities: start with --new"
        )
    torch.manual_seed(recipe.seed)
    rate = positive_rate(labels.codes)
    learner = Learner(
        make_task(recipe, queries.known(), corpus.samples, rate),
        recipe.training,
        queries,
        rate_hz=recipe.shards.rate_hz,
        seed=recipe.seed,
        rank=rank,
        device=ray.train.torch.get_device(),
    )
    if world > 1 and recipe.training.sharding == "none":
        _settle_buckets(learner, corpus.samples, labels.codes.shape[1], queries.embeddings.shape[1])
    return learner


def _settle_buckets(learner: Learner, samples: int, entities: int, text_dim: int) -> None:
    """Two passes on zeros, weights unchanged.

    DDP lays its gradient buckets out anew after the first step, and with more than two workers the layout
    decides the order of the sums: without this, a resumed run would differ in the last bit.
    """
    # What is compiled is compiled for one size.
    count = learner.micro_batch if learner.training.compile else 2
    nothing = Batch.empty(count, samples, entities, text_dim)
    learner.wrapped.train()
    with parallel.untouched(learner.task):
        for _ in range(2):
            learner.wrapped(learner.inputs(nothing, step=0))[0].backward()


def _reading_threads(world: int) -> int:
    """Threads that read: the idle cores of this node, within what the workers leave of the cluster."""
    idle = (os.cpu_count() or 1) // ray.train.get_context().get_local_world_size() - torch.get_num_threads()
    left = (ray.cluster_resources().get("CPU", 1.0) - world) // world
    return int(max(1, min(4, idle, left)))


@dataclass
class Run:
    """One worker's run from a state to the end."""

    recipe: Recipe
    learner: Learner
    corpus: Corpus
    held_out: Corpus
    labels: Labels
    order: Order
    rank: int
    world: int
    folder: str
    """Of the run, where its checkpoints are."""
    reports: Reports | None = None
    """Where the objective reads them."""

    def train(self, state: checkpoints.State) -> None:
        """Train from ``state`` on; a checkpoint at every report and at a notice of preemption."""
        training, order = self.recipe.training, self.order
        total = training.epochs * order.records
        first = begun = (state.samples_seen - order.first_sample) // order.global_batch
        last = order.steps_until(total)
        every = training.checkpoint_every * order.records
        curve_every = max(1, round(every / order.global_batch / CURVE_POINTS))
        batches = self.batches(first, last)
        progress = Progress(last, order.records, order.global_batch)
        meter, watch, saver = Meter(curve=list(state.curve)), Watch(self._mean), Saver(self.folder)
        since = time.monotonic() - state.seconds
        for step in range(first, last if not state.ended else first):
            samples = order.first_sample + step * order.global_batch
            batch, waited = self.next(batches)
            began = time.monotonic()
            # The count of steps, and with it every random draw, goes on when the number of workers changes.
            found = self.learner.step(
                batch, state.steps + step - begun, samples + order.global_batch // 2, total
            )
            meter.add(found, waited, time.monotonic() - began)
            after = samples + order.global_batch
            if (step + 1) % curve_every == 0:
                meter.curve.append(
                    {
                        "samples_seen": after,
                        "unix_time_s": round(time.time(), 3),
                        "step_loss": self._mean(found["loss"]),
                        **_rest(found),
                    }
                )
            if self.rank == 0:
                progress.tell(order.steps_until(after), after, found, meter)
            is_due = step + 1 == last or after // every > samples // every
            is_noticed = watch.hears()
            if not is_due and not is_noticed:
                continue
            state = state.advanced(self.world, order.batch_size, step + 1 - begun, order.records)
            begun = step + 1
            if is_due:
                state, meter = self._report(state, meter, found, is_last=begun == last), Meter()
            else:
                self.learner.share_statistics()
                state = state.model_copy(update={"curve": meter.curve})
            state = state.model_copy(update={"seconds": time.monotonic() - since})
            self._save(saver, state, is_noticed)
            if state.ended:
                break
        saver.wait()

    def batches(self, first: int, last: int) -> Iterator[Batch]:
        """This worker's batches of the steps from ``first`` to before ``last``, read ahead."""
        read = stream(self.corpus, self.order, first, last, self.rank, _reading_threads(self.world))
        return prefetched(map(self._batch, buffered(read, BATCHES_AHEAD)), self.learner.device)

    def _batch(self, table: pa.Table) -> Batch:
        assert len(table) == self.order.batch_size
        return to_batch(table, self.corpus.samples, self.labels, self.reports)

    def next(self, batches: Iterator[Batch]) -> tuple[Batch, float]:
        """The next batch, and the seconds that it was waited for."""
        began = time.monotonic()
        batch = next(batches)
        return batch, time.monotonic() - began

    def _report(
        self, state: checkpoints.State, meter: Meter, found: dict[str, float], *, is_last: bool
    ) -> checkpoints.State:
        """Validate and report; a barrier for all workers."""
        speed = meter.speed(self.order.global_batch)
        self.learner.share_statistics()
        metrics: dict[str, Any] = {
            "samples_seen": state.samples_seen,
            "unix_time_s": round(time.time(), 3),
            "epoch": round(state.epoch, 6),
            "loss": self._mean(meter.mean("loss")),
            **speed,
            **_rest(found),
            **validate(self.learner, self.held_out, self.labels, self.rank, self.world, self.reports),
        }
        state = state.reported(metrics, meter.curve, patience=self.recipe.training.patience, last=is_last)
        ray.train.report(state.reports[-1])
        if self.rank == 0:
            scores = ((METRIC, "macro AUROC"), (UNSEEN_METRIC, "unseen"))
            told = [f"{name} {metrics[key]:.4f}" for key, name in scores if key in metrics]
            logger.info(
                "epoch %.2f loss %.4f %s: %d ms a step, %.0f ECGs/s, loader wait %.1f %%",
                state.epoch,
                metrics["loss"],
                ", ".join([f"validation loss {metrics['validation_loss']:.4f}", *told]),
                metrics["step_ms"],
                metrics["records_per_s"],
                100 * metrics["loader_wait_fraction"],
            )
            if state.ended == "patience":
                logger.info("no better validation in %d reports: it ends here", self.recipe.training.patience)
        return state

    def _save(self, saver: Saver, state: checkpoints.State, is_noticed: bool) -> None:
        """Begin a checkpoint, which rank 0 writes while training goes on."""
        snapshot = checkpoints.Snapshot.of(self.learner)
        if self.rank:
            return
        if is_noticed:
            logger.warning("a node will be taken away: checkpoint at epoch %.2f", state.epoch)
        saver.save(snapshot, state)

    def _mean(self, value: float) -> float:
        if self.world == 1:
            return value
        tensor = torch.tensor([value], dtype=torch.float64, device=self.learner.device)
        dist.all_reduce(tensor)
        return tensor.item() / self.world


def _rest(found: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in found.items() if name != "loss"}
