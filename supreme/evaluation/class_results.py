"""Numbers of classes, macro means and calibration: the lower part of an `EvaluationResult`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

#: Means over: classes with enough positives; all that are defined; those queried in pre-training; the others.
Group = Literal["headline", "all", "seen", "unseen"]
GROUPS: tuple[Group, ...] = ("headline", "all", "seen", "unseen")


class _Result(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Auroc(_Result):
    """An AUROC and its 95 % interval by patient; None where undefined."""

    auroc: float | None
    low: float | None
    high: float | None
    undefined_replicates: int
    """Replicates without a positive or without a negative, which the interval leaves out."""


class MacroAuroc(Auroc):
    """The mean AUROC over classes."""

    classes: int


class ClassResult(Auroc):
    """One condition of a data set."""

    name: str
    """For people; the key is the condition's id."""
    auprc: float | None
    records: int
    """Annotated ones."""
    positives: int
    left_open: int
    """Records whose codes leave the condition open."""
    seen: bool
    """Whether pre-training queried it."""
    headline: bool
    """Whether positives and negatives are enough for the headline mean."""


class CalibrationBin(_Result):
    """Answers of similar probability."""

    predicted: float
    observed: float
    count: int


class CalibrationCurve(_Result):
    """Reliability of the probabilities of seen conditions."""

    ece: float
    pairs: int
    bins: tuple[CalibrationBin, ...]


class LiteralMacro(_Result):
    """The headline mean when every record without a code counts as negative."""

    auroc: float | None
    classes: int


class ProtocolResult(_Result):
    """One data set under one protocol."""

    records: int
    patients: int
    macro: dict[Group, MacroAuroc]
    classes: dict[str, ClassResult]
    calibration: CalibrationCurve
    literal: LiteralMacro


class LeftOut(_Result):
    """Records that the model has seen in training or in the selection of its weights: not evaluated."""

    by_key: int = 0
    """Known by their recording key."""
    by_signal: int = 0
    """Known by their signal alone: the same recording under another id."""

    @property
    def records(self) -> int:
        return self.by_key + self.by_signal
