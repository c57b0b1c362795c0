"""A checkpoint: weights, EMA weights, optimizer, and the state of training.

Random state is not stored: all draws follow from (seed, step, rank), see `training.learner`. Nor is a
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
from supreme.config import ConfigError, difference
from supreme.manifest import Request
from supreme.storage.documents import read_document
from supreme.training.data.order import Stretch
from supreme.training.learner import parallel
from supreme.training.learner.learner import Learner
from supreme.training.learner.validation import score_of
from supreme.training.run.history import Point, Report

MODEL, EMA, OPTIMIZER, STATE = "model.safetensors", "ema.safetensors", "optimizer.pt", "state.json"
#: What to do about a checkpoint that cannot be used.
REMEDY = "delete its folder to go on from the checkpoint before it, or give --new to start afresh"

Tensors = dict[str, torch.Tensor]


class State(BaseModel):
    """Where training is, and the request it belongs to."""

    model_config = ConfigDict(frozen=True)

    schema_version: Literal[4] = 4
    request: Request
    """Configuration and digests of the inputs."""
    steps: int = 0
    samples_seen: int = 0
    epoch: float = 0.0
    micro_batch: int = 0
    """ECGs per forward and backward pass, over which batch normalisation takes its statistics."""
    history: list[Stretch] = []
    """Stretches with one number of workers each: the position in the data."""
    seconds: float = 0.0
    """Time spent in training and validation."""
    reports: list[Report] = []
    """Every report so far: tracking store and metrics.jsonl can be filled from them."""
    curve: list[Point] = []
    """Points of the loss curve since the last report."""
    ended: Literal["", "steps", "patience"] = ""
    """Why training is over; empty while it is not."""
    best_checkpoint: str = ""
    """Name of the checkpoint with the weights of `best`; empty where no report has a value."""
    files: dict[str, str] = {}
    """sha256 of the checkpoint's other files."""

    @property
    def best(self) -> Report | None:
        """The report with the best validation; of equal ones the first."""
        best = max(self.reports, key=lambda report: score_of(report.metrics), default=None)
        return best if best and score_of(best.metrics) > -math.inf else None

    def advanced(self, stretch: Stretch, records: int) -> State:
        """The state after another stretch; ``records``: in an epoch."""
        history = list(self.history)
        before = history.pop().steps if history and history[-1][:2] == stretch[:2] else 0
        samples = self.samples_seen + stretch.steps * stretch.workers * stretch.batch_size
        return self.model_copy(
            update={
                "steps": self.steps + stretch.steps,
                "samples_seen": samples,
                "epoch": samples / records,
                "history": [*history, stretch._replace(steps=before + stretch.steps)],
            }
        )

    def reported(self, report: Report, *, patience: int, last: bool) -> State:
        """The state after a report, and whether training is over.

        It follows from the reports alone, so that all workers and a resumed run decide alike.
        """
        state = self.model_copy(update={"reports": [*self.reports, report], "curve": []})
        best = state.best
        since_best = [one for one in state.reports if best and one.samples_seen > best.samples_seen]
        ended = "steps" if last else "patience" if patience and len(since_best) >= patience else ""
        return state.model_copy(update={"ended": ended})


@dataclass(frozen=True)
class Snapshot:
    """A learner at one moment, copied to the CPU: training may go on while it is written."""

    model: Tensors
    ema: Tensors
    optimizer: dict[str, Any]

    @classmethod
    def of(cls, learner: Learner) -> Snapshot:
        """Called by all workers; rank 0's is complete."""
        return cls(*_on_cpu(parallel.gather(learner.task, learner.ema, learner.optimizer)))


def write(folder: str, snapshot: Snapshot, state: State) -> None:
    """Write a checkpoint, local or on S3: `STATE` last, with the digests of the others."""
    optimizer = io.BytesIO()
    torch.save(snapshot.optimizer, optimizer)
    files = {}
    for name, content in (
        (MODEL, save(snapshot.model)),
        (EMA, save(snapshot.ema)),
        (OPTIMIZER, optimizer.getvalue()),
    ):
        storage.write_bytes(storage.join(folder, name), content)
        files[name] = storage.sha256(content)
    write_state(folder, state.model_copy(update={"files": files}))


def write_state(folder: str, state: State) -> None:
    """Write the state of a checkpoint, or of a finished run."""
    storage.write_bytes(storage.join(folder, STATE), state.model_dump_json(indent=1).encode())


def read_state(folder: str, request: Request) -> State:
    """The state of a checkpoint, or of a finished run.

    Raises:
        ConfigError: it is damaged or of another version, or it belongs to another configuration or other
            data; the message has file and remedy, or the difference.
    """
    uri = storage.join(folder, STATE)
    state = read_document(uri, State, remedy=REMEDY)
    changes = difference(state.request.model_dump(mode="json"), request.model_dump(mode="json"))
    if changes:
        lines = "\n  ".join(changes)
        raise ConfigError(
            f"{uri} was made with another configuration or other data:\n  {lines}\n"
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
    if storage.sha256(content) != state.files.get(name):
        raise ConfigError(f"{uri} is damaged (its sha256 is not the one in {STATE}): {REMEDY}")
    return content


def load_learner(folder: str, state: State, learner: Learner) -> None:
    """Load a checkpoint's weights and optimizer state into a learner.

    Raises:
        ConfigError: a file is damaged.
    """
    model, ema = (load(read_file(folder, name, state)) for name in (MODEL, EMA))
    optimizer = torch.load(io.BytesIO(read_file(folder, OPTIMIZER, state)), weights_only=True)
    parallel.scatter((model, ema, optimizer), learner.task, learner.ema, learner.optimizer)


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
