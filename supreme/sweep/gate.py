"""Trials train in turn, but start early: the processes of the next one come up while another trains."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import ray

from supreme import log

logger = log.get("sweep")


class Turns:
    """Names of the trials whose turn it is or was; an actor."""

    def __init__(self) -> None:
        self.admitted: dict[str, asyncio.Event] = {}

    async def admit(self, name: str) -> None:
        """Let a trial train."""
        self.admitted.setdefault(name, asyncio.Event()).set()

    async def wait(self, name: str) -> None:
        """Return when it is this trial's turn."""
        await self.admitted.setdefault(name, asyncio.Event()).wait()


@dataclass(frozen=True)
class Gate:
    """What the driver opens for a trial, and its workers wait at; it may be sent to other processes."""

    turns: Any

    @classmethod
    def create(cls) -> Gate:
        """A closed gate; needs a Ray session."""
        return cls(ray.remote(num_cpus=0)(Turns).remote())

    def admit(self, name: str) -> None:
        """Let a trial train; returns at once."""
        self.turns.admit.remote(name)

    def wait(self, name: str) -> None:
        """Return when it is this trial's turn, or where the gate is lost with its node."""
        try:
            ray.get(self.turns.wait.remote(name))
        except ray.exceptions.RayActorError:
            logger.warning("the gate of the sweep is lost: training begins")
