"""The training loop of one Ray Train worker: batch, step, hooks, validation, report."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import ray.train
import torch
import torch.distributed as dist

from supreme import log
from supreme.read_ahead import buffered
from supreme.settings.training import Training
from supreme.training.data.batch import Batch, to_batch
from supreme.training.data.corpus import Corpus
from supreme.training.data.labels import LabelMatrix
from supreme.training.data.order import Order, Stretch
from supreme.training.data.prefetch import prefetch
from supreme.training.data.ray_stream import stream
from supreme.training.data.reports import Reports
from supreme.training.learner.learner import Learner
from supreme.training.learner.validation import LOSS, METRIC, UNSEEN_METRIC, validate
from supreme.training.run.checkpoint import State
from supreme.training.run.checkpoint_writer import Checkpointing
from supreme.training.run.history import Report
from supreme.training.run.hooks import Hook, StepEvent
from supreme.training.run.meter import Meter, ProgressLine, without_loss
from supreme.training.run.metrics_exporter import MetricsExporter
from supreme.training.run.preemption import PreemptionWatcher

#: Batches read ahead of the step, so that the next execution starts before the last one is used up.
BATCHES_AHEAD = 16
#: Points of the loss curve between two reports.
CURVE_POINTS = 10

logger = log.get("train")


@dataclass
class WorkerRun:
    """One worker's part of a run."""

    training: Training
    learner: Learner
    corpus: Corpus
    validation: Corpus
    labels: LabelMatrix
    order: Order
    rank: int
    world: int
    folder: str
    """Of the run, with its checkpoints."""
    reports: Reports | None = None
    """Where the objective reads them."""

    @property
    def total_samples(self) -> float:
        """Records of all epochs: the length of the learning-rate schedule."""
        return self.training.epochs * self.order.records

    def train(self, state: State) -> None:
        """Train from ``state`` to the end; a checkpoint at every report and where a hook asks for one."""
        order = self.order
        first = reached = (state.samples_seen - order.first_sample) // order.global_batch
        last = order.steps_until(self.total_samples)
        # The count of steps, and with it every random draw, goes on when the number of workers changes.
        earlier_steps = state.steps - first
        batches = self.batches(first, last)
        meter = self._meter(state, last)
        hooks: list[Hook] = [
            meter,
            PreemptionWatcher(self._mean, self.rank),
            MetricsExporter(order.batch_size),
            Checkpointing(self.folder, self.learner, state.best_checkpoint),
        ]
        start_s = time.monotonic() - state.seconds
        for step in range(first, first if state.ended else last):
            event = self._step(batches, step, earlier_steps + step)
            # Every hook is called: some communicate with other workers.
            requests = [hook.on_step(event) for hook in hooks]
            is_report = step + 1 == last or self._is_report_due(event)
            if not (is_report or any(requests)):
                continue
            stretch = Stretch(self.world, order.batch_size, step + 1 - reached)
            state, reached = state.advanced(stretch, order.records), step + 1
            self.learner.sync_batchnorm_buffers()
            if is_report:
                report = self._report(state, meter, event)
                ray.train.report(report.line())
                state = state.reported(report, patience=self.training.patience, last=reached == last)
            else:
                state = state.model_copy(update={"curve": meter.curve})
            state = state.model_copy(update={"seconds": time.monotonic() - start_s})
            for hook in hooks:
                hook.on_report(state, is_report=is_report)
            if state.ended:
                break
        self._log_end(state)
        for hook in hooks:
            hook.on_end()

    def batches(self, first: int, last: int) -> Iterator[Batch]:
        """This worker's batches of the steps from ``first`` to before ``last``, read ahead, on the device."""
        tables = stream(self.corpus, self.order, first, last, self.rank, _reading_threads(self.world))
        return prefetch(map(self._batch, buffered(tables, BATCHES_AHEAD)), self.learner.device)

    def next(self, batches: Iterator[Batch]) -> tuple[Batch, float]:
        """The next batch, and the seconds that it was waited for."""
        start_s = time.monotonic()
        batch = next(batches)
        return batch, time.monotonic() - start_s

    def _batch(self, table: pa.Table) -> Batch:
        assert len(table) == self.order.batch_size
        return to_batch(table, self.corpus.samples, self.labels, self.reports)

    def _step(self, batches: Iterator[Batch], step: int, learner_step: int) -> StepEvent:
        """One step of the order; ``learner_step`` counts the steps of the whole run."""
        order = self.order
        samples = order.first_sample + step * order.global_batch
        batch, loader_s = self.next(batches)
        start_s = time.monotonic()
        # The learning rate is that of the middle of the batch.
        metrics = self.learner.step(
            batch, learner_step, samples + order.global_batch // 2, self.total_samples
        )
        return StepEvent(step, samples + order.global_batch, metrics, loader_s, time.monotonic() - start_s)

    def _is_report_due(self, event: StepEvent) -> bool:
        every = self.training.checkpoint_every * self.order.records
        return event.samples_seen // every > (event.samples_seen - self.order.global_batch) // every

    def _meter(self, state: State, total_steps: int) -> Meter:
        order = self.order
        steps_per_report = self.training.checkpoint_every * order.records / order.global_batch
        progress = ProgressLine(total_steps, order.records, order.global_batch) if self.rank == 0 else None
        return Meter(
            max(1, round(steps_per_report / CURVE_POINTS)),
            order.global_batch,
            self._mean,
            progress,
            list(state.curve),
        )

    def _report(self, state: State, meter: Meter, event: StepEvent) -> Report:
        """Validate and summarise; a barrier for all workers."""
        metrics = {
            "epoch": round(state.epoch, 6),
            **meter.summary(),
            **without_loss(event.metrics),
            **validate(self.learner, self.validation, self.labels, self.rank, self.world, self.reports),
        }
        if self.rank == 0:
            _log_report(metrics)
        return Report(state.samples_seen, round(time.time(), 3), metrics, tuple(meter.curve))

    def _log_end(self, state: State) -> None:
        if self.rank == 0 and state.ended == "patience":
            logger.info("no better validation in %d reports: training ends here", self.training.patience)

    def _mean(self, value: float) -> float:
        """The mean of a number over all workers."""
        if self.world == 1:
            return value
        tensor = torch.tensor([value], dtype=torch.float64, device=self.learner.device)
        dist.all_reduce(tensor)
        return tensor.item() / self.world


def _log_report(metrics: dict[str, float]) -> None:
    names = ((LOSS, "validation loss"), (METRIC, "macro AUROC"), (UNSEEN_METRIC, "unseen"))
    logger.info(
        "epoch %.2f loss %.4f %s: %d ms a step, %.0f ECGs/s, loader wait %.1f %%",
        metrics["epoch"],
        metrics["loss"],
        ", ".join(f"{name} {metrics[key]:.4f}" for key, name in names if key in metrics),
        metrics["step_ms"],
        metrics["records_per_s"],
        100 * metrics["loader_wait_fraction"],
    )


def _reading_threads(world: int) -> int:
    """Threads that read: the idle cores of this node, within what the workers leave of the cluster."""
    idle = (os.cpu_count() or 1) // ray.train.get_context().get_local_world_size() - torch.get_num_threads()
    free = (ray.cluster_resources().get("CPU", 1.0) - world) // world
    return int(max(1, min(4, idle, free)))
