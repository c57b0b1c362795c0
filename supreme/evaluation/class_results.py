"""Parts of an evaluation result: one class, one mean over classes, one group of records."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

#: Means over: classes with enough positive and negative patients; all that are defined; those with ten
#: patients of each kind; and of the first, those queried in pre-training and the others.
Group = Literal["headline", "all", "at_least_10", "seen", "unseen"]
GROUPS: tuple[Group, ...] = ("headline", "all", "at_least_10", "seen", "unseen")


class ResultPart(BaseModel):
    """Frozen; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Auroc(ResultPart):
    """An AUROC and its 95 % interval with patients as units."""

    auroc: float | None
    """None where undefined, or where the scores are constant."""
    low: float | None
    """None where there are too few patients for an interval that covers."""
    high: float | None


class MacroAuroc(Auroc):
    """The mean AUROC over classes."""

    classes: int
    left_out: tuple[str, ...] = ()
    """Classes of the group whose scores are constant or missing: they are not in the mean."""


class OperatingPoint(ResultPart):
    """A threshold and a recalibration that were fitted on validation records, and what they do to others."""

    specificity_target: float
    threshold: float | None
    """None where no threshold is specific enough on the validation records."""
    sensitivity: float | None
    specificity: float | None
    slope: float
    """Of the logistic curve to probabilities, from log-odds of the scores where these are probabilities."""
    intercept: float
    brier: float | None
    """Of the recalibrated probabilities."""
    ece: float | None


class ClassResult(Auroc):
    """One condition of a data set."""

    name: str
    """For people; the key is the condition's id."""
    constant: bool = False
    """Whether all scores are equal, so that they rank nothing."""
    note: str = ""
    """Why there is no AUROC or no interval; empty where there are both."""
    auprc: float | None
    prevalence: float | None = None
    """Share of positive records: the AUPRC of chance."""
    sensitivity_at_90: float | None = None
    """At a specificity of at least 0.90, on the curve of these records."""
    sensitivity_at_95: float | None = None
    top_5_percent: float | None = None
    """Share of the positives among the highest-scored 5 % of the records (PhysioNet Challenge 2025)."""
    brier: float | None = None
    """This and the next two: None where scores are no probabilities."""
    ece: float | None = None
    in_the_large: float | None = None
    """Mean probability minus prevalence."""
    records: int
    """Annotated ones."""
    positives: int
    positive_patients: int = 0
    negative_patients: int = 0
    left_open: int
    """Records whose codes leave the condition open."""
    seen: bool
    """Whether pre-training queried it."""
    headline: bool
    """Whether positive and negative patients are enough for the headline mean."""
    operating_point: OperatingPoint | None = None
    """None without validation records."""


class CalibrationBin(ResultPart):
    """Answers of similar probability."""

    predicted: float
    observed: float
    count: int


class CalibrationCurve(ResultPart):
    """Reliability of the probabilities of seen conditions, in bins of equally many answers."""

    ece: float
    pairs: int
    bins: tuple[CalibrationBin, ...]


class SubgroupResult(ResultPart):
    """The records of one age band, sex, site, rate or quality flag."""

    value: str
    records: int
    patients: int
    macro: MacroAuroc
    """Over the classes with five positive and five negative patients in the group."""


class SubgroupGap(ResultPart):
    """The largest difference between two groups, over the classes that both have."""

    higher: str
    lower: str
    difference: float
    low: float
    """Of the 95 % interval."""
    high: float
    p_value: float
    """After Holm, over every pair of groups of the data set."""
    classes: int


class SubgroupAttribute(ResultPart):
    """A data set divided by one attribute."""

    attribute: str
    groups: tuple[SubgroupResult, ...]
    gap: SubgroupGap | None
    """None where no two groups have a class in common."""


class LiteralMacro(ResultPart):
    """The headline mean when every record without a code counts as negative."""

    auroc: float | None
    classes: int


class ProtocolResult(ResultPart):
    """One data set under one protocol."""

    records: int
    patients: int
    macro: dict[Group, MacroAuroc]
    classes: dict[str, ClassResult]
    calibration: CalibrationCurve | None
    """None where no condition is seen, or its scores are no probabilities."""
    calibration_note: str = ""
    """Why there is none."""
    literal: LiteralMacro
    subgroups: tuple[SubgroupAttribute, ...] = ()


class LeftOut(ResultPart):
    """Records that the model has seen in training or in the selection of its weights: not evaluated."""

    by_key: int = 0
    """Known by their recording key."""
    by_signal: int = 0
    """Known by their signal alone: the same recording under another id."""

    @property
    def records(self) -> int:
        return self.by_key + self.by_signal
