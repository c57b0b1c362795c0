"""Training: the section ``[training]``, and which of its values exclude each other."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from supreme.settings.augment import Augment
from supreme.settings.section import Count, Epochs, Section, at_most
from supreme.settings.uris import ModelUri

Objective = Literal["supreme", "linear", "merl", "ked", "simclr"]
Loss = Literal["bce", "weighted_bce", "asymmetric", "focal"]
Workers = Annotated[int, at_most(10_000, "each is a process with its own GPU or core")]
MAX_REPORTS = 100_000
"""Each report validates, writes a checkpoint and a line of the history."""


class Training(Section):
    """Optimisation, checkpoints and workers."""

    start_from: ModelUri = ""
    """Go on from the weights of `models:/name@alias`, `models:/name/version` or the folder of a bundle, with
    the same architecture, input and text encoder; empty: from nothing."""
    epochs: Epochs = Field(default=8, gt=0)
    """Passes over the training records; may be a fraction."""
    fraction: float = Field(default=1.0, gt=0, le=1)
    """Share of the training records that is trained on, in whole row groups drawn by the seed; a smaller
    share is part of a larger one."""
    batch_size: Annotated[int, at_most(65_536, "a worker holds a batch in memory")] = Field(default=32, gt=0)
    """ECGs per worker and step."""
    micro_batch: Annotated[int, Field(ge=0)] | Literal["auto"] = 0
    """Micro-batch size for gradient accumulation, a divisor of batch_size: less memory and the same gradient,
    except that batch normalisation sees smaller batches. `auto`: the largest that fits; 0: none."""
    sharding: Literal["none", "fsdp"] = "none"
    """`fsdp`: shard weights and optimizer state over the workers, for models that do not fit on one."""
    compile: bool = False
    """Use torch.compile on encoder and head: for GPUs; on a CPU it takes a minute and gains little."""
    workers: Workers = Field(default=2, ge=1)
    """Ray Train workers, one process each."""
    min_workers: Workers = Field(default=0, ge=0)
    """Train with as few as this many workers while fewer than `workers` are available, and grow again when
    more join; each change returns to the last checkpoint. 0: wait for all."""
    gpu: bool = False
    """One GPU for each worker."""
    gpu_share: float = Field(default=1.0, gt=0, le=1)
    """Share of a GPU that a run of one worker takes: with 0.5 two trials of a sweep train on one GPU, which
    must hold both."""
    threads_per_worker: Annotated[int, at_most(1024, "no processor has more cores")] = Field(default=1, ge=1)
    """CPU threads of a worker."""
    objective: Objective = "supreme"
    """`supreme`: the method. Baselines on the same shards: `linear` has one output per entity; `merl` aligns
    ECG and report; `ked` does both and lets queries attend to each other; `simclr` trains an encoder on
    augmented views alone, which answers no queries. merl and ked read whole reports, so entities of
    `labels.held_out` are not unseen to them."""
    sampled_queries: Count = Field(default=0, ge=0)
    """Entities asked in one step, drawn anew each time (`supreme` and `ked`); 0: all."""
    loss: Loss = "bce"
    """Loss of an answer."""
    uncertain: Literal["mask", "soft"] = "mask"
    """Uncertain assertions: left out of the loss, or a target of 0.5."""
    learning_rate: Annotated[float, at_most(100, "training would diverge")] = Field(default=2e-3, gt=0)
    """Peak learning rate of AdamW, after warm-up and before cosine decay."""
    weight_decay: Annotated[float, at_most(100, "weights would vanish")] = Field(default=0.01, ge=0)
    """Weight decay of AdamW."""
    warmup_fraction: float = Field(default=0.05, ge=0, lt=1)
    """Share of the steps with a rising learning rate."""
    gradient_clip: Annotated[float, at_most(1e9, "nothing would be clipped")] = Field(default=1.0, gt=0)
    """Largest norm of the gradient."""
    ema_decay: float = Field(default=0.998, ge=0, lt=1)
    """Decay of the EMA weights, which are validated and released; 0: the weights themselves."""
    precision: Literal["fp32", "bf16"] = "bf16"
    """Floating-point format of the forward pass."""
    augment: Augment = Augment()
    """Augmentations that leave labels true; off by default, as in the paper."""
    checkpoint_every: Epochs = Field(default=1.0, gt=0)
    """Epochs between reports, each with validation and checkpoint; may be a fraction."""
    select: Literal["last", "best"] = "last"
    """Which weights are released: the last, or those with the best validation."""
    patience: Count = Field(default=0, ge=0)
    """Stop after so many reports without a better validation; 0: never."""
    max_failures: Annotated[int, at_most(1_000_000, "0 to some are useful")] = Field(default=2, ge=0)
    """How often a worker may die before the run fails; announced preemptions do not count."""

    @model_validator(mode="after")
    def _fewer_than_all(self) -> Training:
        if self.min_workers > self.workers:
            raise ValueError(f"min_workers={self.min_workers} is more than workers={self.workers}")
        if self.gpu_share < 1 and self.workers > 1:
            raise ValueError(
                f"gpu_share={self.gpu_share:g} is for a run of one worker: NCCL takes one of a run a GPU"
            )
        return self

    @model_validator(mode="after")
    def _reports_can_be_counted(self) -> Training:
        if self.epochs > MAX_REPORTS * self.checkpoint_every:
            raise ValueError(
                f"epochs={self.epochs:g} with checkpoint_every={self.checkpoint_every:g} are more than "
                f"{MAX_REPORTS:,} reports: raise checkpoint_every"
            )
        return self

    @property
    def splits(self) -> bool:
        """Whether the loss is a mean over records, so that gradients of micro-batches add up."""
        return self.objective in ("supreme", "linear")

    @model_validator(mode="after")
    def _in_equal_pieces(self) -> Training:
        if self.micro_batch and not self.splits:
            raise ValueError(
                f"{self.objective} compares the ECGs of a batch with each other, and micro-batches would "
                "hold fewer: leave micro_batch=0 and lower batch_size"
            )
        if self.micro_batch == "auto":
            if self.sharding != "none":
                raise ValueError("micro_batch=auto is tried on each worker alone: with fsdp, give a number")
        elif self.micro_batch and self.batch_size % self.micro_batch:
            raise ValueError(f"micro_batch={self.micro_batch} does not divide batch_size={self.batch_size}")
        return self

    @model_validator(mode="after")
    def _fits_the_objective(self) -> Training:
        if self.objective == "simclr" and not self.augment.changes:
            raise ValueError("simclr contrasts two augmented views, which are equal without training.augment")
        if self.sampled_queries and self.objective not in ("supreme", "ked"):
            raise ValueError(f"sampled_queries is for supreme and ked, not for {self.objective}")
        return self
