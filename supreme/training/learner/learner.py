"""One optimisation step: batch to device, a phrasing of each query, loss, guarded update, averaged weights.

Everything random is drawn from (seed, step, rank), not from what came before: a resumed run draws the same.
Shapes: B records, T samples, Q entities, D text width.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.profiler import record_function

from supreme import log
from supreme.augment import augment
from supreme.config import ConfigError
from supreme.ecg import MICROVOLTS_PER_MILLIVOLT
from supreme.objectives.task import PRESENT, UNCERTAIN, Inputs, Task
from supreme.settings.training import Training
from supreme.training.data.batch import Batch
from supreme.training.data.queries import Queries
from supreme.training.learner import memory, parallel
from supreme.training.learner.random import _AUGMENT, _DROPOUT, _TASK, draw_phrasings, seed_of
from supreme.training.learner.schedule import learning_rate, make_optimizer

_TOO_LARGE = "not even one ECG fits: take a smaller model, or training.sharding=fsdp on more workers"

logger = log.get("train")


class TrainingStopped(RuntimeError):
    """Training cannot go on, and would not after a restart: a loss or gradient that is not finite."""


class Learner:
    """Task, averaged weights and optimizer of one worker."""

    def __init__(
        self,
        task: Task,
        training: Training,
        queries: Queries,
        *,
        rate_hz: float,
        seed: int,
        rank: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.training, self.seed, self.rank, self.device = training, seed, rank, torch.device(device)
        self.rate_hz = rate_hz
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        self.bf16 = training.precision == "bf16" and _has_bf16(self.device)
        self.task = task.to(self.device)
        self.averaged = copy.deepcopy(self.task).eval().requires_grad_(False)
        self.embeddings = queries.whitened().to(self.device)
        self.offsets = queries.offsets
        unseen = queries.whitened_unseen()
        self.unseen = None if unseen is None else unseen.to(self.device)
        self.micro_batch = training.batch_size
        """ECGs that are learned from at once; may be set to what a resumed run had."""
        if training.micro_batch:
            self.micro_batch = self.fitting() if training.micro_batch == "auto" else training.micro_batch
        if training.compile:
            parallel.compile_parts(self.task, self.device)
        self.wrapped: nn.Module = self.task
        if training.sharding == "fsdp":
            parallel.shard(self.task, self.device)
            parallel.shard(self.averaged, self.device)
        else:
            self.wrapped = parallel.replicate(self.task, self.device)
        self.optimizer = make_optimizer(self.task, training)

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def step(self, batch: Batch, step: int, samples: int, total_samples: float) -> dict[str, float]:
        """Train on one batch; ``samples`` (seen by all workers) is the place in the learning-rate schedule.

        Raises:
            TrainingStopped: on all workers and before the update, when a loss or gradient is not finite.
            ConfigError: out of memory; the message says what would fit.
        """
        try:
            return self._step(batch, step, samples, total_samples)
        except RuntimeError as error:
            if not memory.is_out_of_memory(error):
                raise
        # Only here, outside of the handler, has what the failed step held been given back.
        raise ConfigError(self._out_of_memory())

    def _step(self, batch: Batch, step: int, samples: int, total_samples: float) -> dict[str, float]:
        # Dropout draws from the global generator; this process belongs to this worker alone.
        torch.manual_seed(seed_of(self.seed, _DROPOUT, step, self.rank))
        with record_function("supreme: copy and augment"):
            inputs = self.inputs(batch, step)
        loss, parts = self._gradients(inputs)
        with record_function("supreme: check"):
            norm = nn.utils.clip_grad_norm_(self.task.parameters(), self.training.gradient_clip)
            found = torch.stack([loss, parallel.whole(norm), *parts.values()])
            value, norm_value, *part_values = found.tolist()
            self._require_finite(value, norm_value, step, batch.record_ids)
        with record_function("supreme: optimizer"):
            rate = learning_rate(self.training, samples, total_samples)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            self.optimizer.step()
        with record_function("supreme: average"):
            self._average(step)
        told = dict(zip(parts, part_values, strict=True))
        return {"loss": value, "gradient_norm": norm_value, "learning_rate": rate} | told

    def _gradients(self, inputs: Inputs) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Forward and backward, in pieces if need be: the gradient and the loss are those of the whole batch.

        But for dropout, drawn piece by piece, and normalisation, whose statistics are those of each piece.
        """
        self.wrapped.train()
        self.optimizer.zero_grad(set_to_none=True)
        pieces = inputs.pieces(self.micro_batch)
        shares = [1.0]
        if len(pieces) > 1:
            weights = torch.stack([self.task.weight(piece) for piece in pieces])
            shares = list(weights / weights.sum().clamp(min=1))
        total: dict[str, torch.Tensor] = {}
        for number, (piece, share) in enumerate(zip(pieces, shares, strict=True)):
            with parallel.unshared(self.wrapped) if number + 1 < len(pieces) else nullcontext():
                with record_function("supreme: forward"), self.autocast():
                    loss, parts = self.wrapped(piece)
                with record_function("supreme: backward"):
                    (loss * share * _one_or_nan(loss)).backward()
            for name, value in {"loss": loss.detach(), **parts}.items():
                total[name] = total.get(name, 0.0) + value * share
        return total.pop("loss"), total

    def fitting(self) -> int:
        """The most ECGs of a batch that can be learned from at once, the same on all workers.

        Raises:
            ConfigError: not even one can.
        """
        with parallel.untouched(self.task):
            # Still to come: gradients, both moments of the optimizer, the buckets of the all-reduce.
            coming = 4 * sum(weight.nbytes for weight in self.task.parameters())
            found = memory.largest_fitting(self._try, self.training.batch_size, coming, self.device)
        if parallel.world_size() > 1:
            least = torch.tensor(found, device=self.device)
            dist.all_reduce(least, dist.ReduceOp.MIN)
            found = int(least)
        if not found:
            raise ConfigError(_TOO_LARGE)
        if self.rank == 0:
            logger.info("training.micro_batch=auto: %d of %d ECGs at once", found, self.training.batch_size)
        return found

    def _out_of_memory(self) -> str:
        self.optimizer.zero_grad(set_to_none=True)
        said = f"out of memory with {self.micro_batch} ECGs at once"
        # What is done with the records of other workers cannot be tried by this one alone.
        if self.training.sharding != "none" or (not self.training.splits and parallel.world_size() > 1):
            return f"{said}: lower training.batch_size"
        try:
            found = memory.largest_fitting(self._try, self.micro_batch, 0, self.device)
        except RuntimeError:
            found = 0
        # It is an estimate, and this many were tried.
        found = max(n for n in [0, *memory.divisors(self.micro_batch)] if n <= found and n < self.micro_batch)
        if not found:
            return f"{said}: {_TOO_LARGE}"
        knob = "micro_batch" if self.training.splits else "batch_size"
        return f"{said}; {found} would fit: set training.{knob}={found}"

    def _try(self, count: int) -> None:
        """Forward and backward of so many records, without a word to other workers."""
        samples, width = self.task.model.samples, self.embeddings.shape[1]
        nothing = Batch.empty(count, samples, len(self.offsets) - 1, width)
        with self.autocast():
            loss, _ = self.task(self.inputs(nothing, step=0))
        weights = [weight for weight in self.task.parameters() if weight.requires_grad]
        torch.autograd.grad(loss, weights, allow_unused=True)

    def inputs(self, batch: Batch, step: int) -> Inputs:
        """What the task learns from at ``step``: augmented views, a phrasing of each query."""
        sent = batch.to(self.device)
        views = self._views(_millivolts(sent), step, self.rank)
        queries = self.embeddings[draw_phrasings(self.offsets, self.seed, step)]
        return Inputs(views, sent.codes, queries, seed_of(self.seed, _TASK, step), sent.reports)

    def held_out(self, batch: Batch) -> Inputs:
        """What the task is validated on: entities by their names; augmented only where views are compared."""
        sent = batch.to(self.device)
        ecg_mv = _millivolts(sent)
        views = self._views(ecg_mv) if self.task.views > 1 else (ecg_mv,)
        return Inputs(views, sent.codes, self.embeddings[self.offsets[:-1]], 0, sent.reports, self.unseen)

    def _views(self, ecg_mv: torch.Tensor, *drawn_for: int) -> tuple[torch.Tensor, ...]:
        """As many augmented copies as the task asks for."""
        generator, asked = torch.Generator(self.device), self.training.augment
        generator.manual_seed(seed_of(self.seed, _AUGMENT, *drawn_for))
        return tuple(augment(ecg_mv, generator, asked, self.rate_hz) for _ in range(self.task.views))

    @torch.no_grad()
    def share_statistics(self) -> None:
        """Give all workers rank 0's running statistics of normalisation: those that a checkpoint holds.

        Each worker updates them with its own records, so that a resumed run would validate differently. A
        sharded task's averaged weights are whole from here to the next step or checkpoint.
        """
        if parallel.world_size() > 1:
            for buffer in [*self.averaged.buffers(), *self.task.buffers()]:
                dist.broadcast(buffer, src=0)
        parallel.make_whole(self.averaged)

    @torch.no_grad()
    def _average(self, step: int) -> None:
        # The decay grows with the steps, or the random initial weights would weigh on short runs.
        decay = min(self.training.ema_decay, (1 + step) / (10 + step))
        parallel.cut_again(self.averaged)
        pairs = list(zip(_state(self.averaged), _state(self.task), strict=True))
        floats = [(mean, now) for mean, now in pairs if mean.is_floating_point()]
        torch._foreach_lerp_([mean for mean, _ in floats], [now for _, now in floats], 1 - decay)
        for mean, now in pairs:
            if not mean.is_floating_point():
                mean.copy_(now)

    def _require_finite(self, loss: float, norm: float, step: int, record_ids: Sequence[str]) -> None:
        # The gradient is that of all workers, and a loss that is not finite has made it so.
        if math.isfinite(norm):
            return
        found: list[Any] = [(self.rank, loss, list(record_ids))]
        if parallel.world_size() > 1:
            found = [None] * dist.get_world_size()
            dist.all_gather_object(found, (self.rank, loss, list(record_ids)))
        # One bad loss makes the gradient bad on all workers: name the records of the worker where it began.
        guilty = [item for item in found if not math.isfinite(item[1])] or found
        names = "; ".join(f"worker {rank}, loss {value}: {', '.join(ids)}" for rank, value, ids in guilty)
        raise TrainingStopped(
            f"loss or gradient is not finite at step {step} (gradient norm {norm}), nothing was updated. "
            f"Lower training.learning_rate, set training.precision=fp32, or look at these records: {names}"
        )


def _one_or_nan(loss: torch.Tensor) -> torch.Tensor:
    """NaN where a loss is not finite: the gradient tells all workers, who need not ask each other."""
    return torch.where(loss.detach().isfinite(), 1.0, math.nan)


def _millivolts(batch: Batch) -> torch.Tensor:
    """(B, 12, T) float32."""
    return batch.signal_uv.float().div_(MICROVOLTS_PER_MILLIVOLT)


def _state(model: nn.Module) -> list[torch.Tensor]:
    """This worker's part of weights and buffers."""
    return [parallel.local(tensor) for tensor in [*model.parameters(), *model.buffers()]]


def _has_bf16(device: torch.device) -> bool:
    """Whether bf16 is faster here than fp32, which older processors only imitate."""
    if device.type == "cuda":
        found = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        abilities = torch.cpu.get_capabilities()
        found = any(abilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    if not found:
        logger.warning("%s has no bf16 of its own: training.precision=bf16 is taken as fp32", device)
    return found


def positive_rate(codes: np.ndarray) -> torch.Tensor:
    """Share of the records with each entity, uncertain ones left out, shape (Q,)."""
    certain = np.maximum((codes != UNCERTAIN).sum(0), 1)
    return torch.from_numpy(((codes == PRESENT).sum(0) / certain).astype(np.float32))
