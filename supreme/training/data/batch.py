"""What one worker trains on in one step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from supreme.ecg import N_LEADS


@dataclass(frozen=True)
class Batch:
    """What one worker trains on in one step."""

    record_ids: Sequence[str]
    signal_uv: torch.Tensor
    """(B, 12, T) int16."""
    codes: torch.Tensor
    """(B, Q) int8: 0, `PRESENT` or `UNCERTAIN`."""
    reports: torch.Tensor | None = None
    """(B, D) embedded reports, where the task reads them."""

    def tensors(self) -> list[torch.Tensor]:
        return [self.signal_uv, self.codes] + ([] if self.reports is None else [self.reports])

    def to(self, device: torch.device) -> Batch:
        """The same on the device; a GPU copies it while the CPU goes on."""
        ours = self.tensors()
        if device.type == "cuda":
            ours = [tensor if tensor.is_cuda else tensor.pin_memory() for tensor in ours]
        return Batch(self.record_ids, *(tensor.to(device, non_blocking=True) for tensor in ours))

    @classmethod
    def empty(cls, count: int, samples: int, entities: int, text_dim: int) -> Batch:
        """Records of zeros, to try a step with."""
        signal_uv = torch.zeros(count, N_LEADS, samples, dtype=torch.int16)
        codes = torch.zeros(count, entities, dtype=torch.int8)
        return cls([""] * count, signal_uv, codes, torch.zeros(count, text_dim))
