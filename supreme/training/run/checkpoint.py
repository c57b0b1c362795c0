"""What a checkpoint holds: weights, averaged weights, optimizer, and the state of training.

No random state is kept: everything random follows from (seed, step, rank), see `training.learner`. Nor a
scheduler: the learning rate follows from the records seen.
"""

from __future__ import annotations

import hashlib
import io
import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict
from safetensors.torch import load, save

from supreme import storage
from supreme.config import ConfigError, difference, digest
from supreme.training.learner import parallel
from supreme.training.learner.learner import Learner
from supreme.training.learner.validation import score_of

MODEL, AVERAGED, OPTIMIZER, STATE = "model.safetensors", "ema.safetensors", "optimizer.pt", "state.json"

Tensors = dict[str, torch.Tensor]


class State(BaseModel):
    """Where training is, and what it belongs to."""

    model_config = ConfigDict(frozen=True)

    format: int = 2
    config: dict[str, Any]
    """The request of the stage: configuration and digests of the inputs."""
    config_digest: str
    seed: int
    steps: int = 0
    samples_seen: int = 0
    epoch: float = 0.0
    micro_batch: int = 0
    """ECGs that were learned from at once; normalisation takes its statistics from so many."""
    history: list[tuple[int, int, int]] = []
    """(workers, batch size, steps) of each stretch with one number of workers: the position in the data."""
    seconds: float = 0.0
    """Time spent in training and validation."""
    best: dict[str, float] = {}
    """Metrics of the report with the best validation; of equal ones, the first."""
    reports: list[dict[str, Any]] = []
    """Metrics of every report so far: the tracking store and metrics.jsonl can be filled from them."""
    curve: list[dict[str, float]] = []
    """Points of the loss curve since the last report."""
    ended: Literal["", "steps", "patience"] = ""
    """Why training is over; empty while it is not."""
    files: dict[str, str] = {}
    """sha256 of the checkpoint's other files."""

    @classmethod
    def fresh(cls, config: dict[str, Any], seed: int) -> State:
        return cls(config=config, config_digest=digest(config), seed=seed)

    def advanced(self, world: int, batch_size: int, steps: int, records: int) -> State:
        """The state after ``steps`` more steps."""
        history = list(self.history)
        before = history.pop()[2] if history and history[-1][:2] == (world, batch_size) else 0
        samples = self.samples_seen + steps * world * batch_size
        return self.model_copy(
            update={
                "steps": self.steps + steps,
                "samples_seen": samples,
                "epoch": samples / records,
                "history": [*history, (world, batch_size, before + steps)],
            }
        )

    def reported(
        self, metrics: dict[str, Any], curve: list[dict[str, float]], *, patience: int, last: bool
    ) -> State:
        """The state after a report: the best so far, and whether training is over.

        It follows from the reports alone, so that all workers and a resumed run decide alike.
        """
        best = metrics if score_of(metrics) > score_of(self.best) else self.best
        reports = [*self.reports, metrics | {"curve": curve}]
        since = [report for report in reports if report["samples_seen"] > best.get("samples_seen", math.inf)]
        ended = "steps" if last else "patience" if patience and len(since) >= patience else ""
        return self.model_copy(update={"best": best, "reports": reports, "curve": [], "ended": ended})


@dataclass(frozen=True)
class Snapshot:
    """A learner at one moment, in memory of its own on the CPU: training may go on while it is written."""

    model: Tensors
    averaged: Tensors
    optimizer: dict[str, Any]

    @classmethod
    def of(cls, learner: Learner) -> Snapshot:
        """Called by all workers; rank 0's is what counts."""
        return cls(*_on_cpu(parallel.gather(learner.task, learner.ema, learner.optimizer)))


def write(folder: str, snapshot: Snapshot, state: State) -> None:
    """Write a checkpoint, local or on S3: `STATE` last, with the digests of the others."""
    optimizer = io.BytesIO()
    torch.save(snapshot.optimizer, optimizer)
    files = {}
    for name, content in (
        (MODEL, save(snapshot.model)),
        (AVERAGED, save(snapshot.averaged)),
        (OPTIMIZER, optimizer.getvalue()),
    ):
        storage.write_bytes(storage.join(folder, name), content)
        files[name] = storage.sha256(content)
    text = state.model_copy(update={"files": files}).model_dump_json(indent=1)
    storage.write_bytes(storage.join(folder, STATE), text.encode())


def read_state(uri: str, config: dict[str, Any]) -> State:
    """The state in a ``state.json``.

    Raises:
        ConfigError: it belongs to another configuration or other data; the message holds the difference.
    """
    state = State.model_validate(storage.read_json(uri))
    if state.config_digest != digest(config):
        changes = "\n  ".join(difference(state.config, config))
        raise ConfigError(
            f"{uri} was made with another configuration or other data:\n  {changes}\n"
            "go back to that configuration, give another name=..., or --new to start afresh"
        )
    return state


def read_file(folder: str, name: str, state: State) -> bytes:
    """A file of the checkpoint of ``state``.

    Raises:
        ConfigError: it is not what was written.
    """
    uri = storage.join(folder, name)
    content = storage.read_bytes(uri)
    if storage.sha256(content) != state.files[name]:
        raise ConfigError(
            f"{uri} is damaged (its sha256 is not the one in {STATE}): delete the folder to go on from the "
            "checkpoint before it, or give --new to start afresh"
        )
    return content


def load_learner(folder: str, state: State, learner: Learner) -> None:
    """Put a checkpoint's weights and optimizer state into a learner.

    Raises:
        ConfigError: a file is damaged.
    """
    model, averaged = (load(read_file(folder, name, state)) for name in (MODEL, AVERAGED))
    optimizer = torch.load(io.BytesIO(read_file(folder, OPTIMIZER, state)), weights_only=True)
    parallel.scatter((model, averaged, optimizer), learner.task, learner.ema, learner.optimizer)


def weights_digest(model: torch.nn.Module) -> str:
    """A sha256 over names and bytes of all weights: equal means bit-identical."""
    content = hashlib.sha256()
    for name, tensor in sorted(_on_cpu(model.state_dict()).items()):
        content.update(name.encode())
        content.update(
            tensor.view(torch.uint8).numpy().tobytes() if tensor.ndim else tensor.numpy().tobytes()
        )
    return content.hexdigest()


def _on_cpu(value: Any) -> Any:
    """A copy of nested dictionaries and lists, tensors on the CPU."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
    if isinstance(value, dict):
        return {name: _on_cpu(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_on_cpu(item) for item in value)
    return value
