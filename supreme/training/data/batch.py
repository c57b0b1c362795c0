"""What one worker trains on in one step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import torch

from supreme.ecg import N_LEADS
from supreme.shards.read import signals_uv
from supreme.training.data.labels import LabelMatrix
from supreme.training.data.reports import Reports


@dataclass(frozen=True)
class Batch:
    """Signals, labels and, for some objectives, embedded reports of the records of one step."""

    record_ids: Sequence[str]
    signal_uv: torch.Tensor
    """(B, 12, T) int16."""
    codes: torch.Tensor
    """(B, Q) int8: 0, `PRESENT` or `UNCERTAIN`."""
    reports: torch.Tensor | None = None
    """(B, D) embedded reports, where the task reads them."""

    def tensors(self) -> list[torch.Tensor]:
        """All tensors of the batch."""
        return [self.signal_uv, self.codes] + ([] if self.reports is None else [self.reports])

    def to(self, device: torch.device) -> Batch:
        """The batch on the device; a copy to a GPU is asynchronous."""
        tensors = self.tensors()
        if device.type == "cuda":
            tensors = [tensor if tensor.is_cuda else tensor.pin_memory() for tensor in tensors]
        return Batch(self.record_ids, *(tensor.to(device, non_blocking=True) for tensor in tensors))

    @classmethod
    def empty(cls, count: int, samples: int, entities: int, text_dim: int) -> Batch:
        """Records of zeros, for a dry run of a step."""
        signal_uv = torch.zeros(count, N_LEADS, samples, dtype=torch.int16)
        codes = torch.zeros(count, entities, dtype=torch.int8)
        return cls([""] * count, signal_uv, codes, torch.zeros(count, text_dim))


def to_batch(table: pa.Table, samples: int, labels: LabelMatrix, reports: Reports | None = None) -> Batch:
    """The batch of a table of record ids and signals of ``samples``; ``reports`` where the task reads them.

    Raises:
        ConfigError: a record has no labels.
    """
    record_ids = table.column("record_id").to_pylist()
    # The copy is aligned, contiguous and writable; the shared memory that it comes from is not.
    signal_uv = torch.from_numpy(signals_uv(table, samples).copy())
    embedded = reports.of(record_ids) if reports else None
    return Batch(record_ids, signal_uv, torch.from_numpy(labels.of(record_ids)), embedded)
