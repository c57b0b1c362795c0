"""The search over the keys of a recipe: the section ``[sweep]``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, JsonValue, field_validator, model_validator

from supreme.settings.section import Epochs, Section, at_most

Trials = Annotated[int, at_most(10_000, "each trial is a training run")]
Number = int | float

_DIMENSION_KEYS = {"values", "low", "high", "log", "step", "when"}


class Dimension(Section):
    """Values to try of a dotted key, such as `training.learning_rate`: a list, or a table with these keys.

    Keys of `model`, `training`, `text`, and `seed`. On the command line
    `sweep.space.training.loss=["bce", "focal"]`.
    """

    values: Annotated[tuple[JsonValue, ...], Field(strict=False, max_length=1000)] = ()
    """Values to try."""
    low: Number | None = None
    """Smallest value of a range."""
    high: Number | None = None
    """Largest value of a range."""
    log: bool = False
    """Draw the logarithm evenly."""
    step: Number | None = None
    """Distance between two values; a grid needs it."""
    when: dict[str, str] = Field(default_factory=dict)
    """Key -> pattern (`*`, `?`) of its value: the key is varied only where all match."""

    @model_validator(mode="after")
    def _is_list_or_range(self) -> Dimension:
        if self.values:
            if any(value is not None for value in (self.low, self.high, self.step)) or self.log:
                raise ValueError("give a list of values, or low and high")
            if len({repr(value) for value in self.values}) < len(self.values):
                raise ValueError("a value is listed twice, which would be the same trial twice")
            return self
        if self.low is None or self.high is None:
            raise ValueError("give a list of values, or low and high")
        if self.low >= self.high:
            raise ValueError(f"low={self.low} is not below high={self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"log needs low > 0, as there is no logarithm of {self.low}")
        if self.step is not None and (self.log or not 0 < self.step <= self.high - self.low):
            raise ValueError("step needs 0 < step <= high - low, and no log")
        return self

    @property
    def is_integer(self) -> bool:
        """Whether the range holds whole numbers only."""
        return all(isinstance(value, int) for value in (self.low, self.high, self.step) if value is not None)

    def points(self) -> tuple[JsonValue, ...]:
        """All values of a list, or of a range with a step; empty for a range without one."""
        if self.values or self.low is None or self.high is None or self.step is None:
            return self.values
        count = int((self.high - self.low) / self.step + 1e-9) + 1
        return tuple(
            self.low + number * self.step
            if self.is_integer
            else float(f"{self.low + number * self.step:.12g}")
            for number in range(count)
        )


class Sweep(Section):
    """A search with Ray Tune over any keys that decide how a model is trained."""

    space: dict[str, Dimension] = Field(default_factory=dict, max_length=100)
    """Dotted key -> its values."""
    search: Literal["grid", "random", "tpe"] = "grid"
    """`grid`: all combinations; `random`: draws; `tpe`: Optuna's multivariate tree-structured Parzen
    estimator, which learns from the trials before."""
    trials: Trials | None = Field(default=None, ge=1)
    """Settings to try, trial 0 (the recipe itself) among them; all of a grid when not set."""
    seeds: Annotated[int, at_most(100, "each is a training run of every setting")] = Field(default=1, ge=1)
    """Runs of each setting, with the recipe's seed and those after it; settings are ranked by their mean."""
    hours: Annotated[float, at_most(1_000_000, "a century")] = Field(default=0.0, ge=0)
    """No further short trial begins when all trials together took so long; 0: no limit."""
    epochs: Epochs = Field(default=2, gt=0)
    """Epochs of a trial that is not stopped early."""
    scheduler: Literal["asha", "none"] = "asha"
    """`asha`: asynchronous successive halving stops a trial that is below the median at a quarter or half of
    its length (never trial 0); `none`: all trials come to their end."""
    finalists: Annotated[int, at_most(1000, "each is a whole training run")] = Field(default=2, ge=0)
    """Best settings that are trained again as the recipe says; the best of these is registered. 0: nothing is
    trained again or registered, as for a table of ablations."""
    concurrent: Trials = Field(default=1, ge=1)
    """Trials that run at the same time."""

    @field_validator("space", mode="before")
    @classmethod
    def _flat(cls, space: object) -> object:
        return dict(_dimensions(space, "")) if isinstance(space, Mapping) else space

    @model_validator(mode="after")
    def _can_be_searched(self) -> Sweep:
        if self.search != "grid" and self.space and self.trials is None:
            raise ValueError(f"search={self.search} needs trials=N")
        for key, dimension in self.space.items():
            if self.search == "grid" and not dimension.points():
                raise ValueError(f"space.{key}: a grid needs a list or a step; or set search=random or tpe")
            if loop := [other for other in dimension.when if other in self.space and self.space[other].when]:
                raise ValueError(f"space.{key}: `when` names {loop[0]}, which has a `when` itself")
        return self


def _dimensions(space: Mapping[str, object], prefix: str) -> list[tuple[str, object]]:
    """Dotted keys, however the tables are nested."""
    dimensions: list[tuple[str, object]] = []
    for name, value in space.items():
        key = f"{prefix}{name}"
        if isinstance(value, list | tuple):
            dimensions.append((key, {"values": value}))
        elif isinstance(value, Dimension) or (isinstance(value, Mapping) and _is_dimension(value)):
            dimensions.append((key, value))
        elif isinstance(value, Mapping):
            dimensions += _dimensions(value, f"{key}.")
        else:
            raise ValueError(f"{key}: give a list of values, or a table with low and high")
    return dimensions


def _is_dimension(table: Mapping[str, object]) -> bool:
    return not table or bool(_DIMENSION_KEYS & table.keys())
