"""One optimisation step: batch to device, a phrasing of each query, loss, guarded update, averaged weights.

Everything random is drawn from (seed, step, rank), not from what came before: a resumed run draws the same.
Shapes: B records, T samples, Q entities, D text width.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.profiler import record_function

from supreme.augment import augment
from supreme.config import Training
from supreme.ecg import MICROVOLTS_PER_MILLIVOLT
from supreme.objectives.task import PRESENT, UNCERTAIN, Inputs, Task
from supreme.training.data import Queries

_PHRASING, _AUGMENT, _DROPOUT, _TASK = 1, 2, 3, 4


class TrainingStopped(RuntimeError):
    """Training cannot go on, and would not after a restart: a loss or gradient that is not finite."""


@dataclass(frozen=True)
class Batch:
    """What one worker trains on in one step, on the CPU."""

    record_ids: Sequence[str]
    signal_uv: torch.Tensor
    """(B, 12, T) int16."""
    codes: torch.Tensor
    """(B, Q) int8: 0, `PRESENT` or `UNCERTAIN`."""
    reports: torch.Tensor | None = None
    """(B, D) embedded reports, where the task reads them."""


def seed_of(seed: int, *parts: int) -> int:
    """A 63-bit seed that differs for each combination of numbers."""
    return int(np.random.SeedSequence([seed, *parts]).generate_state(1, np.uint64)[0] >> 1)


def draw_phrasings(offsets: torch.Tensor, seed: int, step: int) -> torch.Tensor:
    """One phrasing of each entity at random, as rows of the embeddings (Q,); the same on every worker."""
    generator = torch.Generator().manual_seed(seed_of(seed, _PHRASING, step))
    counts = offsets[1:] - offsets[:-1]
    return offsets[:-1] + (torch.rand(len(counts), generator=generator) * counts).long()


def learning_rate(training: Training, samples: float, total_samples: float) -> float:
    """Linear warm-up from nothing, then a half cosine to nothing, over the records seen."""
    warmup = training.warmup_fraction * total_samples
    if samples < warmup:
        return training.learning_rate * samples / warmup
    progress = min(1.0, (samples - warmup) / max(total_samples - warmup, 1.0))
    return training.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


def make_optimizer(model: nn.Module, training: Training) -> torch.optim.AdamW:
    """AdamW without weight decay on biases, norms and other vectors."""
    decayed = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    plain = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": training.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=training.learning_rate, fused=True)


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
        wrap: Callable[[nn.Module], nn.Module] = lambda model: model,
    ) -> None:
        self.training, self.seed, self.rank, self.device = training, seed, rank, torch.device(device)
        self.rate_hz = rate_hz
        self.task = task.to(self.device)
        self.averaged = copy.deepcopy(self.task).eval().requires_grad_(False)
        self.optimizer = make_optimizer(self.task, training)
        self.embeddings = queries.whitened().to(self.device)
        self.offsets = queries.offsets
        self.wrapped = wrap(self.task)

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.training.precision == "bf16")

    def step(self, batch: Batch, step: int, samples: int, total_samples: float) -> dict[str, float]:
        """Train on one batch; ``samples`` (seen by all workers) is the place in the learning-rate schedule.

        Raises:
            TrainingStopped: on all workers and before the update, when a loss or gradient is not finite.
        """
        # Dropout draws from the global generator; this process belongs to this worker alone.
        torch.manual_seed(seed_of(self.seed, _DROPOUT, step, self.rank))
        with record_function("supreme: copy and augment"):
            inputs = self.inputs(batch, step)
        self.wrapped.train()
        with record_function("supreme: forward"), self.autocast():
            loss, parts = self.wrapped(inputs)
        with record_function("supreme: backward"):
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
        with record_function("supreme: check"):
            norm = nn.utils.clip_grad_norm_(self.task.parameters(), self.training.gradient_clip)
            value, norm_value, *part_values = torch.stack([loss.detach(), norm, *parts.values()]).tolist()
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

    def inputs(self, batch: Batch, step: int) -> Inputs:
        """What the task learns from at ``step``: augmented views, a phrasing of each query."""
        ecg_mv, codes = self.to_device(batch)
        generator = torch.Generator(self.device)
        generator.manual_seed(seed_of(self.seed, _AUGMENT, step, self.rank))
        asked = self.training.augment
        views = [augment(ecg_mv, generator, asked, self.rate_hz) for _ in range(self.task.views)]
        queries = self.embeddings[draw_phrasings(self.offsets, self.seed, step)]
        return Inputs(tuple(views), codes, queries, seed_of(self.seed, _TASK, step), self._reports(batch))

    def held_out(self, batch: Batch) -> Inputs:
        """What the task is validated on: entities by their names; augmented only where views are compared."""
        ecg_mv, codes = self.to_device(batch)
        views = [ecg_mv]
        if self.task.views > 1:
            generator, asked = torch.Generator(self.device), self.training.augment
            generator.manual_seed(seed_of(self.seed, _AUGMENT))
            views = [augment(ecg_mv, generator, asked, self.rate_hz) for _ in range(self.task.views)]
        return Inputs(tuple(views), codes, self.embeddings[self.offsets[:-1]], 0, self._reports(batch))

    def _reports(self, batch: Batch) -> torch.Tensor | None:
        return None if batch.reports is None else batch.reports.to(self.device, non_blocking=True)

    def to_device(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """ECG in millivolts (B, 12, T) float32 and label codes (B, Q) on the device."""
        signal, codes = batch.signal_uv, batch.codes
        if self.device.type == "cuda":
            signal, codes = signal.pin_memory(), codes.pin_memory()
        signal = signal.to(self.device, non_blocking=True)
        return signal.float().div_(MICROVOLTS_PER_MILLIVOLT), codes.to(self.device, non_blocking=True)

    @torch.no_grad()
    def share_statistics(self) -> None:
        """Give all workers rank 0's running statistics of normalisation: those that a checkpoint holds.

        Each worker updates them with its own records, so that a resumed run would validate differently.
        """
        if dist.is_initialized() and dist.get_world_size() > 1:
            for buffer in [*self.averaged.buffers(), *self.task.buffers()]:
                dist.broadcast(buffer, src=0)

    @torch.no_grad()
    def _average(self, step: int) -> None:
        # The decay grows with the steps, or the random initial weights would weigh on short runs.
        decay = min(self.training.ema_decay, (1 + step) / (10 + step))
        for mean, now in zip(_state(self.averaged), _state(self.task), strict=True):
            if mean.is_floating_point():
                mean.lerp_(now, 1 - decay)
            else:
                mean.copy_(now)

    def _require_finite(self, loss: float, norm: float, step: int, record_ids: Sequence[str]) -> None:
        finite = math.isfinite(loss) and math.isfinite(norm)
        found: list[Any] = [(self.rank, loss, list(record_ids))]
        if dist.is_initialized() and dist.get_world_size() > 1:
            flag = torch.tensor([0.0 if finite else 1.0], device=self.device)
            dist.all_reduce(flag)
            finite = flag.item() == 0
            if not finite:
                found = [None] * dist.get_world_size()
                dist.all_gather_object(found, (self.rank, loss, list(record_ids)))
        if finite:
            return
        # One bad loss makes the gradient bad on all workers: name the records of the worker where it began.
        guilty = [item for item in found if not math.isfinite(item[1])] or found
        names = "; ".join(f"worker {rank}, loss {value}: {', '.join(ids)}" for rank, value, ids in guilty)
        raise TrainingStopped(
            f"loss or gradient is not finite at step {step} (gradient norm {norm}), nothing was updated. "
            f"Lower training.learning_rate, set training.precision=fp32, or look at these records: {names}"
        )


def _state(model: nn.Module) -> list[torch.Tensor]:
    return [*model.parameters(), *model.buffers()]


def positive_rate(codes: np.ndarray) -> torch.Tensor:
    """Share of the records with each entity, uncertain ones left out, shape (Q,)."""
    certain = np.maximum((codes != UNCERTAIN).sum(0), 1)
    return torch.from_numpy(((codes == PRESENT).sum(0) / certain).astype(np.float32))
