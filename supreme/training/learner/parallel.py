"""A task on several workers: a copy on each (DDP) or cut into shards (FSDP2), compiled or not.

Checkpoints know nothing of it: `gather` gives the same names and whole tensors in every case, and `scatter`
takes them, also on another number of workers.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint import state_dict as dcp
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from supreme.config import ConfigError
from supreme.objectives.task import Task

#: Where encoders and the fusion network keep what they repeat. Smaller units would not do: attention and the
#: patch embedding read the weights of their children, which only the unit's own forward makes whole.
_REPEATED = ("blocks", "layers")


def world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def replicate(task: Task, device: torch.device) -> nn.Module:
    """The task, whose gradients are averaged over the workers in the backward pass."""
    if world_size() == 1:
        return task
    # Buffers are shared where they are needed, see `Learner.share_statistics`: not before every step.
    return DistributedDataParallel(
        task,
        device_ids=[device] if device.type == "cuda" else None,
        forward_sync_buffers=False,
        gradient_as_bucket_view=True,
    )


def shard(task: Task, device: torch.device) -> None:
    """Cut weights, gradients and optimizer state into one part for each worker, in place."""
    mesh = init_device_mesh(device.type, (world_size(),))
    blocks = [
        child
        for module in list(task.modules())
        for name in _REPEATED
        for child in _children(getattr(module, name, None))
    ]
    for module in [*blocks, task]:
        fully_shard(module, mesh=mesh)
    for unit in _units(task):
        # Gloo has no average.
        unit.set_force_sum_reduction_for_comms(device.type == "cpu")


def _children(module: Any) -> list[nn.Module]:
    return list(module) if isinstance(module, nn.ModuleList | nn.Sequential) else []


def _units(model: nn.Module) -> Iterator[FSDPModule]:
    return (module for module in model.modules() if isinstance(module, FSDPModule))


def unshared(wrapped: nn.Module) -> AbstractContextManager[None]:
    """Gradients are added up on each worker and exchanged later; those of shards, at once all the same."""
    return wrapped.no_sync() if isinstance(wrapped, DistributedDataParallel) else nullcontext()


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Put weights and buffers back as they were, and leave no gradients."""
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    yield
    model.load_state_dict(before)
    model.zero_grad(set_to_none=True)


def make_whole(model: nn.Module) -> None:
    """Let each worker call a sharded model on its own, as often as it likes."""
    for unit in _units(model):
        unit.set_reshard_after_forward(False)
        unit.unshard()


def cut_again(model: nn.Module) -> None:
    """Undo `make_whole`."""
    for unit in _units(model):
        unit.reshard()


def local(tensor: torch.Tensor) -> torch.Tensor:
    """This worker's part."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """The parts of all workers."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def compile_parts(task: Task, device: torch.device) -> None:
    """Compile encoder and head in place: their weights keep their names.

    Raises:
        ConfigError: there is no C++ compiler, which code for the CPU needs.
    """
    compilers = [os.environ.get("CXX", "g++"), "clang++"]
    if device.type == "cpu" and not any(map(shutil.which, compilers)):
        raise ConfigError(
            f"training.compile=true needs a C++ compiler and found none of {', '.join(compilers)}: "
            "install one, name it in CXX, or set training.compile=false"
        )
    for part in (task.model.encoder, task.model.fusion):
        if part is not None:
            part.compile(dynamic=False)


_WHOLE = dcp.StateDictOptions(full_state_dict=True, cpu_offload=True)


def gather(task: Task, averaged: Task, optimizer: torch.optim.Optimizer) -> tuple[dict[str, Any], ...]:
    """State of task, averaged task and optimizer as of a single worker; all call it, rank 0 gets it.

    The optimizer's is by the names of the weights.
    """
    cut_again(averaged)
    return (
        dcp.get_model_state_dict(task, options=_WHOLE),
        dcp.get_model_state_dict(averaged, options=_WHOLE),
        dcp.get_optimizer_state_dict(task, optimizer, options=_WHOLE),
    )


def scatter(
    found: tuple[dict[str, Any], ...], task: Task, averaged: Task, optimizer: torch.optim.Optimizer
) -> None:
    """Put what `gather` gave, the same on all workers, into a learner's parts."""
    model, mean, state = found
    whole_state = dcp.StateDictOptions(full_state_dict=True)
    # Workers tell each other of one weight after the other: each must have them in the same order.
    dcp.set_model_state_dict(task, dict(sorted(model.items())), options=whole_state)
    dcp.set_model_state_dict(averaged, dict(sorted(mean.items())), options=whole_state)
    dcp.set_optimizer_state_dict(task, optimizer, state, options=whole_state)
