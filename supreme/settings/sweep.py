"""The search over losses and encoders: the section ``[sweep]``."""

from __future__ import annotations

from pydantic import Field

from supreme.settings.section import Section


class Sweep(Section):
    trials: int = Field(default=4, ge=1)
    concurrent: int = Field(default=1, ge=1)
    losses: tuple[str, ...] = ("bce", "asymmetric")
    encoders: tuple[str, ...] = ("resnet1d", "vit1d")
    objectives: tuple[str, ...] = ()
    """`training.objective` where none is given; one without a choice of losses is tried once an encoder."""
    epochs: float = Field(default=2, gt=0)
