"""Memory of a worker: how many ECGs fit, estimated from a few of them; and malloc without trimming."""

from __future__ import annotations

import ctypes
import os
import re
import resource
from collections.abc import Callable
from pathlib import Path

import torch

#: Share of the free memory that is used: allocators lose some to gaps.
_SHARE = 0.85
#: On the CPU: peak memory of a pass over what it saves for the backward pass.
_PEAK_OVER_SAVED = 1.5
#: Records of the two passes that are measured.
_PROBES = (2, 4)
#: Parameters of glibc's malloc.h, and the largest thresholds it accepts (before 2.35 only the second).
_TOP_PAD, _MMAP_THRESHOLD = -2, -3
_MAX_THRESHOLDS = (2**31 - 1, 2**25)
#: Size of a thread's heaps: with as much padding, empty ones are kept.
_HEAP = 2**26


def disable_malloc_trim() -> None:
    """Let the C library keep freed memory for the next step instead of returning it to the system.

    Otherwise every step on the CPU pages its activations in again: in Ray's worker threads 3,000 page faults
    and a tenth of the step, for a small ResNet.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt and any(mallopt(_MMAP_THRESHOLD, size) for size in _MAX_THRESHOLDS):
        mallopt(_TOP_PAD, _HEAP)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory is exhausted, on a GPU or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def max_micro_batch(
    dry_run: Callable[[int], None], batch_size: int, reserved_bytes: float, device: torch.device
) -> int:
    """The largest divisor of the batch whose pass fits into this worker's free memory; 0 if none does.

    Args:
        dry_run: runs forward and backward of so many records.
        reserved_bytes: memory that will be needed besides and is not allocated yet.
    """
    small, large = (_pass_bytes(dry_run, count, device) for count in _PROBES)
    per_record = (large - small) / (_PROBES[1] - _PROBES[0])
    fixed = max(0.0, small - _PROBES[0] * per_record) + reserved_bytes
    room = _SHARE * free_bytes(device)
    return max((n for n in divisors(batch_size) if fixed + n * per_record <= room), default=0)


def divisors(number: int) -> list[int]:
    """All divisors, ascending."""
    return [n for n in range(1, number + 1) if number % n == 0]


def _pass_bytes(dry_run: Callable[[int], None], count: int, device: torch.device) -> float:
    """Peak memory of a pass: measured on a GPU; on the CPU estimated from the tensors saved for backward."""
    if device.type == "cuda":
        dry_run(count)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        dry_run(count)
        return torch.cuda.max_memory_allocated(device) - before
    saved: dict[int, int] = {}

    def save(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
        dry_run(count)
    return _PEAK_OVER_SAVED * sum(saved.values())


def free_bytes(device: torch.device) -> float:
    """Free memory of this worker; on the CPU, its share of what machine and container have left."""
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
    # Ray Train sets the number of workers on the node, as torchrun does.
    available: float = min(shared) / int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    address_space, _ = resource.getrlimit(resource.RLIMIT_AS)
    if address_space != resource.RLIM_INFINITY:
        available = min(available, address_space - _kilobytes("/proc/self/status", "VmSize"))
    return max(0.0, available)


def _kilobytes(file: str, name: str) -> float:
    match = re.search(rf"^{name}:\s+(\d+) kB", Path(file).read_text(), re.MULTILINE)
    return int(match.group(1)) * 1024.0 if match else float("inf")
