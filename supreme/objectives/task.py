"""The seam between the training step and an objective: inputs in, loss and its parts out.

Shapes: B records of a worker, T samples, Q entities, D text width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

from torch import Tensor, nn

from supreme.models.supreme import SupremeModel
from supreme.objectives.gather import all_gather_with_grad

PRESENT, UNCERTAIN = 1, 2


@dataclass(frozen=True)
class Inputs:
    """Inputs of a task in one step, on the device."""

    views: tuple[Tensor, ...]
    """ECGs in millivolts, each (B, 12, T) float32: `Task.views` of them, augmented independently."""
    codes: Tensor
    """(B, Q) int8: 0 not mentioned or absent, `PRESENT` or `UNCERTAIN`."""
    queries: Tensor
    """(Q, D): one phrasing of each entity, the same on all workers."""
    seed: int
    """Seed of this step, the same on all workers: for draws that must agree."""
    reports: Tensor | None = None
    """(B, D) embedded reports, where the task reads them."""
    unseen: Tensor | None = None
    """(U, D): names of held-out entities, scored in validation."""

    def split(self, count: int) -> list[Inputs]:
        """The inputs in micro-batches of ``count`` records."""
        if count >= len(self.codes):
            return [self]
        views = zip(*(view.split(count) for view in self.views), strict=True)
        codes = self.codes.split(count)
        reports = [None] * len(codes) if self.reports is None else self.reports.split(count)
        return [
            replace(self, views=v, codes=c, reports=r) for v, c, r in zip(views, codes, reports, strict=True)
        ]


class Task(nn.Module, ABC):
    """Model and objective: the module that is distributed, averaged (EMA) and checkpointed."""

    model: SupremeModel
    """The part that is released: ``(ecg_mv (B, 12, T), queries (Q, D)) -> logits (B, Q)``."""
    views: int = 1
    """Augmented copies of each ECG that the loss compares."""
    reads_reports: bool = False
    """Whether the loss reads embedded reports."""
    answers_queries: bool = True
    """False: the model is an encoder alone and answers no text queries."""
    zero_shot: bool = False
    """Whether held-out entities are unseen and can be asked for: not where the loss reads whole reports,
    which mention them, nor where the model answers only its vocabulary."""

    @abstractmethod
    def forward(self, inputs: Inputs) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss to minimise, and its detached parts by name."""

    @abstractmethod
    def validate(self, inputs: Inputs) -> tuple[Tensor, Tensor | None]:
        """On held-out records, in evaluation mode: the loss, and the logits (B, Q) of the queries.

        With unseen entities the logits are (B, Q + U); None where the model answers no queries. A loss that
        contrasts the records of a batch depends on the batch size: compare it within one recipe only.
        """

    def weight(self, inputs: Inputs) -> Tensor:
        """The weight of these records in the loss' mean over the batch, for gradient accumulation.

        Raises:
            TypeError: the loss compares the records of a batch, which cannot be split then.
        """
        raise TypeError(f"{type(self).__name__} compares the records of a batch, which cannot be split")

    def all_gather(self, rows: Tensor) -> Tensor:
        """Rows (B, ...) of the records of all workers in training; in validation, of this worker."""
        return all_gather_with_grad(rows) if self.training else rows
