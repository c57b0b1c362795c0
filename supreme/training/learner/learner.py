"""One optimisation step: batch to device, one phrasing of each query, loss, guarded update, EMA.

Everything random is drawn from (seed, step, rank) and not from what came before: a resumed run draws the
same. Shapes: B records, T samples, Q entities, D text width.
"""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.profiler import record_function

from supreme import log
from supreme.augment import augment
from supreme.config import ConfigError
from supreme.ecg import MICROVOLTS_PER_MILLIVOLT
from supreme.objectives.task import Inputs, Task
from supreme.settings.training import Training
from supreme.training.data.batch import Batch
from supreme.training.data.queries import Queries
from supreme.training.learner import autobatch, ema, memory, parallel
from supreme.training.learner.finite import one_or_nan, require_finite
from supreme.training.learner.random import AUGMENT, DROPOUT, TASK, draw_phrasings, seed_of
from supreme.training.learner.schedule import learning_rate, make_optimizer

logger = log.get("train")


class Learner:
    """Task, EMA weights and optimizer of one worker."""

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
        self.ema = ema.make_ema(self.task)
        self.embeddings = queries.whitened().to(self.device)
        self.offsets = queries.offsets
        unseen = queries.whitened_unseen()
        self.unseen = None if unseen is None else unseen.to(self.device)
        self.micro_batch = self._micro_batch()
        """ECGs per forward and backward pass; a resumed run sets it to what it had before."""
        if training.compile:
            parallel.compile_parts(self.task, self.device)
        self.wrapped: nn.Module = self.task
        if training.sharding == "fsdp":
            parallel.shard(self.task, self.device)
            parallel.shard(self.ema, self.device)
        else:
            self.wrapped = parallel.replicate(self.task, self.device)
        self.optimizer = make_optimizer(self.task, training)

    def autocast(self) -> torch.autocast:
        """Mixed precision where `training.precision` and the device have bf16."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def step(self, batch: Batch, step: int, samples: int, total_samples: float) -> dict[str, float]:
        """Train on one batch; ``samples`` (seen by all workers) is the place in the learning-rate schedule.

        Returns:
            ``loss``, ``gradient_norm``, ``learning_rate``, and the parts of the loss by name.

        Raises:
            TrainingStopped: on all workers and before the update, when a loss or gradient is not finite.
            ConfigError: out of memory; the message says what would fit.
        """
        try:
            return self._step(batch, step, samples, total_samples)
        except RuntimeError as error:
            if not memory.is_out_of_memory(error):
                raise
        # Only here, outside of the handler, is the memory of the failed step free again.
        self.optimizer.zero_grad(set_to_none=True)
        raise ConfigError(
            autobatch.out_of_memory_message(self.training, self._dry_run, self.micro_batch, self.device)
        )

    def _step(self, batch: Batch, step: int, samples: int, total_samples: float) -> dict[str, float]:
        # Dropout draws from the global generator, which is this worker's alone.
        torch.manual_seed(seed_of(self.seed, DROPOUT, step, self.rank))
        with record_function("supreme: copy and augment"):
            inputs = self.inputs(batch, step)
        loss, parts = self._gradients(inputs)
        with record_function("supreme: check"):
            norm = nn.utils.clip_grad_norm_(self.task.parameters(), self.training.gradient_clip)
            # One transfer from the device for all numbers.
            numbers = torch.stack([loss, parallel.full_tensor(norm), *parts.values()])
            loss_value, norm_value, *part_values = numbers.tolist()
            require_finite(loss_value, norm_value, step=step, rank=self.rank, record_ids=batch.record_ids)
        with record_function("supreme: optimizer"):
            rate = learning_rate(self.training, samples, total_samples)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            self.optimizer.step()
        with record_function("supreme: average"):
            ema.update(self.ema, self.task, step, self.training.ema_decay)
        metrics = {"loss": loss_value, "gradient_norm": norm_value, "learning_rate": rate}
        return metrics | dict(zip(parts, part_values, strict=True))

    def _gradients(self, inputs: Inputs) -> tuple[Tensor, dict[str, Tensor]]:
        """Forward and backward in micro-batches; gradient and loss are those of the whole batch.

        Except for dropout, which is drawn per micro-batch, and for batch normalisation, whose statistics are
        those of each micro-batch.
        """
        self.wrapped.train()
        self.optimizer.zero_grad(set_to_none=True)
        pieces = inputs.split(self.micro_batch)
        shares = [1.0]
        if len(pieces) > 1:
            weights = torch.stack([self.task.weight(piece) for piece in pieces])
            shares = list(weights / weights.sum().clamp(min=1))
        total: dict[str, Tensor] = {}
        for number, (piece, share) in enumerate(zip(pieces, shares, strict=True)):
            with parallel.no_sync(self.wrapped) if number + 1 < len(pieces) else nullcontext():
                with record_function("supreme: forward"), self.autocast():
                    loss, parts = self.wrapped(piece)
                with record_function("supreme: backward"):
                    (loss * share * one_or_nan(loss)).backward()
            for name, value in {"loss": loss.detach(), **parts}.items():
                total[name] = total.get(name, 0.0) + value * share
        return total.pop("loss"), total

    def _micro_batch(self) -> int:
        """The micro-batch size of the settings; ``auto`` is measured before the task is distributed."""
        size = self.training.micro_batch
        if size != "auto":
            return size or self.training.batch_size
        fitting = autobatch.find_micro_batch(self.task, self._dry_run, self.training.batch_size, self.device)
        if self.rank == 0:
            logger.info("training.micro_batch=auto: %d of %d ECGs at once", fitting, self.training.batch_size)
        return fitting

    def _dry_run(self, count: int) -> None:
        """Forward and backward of ``count`` records of zeros, without communication with other workers."""
        samples, width = self.task.model.samples, self.embeddings.shape[1]
        zeros = Batch.empty(count, samples, len(self.offsets) - 1, width)
        with self.autocast():
            loss, _ = self.task(self.inputs(zeros, step=0))
        weights = [weight for weight in self.task.parameters() if weight.requires_grad]
        torch.autograd.grad(loss, weights, allow_unused=True)

    def inputs(self, batch: Batch, step: int) -> Inputs:
        """Inputs of the task at ``step``: augmented views and one phrasing of each query, on the device."""
        sent = batch.to(self.device)
        views = self._views(_millivolts(sent), step, self.rank)
        queries = self.embeddings[draw_phrasings(self.offsets, self.seed, step)]
        return Inputs(views, sent.codes, queries, seed_of(self.seed, TASK, step), sent.reports)

    def validation_inputs(self, batch: Batch) -> Inputs:
        """Inputs in validation: entities by their names; augmented only where views are compared."""
        sent = batch.to(self.device)
        ecg_mv = _millivolts(sent)
        views = self._views(ecg_mv) if self.task.views > 1 else (ecg_mv,)
        return Inputs(views, sent.codes, self.embeddings[self.offsets[:-1]], 0, sent.reports, self.unseen)

    def _views(self, ecg_mv: Tensor, *purpose: int) -> tuple[Tensor, ...]:
        """As many augmented copies as the task compares."""
        generator = torch.Generator(self.device)
        generator.manual_seed(seed_of(self.seed, AUGMENT, *purpose))
        changes = self.training.augment
        return tuple(augment(ecg_mv, generator, changes, self.rate_hz) for _ in range(self.task.views))

    def sync_batchnorm_buffers(self) -> None:
        """Give all workers rank 0's buffers, and unshard the EMA until the next step or checkpoint."""
        parallel.sync_batchnorm_buffers(self.ema, self.task)
        parallel.unshard(self.ema)


def _millivolts(batch: Batch) -> Tensor:
    """(B, 12, T) float32."""
    return batch.signal_uv.float().div_(MICROVOLTS_PER_MILLIVOLT)


def _has_bf16(device: torch.device) -> bool:
    """Whether the device computes bf16 natively; older processors only emulate it, slower than fp32."""
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        capabilities = torch.cpu.get_capabilities()
        native = any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    if not native:
        logger.warning("%s has no native bf16: training.precision=bf16 falls back to fp32", device)
    return native
