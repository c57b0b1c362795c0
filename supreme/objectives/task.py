"""The seam between the training step and what is learned: batch in, loss and report out.

Shapes: B records of a worker, T samples, Q entities, D text width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

from torch import Tensor, nn

from supreme.models.supreme import SupremeModel
from supreme.objectives.gather import of_all_workers

PRESENT, UNCERTAIN = 1, 2


@dataclass(frozen=True)
class Inputs:
    """What a task learns from in one step, on the device."""

    views: tuple[Tensor, ...]
    """ECGs in millivolts, each (B, 12, T) float32; as many as the task asks for, augmented independently."""
    codes: Tensor
    """(B, Q) int8: 0 not mentioned or absent, `PRESENT` or `UNCERTAIN`."""
    queries: Tensor
    """(Q, D): one phrasing of each entity, the same on all workers."""
    seed: int
    """Of this step, the same on all workers: for what they must draw alike."""
    reports: Tensor | None = None
    """(B, D) embedded reports, where the task asks for them."""
    unseen: Tensor | None = None
    """(U, D): names of entities that were held out, to be scored in validation."""

    def pieces(self, count: int) -> list[Inputs]:
        """The same, ``count`` records at a time."""
        if count >= len(self.codes):
            return [self]
        views = zip(*(view.split(count) for view in self.views), strict=True)
        codes = self.codes.split(count)
        reports = [None] * len(codes) if self.reports is None else self.reports.split(count)
        return [
            replace(self, views=v, codes=c, reports=r) for v, c, r in zip(views, codes, reports, strict=True)
        ]


class Task(nn.Module, ABC):
    """Model and objective: what is distributed, averaged and kept in checkpoints."""

    model: SupremeModel
    """What is released: ``(ecg_mv (B, 12, T), queries (Q, D)) -> logits (B, Q)``."""
    views: int = 1
    reads_reports: bool = False
    answers_queries: bool = True
    """False: the model is an encoder alone, no text can be asked of it."""
    zero_shot: bool = False
    """Entities that the labels hold out are unseen, and can be asked for: not where whole reports are read,
    which tell of them, nor where only the vocabulary is answered."""

    @abstractmethod
    def forward(self, inputs: Inputs) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss to minimise, and its detached parts by name."""

    @abstractmethod
    def validate(self, inputs: Inputs) -> tuple[Tensor, Tensor | None]:
        """On held-out records, in evaluation mode: the loss, and the logits (B, Q) of the queries.

        Those of the unseen entities follow, (B, Q + U), where there are any. None instead of logits where the
        model answers no queries. A loss that contrasts the records of a batch depends on its size: compare it
        with those of the same recipe only.
        """

    def weight(self, inputs: Inputs) -> Tensor:
        """How much of the loss' mean these records are, so that a batch can be learned from in pieces.

        Raises:
            TypeError: the loss compares the records of a batch, which cannot be cut then.
        """
        raise TypeError(f"{type(self).__name__} compares the records of a batch, which cannot be cut")

    def everyone(self, rows: Tensor) -> Tensor:
        """Rows (B, ...) of the records of all workers while training; in validation, this worker's."""
        return of_all_workers(rows) if self.training else rows
