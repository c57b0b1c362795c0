"""The model that training goes on from: its weights and the space of its queries, copied beside the run."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from safetensors.numpy import load as load_arrays
from safetensors.torch import load

from supreme import storage
from supreme.config import ConfigError
from supreme.objectives.task import Task
from supreme.text import Whitening

FOLDER = "start"
WEIGHTS, QUERIES = "model.safetensors", "queries.safetensors"


@dataclass(frozen=True)
class Start:
    """A bundle that training goes on from, by its content."""

    uri: str
    """As in `training.start_from`."""
    digest: str
    """Of the bundle: part of the identity of the run."""
    sha256: dict[str, str]
    """Of each of its files."""
    folder: str
    """The copy that workers read; absolute."""

    def read(self, name: str) -> bytes:
        """A file of the copy.

        Raises:
            ConfigError: it is not the one that the run began with.
        """
        uri = storage.join(self.folder, name)
        content = storage.read_bytes(uri)
        if storage.sha256(content) != self.sha256[name]:
            raise ConfigError(f"{uri} is not what training began with: give --new to start afresh")
        return content

    def whitening(self) -> Whitening:
        """Of its queries. Its head knows no other space, so new queries are whitened alike."""
        arrays = load_arrays(self.read(QUERIES))
        return Whitening(arrays["whitening.mean"], arrays["whitening.matrix"])

    def load_into(self, task: Task) -> None:
        """Replace the untrained weights of a task's model.

        Raises:
            ConfigError: the model has others; the message names the first.
        """
        weights = load(self.read(WEIGHTS))
        own = {name: tuple(tensor.shape) for name, tensor in task.model.state_dict().items()}
        if different := difference(own, {name: tuple(tensor.shape) for name, tensor in weights.items()}):
            raise ConfigError(f"training.start_from={self.uri}: another model: {different}")
        with torch.no_grad():
            task.model.load_state_dict(weights)


def difference(own: dict[str, tuple[int, ...]], other: dict[str, tuple[int, ...]]) -> str:
    """The first tensor that two models do not share, in words; empty where there is none."""
    for name in sorted(own.keys() | other.keys()):
        if own.get(name) != other.get(name):
            return f"{name} is {other.get(name, 'absent')} there and {own.get(name, 'absent')} here"
    return ""
