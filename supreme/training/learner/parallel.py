"""A task on several workers: replicated (DDP) or sharded (FSDP2), compiled or not.

Checkpoints are independent of it: `gather` returns the same names and full tensors in every case, and
`scatter` loads them on any number of workers.
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

#: Attributes with the repeated blocks of encoders and fusion network, the units of FSDP. Smaller units do not
#: work: attention and patch embedding read their children's weights, which only a unit's forward gathers.
_REPEATED = ("blocks", "layers")


def world_size() -> int:
    """Number of workers; 1 outside of a process group."""
    return dist.get_world_size() if dist.is_initialized() else 1


def replicate(task: Task, device: torch.device) -> nn.Module:
    """The task in DDP, which averages gradients over the workers in the backward pass."""
    if world_size() == 1:
        return task
    # Buffers are synchronised where they are needed, see `sync_batchnorm_buffers`: not before every step.
    return DistributedDataParallel(
        task,
        device_ids=[device] if device.type == "cuda" else None,
        forward_sync_buffers=False,
        gradient_as_bucket_view=True,
    )


def shard(task: Task, device: torch.device) -> None:
    """Shard weights, gradients and optimizer state over the workers (FSDP2), in place."""
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
        # Gloo cannot average.
        unit.set_force_sum_reduction_for_comms(device.type == "cpu")


def _children(module: Any) -> list[nn.Module]:
    return list(module) if isinstance(module, nn.ModuleList | nn.Sequential) else []


def _units(model: nn.Module) -> Iterator[FSDPModule]:
    return (module for module in model.modules() if isinstance(module, FSDPModule))


def no_sync(wrapped: nn.Module) -> AbstractContextManager[None]:
    """Accumulate gradients locally and exchange them later; FSDP exchanges them at once all the same."""
    return wrapped.no_sync() if isinstance(wrapped, DistributedDataParallel) else nullcontext()


@contextmanager
def preserve_state(model: nn.Module) -> Iterator[None]:
    """Restore weights and buffers after the block, and drop the gradients."""
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    yield
    model.load_state_dict(before)
    model.zero_grad(set_to_none=True)


def unshard(model: nn.Module) -> None:
    """Gather a sharded model on every worker, which may then call it independently of the others."""
    for unit in _units(model):
        unit.set_reshard_after_forward(False)
        unit.unshard()


def reshard(model: nn.Module) -> None:
    """Undo `unshard`."""
    for unit in _units(model):
        unit.reshard()


def to_local(tensor: torch.Tensor) -> torch.Tensor:
    """This worker's part."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def full_tensor(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor with the parts of all workers."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def compile_parts(task: Task, device: torch.device) -> None:
    """Compile encoder and head in place; the names of their weights stay the same.

    Raises:
        ConfigError: no C++ compiler, which code for the CPU needs.
    """
    compilers = [os.environ.get("CXX", "g++"), "clang++"]
    if device.type == "cpu" and not any(map(shutil.which, compilers)):
        raise ConfigError(
            f"training.compile=true needs a C++ compiler, and none of {', '.join(compilers)} is installed: "
            "install one, name it in CXX, or set training.compile=false"
        )
    for part in (task.model.encoder, task.model.fusion):
        if part is not None:
            part.compile(dynamic=False)


@torch.no_grad()
def sync_batchnorm_buffers(*models: nn.Module) -> None:
    """Give all workers rank 0's running statistics of batch normalisation: those that a checkpoint holds.

    Each worker updates them with its own records; without this a resumed run would validate differently.
    """
    if world_size() > 1:
        for model in models:
            for buffer in model.buffers():
                dist.broadcast(buffer, src=0)


_FULL_STATE = dcp.StateDictOptions(full_state_dict=True, cpu_offload=True)


def gather(task: Task, ema: Task, optimizer: torch.optim.Optimizer) -> tuple[dict[str, Any], ...]:
    """State of task, EMA and optimizer as of a single worker; all workers call it, rank 0 gets it.

    The optimizer's state is keyed by the names of the weights.
    """
    reshard(ema)
    return (
        dcp.get_model_state_dict(task, options=_FULL_STATE),
        dcp.get_model_state_dict(ema, options=_FULL_STATE),
        dcp.get_optimizer_state_dict(task, optimizer, options=_FULL_STATE),
    )


def scatter(
    states: tuple[dict[str, Any], ...], task: Task, ema: Task, optimizer: torch.optim.Optimizer
) -> None:
    """Load what `gather` returned, the same on all workers, into task, EMA and optimizer."""
    model_state, ema_state, optimizer_state = states
    options = dcp.StateDictOptions(full_state_dict=True)
    # Workers exchange one weight after the other: the order must be the same on all of them.
    dcp.set_model_state_dict(task, dict(sorted(model_state.items())), options=options)
    dcp.set_model_state_dict(ema, dict(sorted(ema_state.items())), options=options)
    dcp.set_optimizer_state_dict(task, optimizer, optimizer_state, options=options)
