"""A worker's memory: kept between steps, and how many ECGs fit into it, from what a few of them take."""

from __future__ import annotations

import ctypes
import os
import re
import resource
from collections.abc import Callable
from pathlib import Path

import torch

#: Of the free memory: allocators lose some to gaps.
_SHARE = 0.85
#: On the CPU, what a pass holds at its peak over what it keeps for the backward pass.
_PEAK_OVER_KEPT = 1.5
_FEW = (2, 4)
#: Of glibc's malloc.h, and the largest sizes that it takes (before 2.35 the second).
_TOP_PAD, _MMAP_THRESHOLD = -2, -3
_LARGEST = (2**31 - 1, 2**25)
#: A thread's memory comes in heaps of this size; the padding keeps those that are empty.
_HEAP = 2**26


def keep_freed() -> None:
    """Let the C library keep what this process frees, for the next step.

    Otherwise every step on the CPU gives its activations back to the system and gets them again, page by
    page: in Ray's worker threads 3,000 faults and a tenth of the step, for a small ResNet.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt and any(mallopt(_MMAP_THRESHOLD, size) for size in _LARGEST):
        mallopt(_TOP_PAD, _HEAP)


def is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def largest_fitting(
    passes: Callable[[int], None], batch_size: int, still_needed: int, device: torch.device
) -> int:
    """The largest divisor of the batch whose pass fits into the free memory of this worker; 0: none does.

    Args:
        passes: runs forward and backward of so many records.
        still_needed: bytes that will be taken besides by what has not been made yet.
    """
    small, large = (_bytes_of(passes, count, device) for count in _FEW)
    each = (large - small) / (_FEW[1] - _FEW[0])
    always = max(0.0, small - _FEW[0] * each) + still_needed
    room = _SHARE * free_bytes(device)
    fitting = [n for n in divisors(batch_size) if always + n * each <= room]
    return max(fitting, default=0)


def divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]


def _bytes_of(passes: Callable[[int], None], count: int, device: torch.device) -> float:
    """The most that a pass needs: measured on a GPU, on the CPU from what it keeps for the backward pass."""
    if device.type == "cuda":
        passes(count)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        passes(count)
        return torch.cuda.max_memory_allocated(device) - before
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        passes(count)
    return _PEAK_OVER_KEPT * sum(kept.values())


def free_bytes(device: torch.device) -> float:
    """What this worker may still take; on the CPU, its part of what machine and container have left."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    shared = [_kilobytes("/proc/meminfo", "MemAvailable")]
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        if Path(limit).is_file() and (most := Path(limit).read_text().strip()).isdecimal():
            shared.append(int(most) - int(Path(used).read_text()))
    # Ray Train tells each worker how many there are on its node, as torchrun does.
    found = min(shared) / int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    most_addresses, _ = resource.getrlimit(resource.RLIMIT_AS)
    if most_addresses != resource.RLIM_INFINITY:
        found = min(found, most_addresses - _kilobytes("/proc/self/status", "VmSize"))
    return max(0.0, found)


def _kilobytes(file: str, name: str) -> float:
    found = re.search(rf"^{name}:\s+(\d+) kB", Path(file).read_text(), re.MULTILINE)
    return int(found.group(1)) * 1024.0 if found else float("inf")
