"""How the field reads ECGs today, as PyTorch datasets: a WFDB record at a time, one memory-mapped array."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
import wfdb
from torch.utils.data import Dataset


class WfdbRecords(Dataset[tuple[int, torch.Tensor]]):
    """`wfdb.rdsamp` of each record, back in int16 microvolts like everything that it is compared with."""

    def __init__(self, paths: list[str]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> tuple[int, torch.Tensor]:
        signal_mv, _ = wfdb.rdsamp(self.paths[number])
        return number, torch.from_numpy(np.rint(signal_mv.T * 1000).astype(np.int16))


class MemoryMap(Dataset[tuple[int, torch.Tensor]]):
    """One int16 array (records, 12, samples) in a file."""

    def __init__(self, file: str, records: int, samples: int) -> None:
        self.file, self.shape = file, (records, 12, samples)

    @cached_property
    def _array(self) -> np.ndarray:
        # Opened by each worker process for itself.
        return np.memmap(self.file, np.int16, "r", shape=self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, number: int) -> tuple[int, torch.Tensor]:
        return number, torch.from_numpy(np.array(self._array[number]))
