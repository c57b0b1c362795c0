"""The base class of every section of a recipe, and the limits that numbers have there."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, field_validator


class Section(BaseModel):
    """Frozen, strictly typed values; an unknown key, a number that is not finite or a boolean for a number
    is an error."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        validate_default=True,
        use_attribute_docstrings=True,
    )

    @field_validator("*", mode="after")
    @classmethod
    def _without_negative_zero(cls, value: object) -> object:
        return 0.0 if isinstance(value, float) and value == 0 else value


@dataclass(frozen=True)
class Limit:
    """The largest value that a field takes, with the reason."""

    value: float
    reason: str

    def __call__(self, value: float | None) -> float | None:
        if value is not None and value > self.value:
            raise ValueError(f"more than {self.value:,.10g} is refused: {self.reason}")
        return value


def at_most(value: float, reason: str) -> AfterValidator:
    """Refuse larger values; an error quotes ``reason``, which says what goes wrong beyond the limit."""
    return AfterValidator(Limit(value, reason))


Count = Annotated[int, at_most(1_000_000_000, "no data set has a billion records")]
"""A number of records, statements or calls."""

Epochs = Annotated[float, at_most(100_000, "no run passes over its data so often")]

Names = Annotated[tuple[str, ...], Field(strict=False, max_length=10_000)]
"""A list of texts; TOML has lists where Python has tuples."""


def _finite(values: dict[str, JsonValue]) -> dict[str, JsonValue]:
    for key, value in _leaves(values):
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{key}={value} is not a finite number, which JSON cannot hold")
    return values


def _leaves(values: Mapping[str, JsonValue]) -> Iterator[tuple[str, JsonValue]]:
    waiting: list[tuple[str, JsonValue]] = list(values.items())
    while waiting:
        key, value = waiting.pop()
        if isinstance(value, dict):
            waiting += [(f"{key}.{name}", item) for name, item in value.items()]
        elif isinstance(value, list):
            waiting += [(f"{key}.{number}", item) for number, item in enumerate(value)]
        else:
            yield key, value


JsonTable = Annotated[dict[str, JsonValue], AfterValidator(_finite)]
"""Parameters for another program, passed on as JSON."""
