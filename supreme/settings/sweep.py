"""The search over losses and encoders: the section ``[sweep]``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from supreme.settings.model import EncoderName
from supreme.settings.section import Epochs, Section, at_most
from supreme.settings.training import Loss, Objective

Trials = Annotated[int, at_most(10_000, "each trial is a training run")]


class Sweep(Section):
    """A search with Ray Tune over objectives, losses and encoders."""

    trials: Trials = Field(default=4, ge=1)
    """Most trials to run."""
    concurrent: Trials = Field(default=1, ge=1)
    """Trials that run at the same time."""
    losses: Annotated[tuple[Loss, ...], Field(strict=False, max_length=100)] = ("bce", "asymmetric")
    """Values of `training.loss` to try."""
    encoders: Annotated[tuple[EncoderName, ...], Field(strict=False, max_length=100)] = ("resnet1d", "vit1d")
    """Values of `model.encoder` to try."""
    objectives: Annotated[tuple[Objective, ...], Field(strict=False, max_length=100)] = ()
    """Values of `training.objective` to try; the recipe's own when empty. An objective without a choice of
    losses is tried once for each encoder."""
    epochs: Epochs = Field(default=2, gt=0)
    """Epochs of a trial that is not stopped early."""
