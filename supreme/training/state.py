"""The checkpoint: a folder of safetensors, optimizer state that loads without running code, ``state.json``.

No random state is kept: everything random follows from (seed, step, rank), see `supreme.training.step`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from safetensors.torch import load_file, save_file

from supreme import storage
from supreme.config import ConfigError, difference, digest
from supreme.training.step import Learner

MODEL, AVERAGED, OPTIMIZER, STATE = "model.safetensors", "ema.safetensors", "optimizer.pt", "state.json"


class State(BaseModel):
    """Where training is, and what it belongs to."""

    model_config = ConfigDict(frozen=True)

    format: int = 1
    config: dict[str, Any]
    """The request of the stage: configuration and digests of the inputs."""
    config_digest: str
    seed: int
    steps: int = 0
    samples_seen: int = 0
    epoch: float = 0.0
    history: list[tuple[int, int, int]] = []
    """(workers, batch size, steps) of each stretch with one number of workers: the position in the data."""
    seconds: float = 0.0
    """Time spent in training and validation."""
    best: dict[str, float] = {}
    """Metrics of the checkpoint with the best validation."""
    reports: list[dict[str, Any]] = []
    """Metrics of every checkpoint so far: the tracking store and metrics.jsonl can be filled from them."""

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


def write(folder: str | Path, learner: Learner, state: State) -> None:
    """Write a checkpoint into a local folder."""
    path = Path(folder)
    save_file(_tensors(learner.task), path / MODEL)
    save_file(_tensors(learner.averaged), path / AVERAGED)
    torch.save(learner.optimizer.state_dict(), path / OPTIMIZER)
    (path / STATE).write_text(state.model_dump_json(indent=1))


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


def load_learner(folder: str | Path, learner: Learner) -> None:
    """Put a checkpoint's weights and optimizer state into a learner."""
    path = Path(folder)
    learner.task.load_state_dict(load_file(path / MODEL))
    learner.averaged.load_state_dict(load_file(path / AVERAGED))
    learner.optimizer.load_state_dict(
        torch.load(path / OPTIMIZER, weights_only=True, map_location=learner.device)
    )


def weights_digest(model: torch.nn.Module) -> str:
    """A sha256 over names and bytes of all weights: equal means bit-identical."""
    content = hashlib.sha256()
    for name, tensor in sorted(_tensors(model).items()):
        content.update(name.encode())
        content.update(
            tensor.view(torch.uint8).numpy().tobytes() if tensor.ndim else tensor.numpy().tobytes()
        )
    return content.hexdigest()


def _tensors(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
