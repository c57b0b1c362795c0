"""How a model is trained: what a recipe says in ``[training]``, and what goes together there."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from supreme.settings.augment import Augment
from supreme.settings.section import Section


class Training(Section):
    """Optimisation."""

    epochs: float = Field(default=8, gt=0)
    batch_size: int = Field(default=32, gt=0)
    """ECGs a worker and step."""
    micro_batch: Annotated[int, Field(ge=0)] | Literal["auto"] = 0
    """ECGs that are learned from at once, a divisor of batch_size: less memory, the same gradient (but that
    batch normalisation takes the statistics of so many). `auto`: as many as fit; 0: the whole batch."""
    sharding: Literal["none", "fsdp"] = "none"
    """`fsdp`: each worker keeps a part of weights and optimizer state, for models too large for one."""
    compile: bool = False
    """torch.compile of encoder and head: for GPUs; on a CPU it takes most of a minute and gains little."""
    workers: int = Field(default=2, ge=1)
    min_workers: int = Field(default=0, ge=0)
    """With fewer than `workers` at hand go on with at least these, and with more again when they come
    (each change goes back to the last checkpoint); 0: wait for all of them."""
    gpu: bool = False
    threads_per_worker: int = 1
    objective: Literal["supreme", "linear", "merl", "ked", "simclr"] = "supreme"
    """What is learned: the method, or a baseline on the same shards. `linear`: one output an entity. `merl`:
    ECG and report are brought together. `ked`: both, and queries that see each other. These two read whole
    reports, so that to them `labels.held_out` is not unseen. `simclr`: an encoder from augmented views alone,
    which answers no queries."""
    sampled_queries: int = Field(default=0, ge=0)
    """Entities that are asked for in a step, drawn anew each time (`supreme` and `ked`); 0: all."""
    loss: Literal["bce", "weighted_bce", "asymmetric", "focal"] = "bce"
    uncertain: Literal["mask", "soft"] = "mask"
    learning_rate: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    warmup_fraction: float = Field(default=0.05, ge=0, lt=1)
    gradient_clip: float = Field(default=1.0, gt=0)
    ema_decay: float = Field(default=0.998, ge=0, lt=1)
    """Decay of the averaged weights that are validated and released; 0 switches averaging off."""
    precision: Literal["fp32", "bf16"] = "bf16"
    augment: Augment = Augment()
    """Changes that leave labels true, off by default as in the paper: see `settings/augment.py`."""
    checkpoint_every: float = Field(default=1.0, gt=0)
    """Epochs, or a fraction of one, between checkpoint, validation and report."""
    select: Literal["last", "best"] = "last"
    """Which averaged weights are released: the last, or those with the best validation."""
    patience: int = Field(default=0, ge=0)
    """Stop after so many reports in a row without a better validation; 0: never."""
    max_failures: int = Field(default=2, ge=0)
    """How often a worker may die before the run does; nodes that say beforehand do not count."""

    @model_validator(mode="after")
    def _fewer_than_all(self) -> Training:
        if self.min_workers > self.workers:
            raise ValueError(f"min_workers={self.min_workers} is more than workers={self.workers}")
        return self

    @property
    def splits(self) -> bool:
        """Whether the loss is a mean over records, so that a batch can be learned from in pieces."""
        return self.objective in ("supreme", "linear")

    @model_validator(mode="after")
    def _in_equal_pieces(self) -> Training:
        if self.micro_batch and not self.splits:
            raise ValueError(
                f"{self.objective} compares the ECGs of a batch with each other, in pieces it would compare "
                "fewer: leave micro_batch=0 and lower batch_size"
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
