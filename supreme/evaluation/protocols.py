"""Protocols: which records, crops, splits, classes and metrics an evaluation has (`data/protocols.toml`).

A protocol says nothing about how a model wants its input: that is the model's input convention.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, model_validator

from supreme.config import ConfigError
from supreme.evaluation import splits
from supreme.evaluation.benchmarks import NEGATIVE, POSITIVE, Benchmark
from supreme.evaluation.splits import SplitBenchmark
from supreme.records import label_sets


class Protocol(BaseModel):
    """Everything about an evaluation but the model; results are comparable under one version of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: str
    title: str
    source: str
    label_sets: tuple[str, ...]
    """Names of published label sets."""
    own: bool
    """Whether conditions, own labels and own label sets are evaluated too."""
    released_splits: bool
    patient_safe: bool
    min_positive_patients: int = Field(ge=0)
    threshold_from: Literal["test", "validation"]
    selection_recorded: bool
    first_s: float = Field(gt=0)
    """Seconds that are scored of a record, from its start."""
    padded_s: float = Field(ge=0)
    """Length of every scored signal, filled up with zeros; 0: as long as it is."""
    first_s_of: dict[str, float] = {}
    """Source kind -> its own `first_s`."""
    means: dict[str, tuple[str, ...]]
    """Name of a headline mean -> the label sets that it is over."""

    @property
    def f1_name(self) -> str:
        """What an F1 is called under this protocol."""
        return f"F1 at the {self.threshold_from} split's best threshold"

    @model_validator(mode="after")
    def _sets_are_there(self) -> Protocol:
        known = {labels.name for labels in label_sets.published()}
        for name in (*self.label_sets, *(name for sets in self.means.values() for name in sets)):
            if name not in known:
                raise ValueError(f"no label set {name!r}")
        return self


class MeanOfSets(BaseModel):
    """A headline mean: plain, over benchmarks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    value: float | None
    """None where a benchmark is missing."""
    benchmarks: tuple[str, ...]
    missing: tuple[str, ...]


@cache
def load() -> dict[str, Protocol]:
    """Read `data/protocols.toml`."""
    text = (files("supreme.evaluation") / "data" / "protocols.toml").read_text(encoding="utf-8")
    return {name: Protocol(name=name, **values) for name, values in tomllib.loads(text).items()}


def protocols(names: Sequence[str]) -> list[Protocol]:
    """The protocols that `evaluation.protocols` names.

    Raises:
        ConfigError: no such protocol, or none.
    """
    known = ", ".join(load())
    for name in names:
        if name not in load():
            raise ConfigError(f"evaluation.protocols: no protocol {name!r}: choose from {known}")
    if not names:
        raise ConfigError(f"evaluation.protocols is empty: choose from {known}")
    return [load()[name] for name in dict.fromkeys(names)]


def benchmarks_of(protocol: Protocol, kind: str) -> list[str]:
    """The published label sets that a protocol evaluates for a source kind, in the protocol's order."""
    of_kind = {labels.name for labels in label_sets.label_sets(kind)}
    return [name for name in protocol.label_sets if name in of_kind]


def split_benchmarks(
    protocol: Protocol, every: Mapping[str, Benchmark], kind: str, table: pa.Table, folder: str = ""
) -> list[SplitBenchmark]:
    """The benchmarks of a data set under a protocol, with the split of each record.

    Args:
        every: the benchmarks of the data set, from :func:`label_benchmarks.all_benchmarks`.
        table: of its shards, with `splits.COLUMNS`.
        folder: of released label files, as `evaluation.splits`; "": splits by rule.

    Raises:
        ConfigError: a released file is missing or broken.
    """
    names = [name for name in benchmarks_of(protocol, kind) if name in every]
    if protocol.own:
        published = {labels.name for labels in label_sets.published()}
        names += [name for name in every if name not in published]
    result = []
    for name in names:
        is_released = protocol.released_splits and folder and name in splits.RELEASED
        split = (
            splits.released(every[name], kind, folder)
            if is_released
            else splits.by_rule(every[name], kind, table)
        )
        result.append(splits.patient_safe(split) if protocol.patient_safe else split)
    return result


def crop(protocol: Protocol, kind: str, signal: np.ndarray, rate_hz: float) -> np.ndarray:
    """What a protocol scores of records ``(..., T)``: the first seconds, then zeros where it pads.

    The result has the type of ``signal`` and is a view of it where nothing is padded.
    """
    first = round(protocol.first_s_of.get(kind, protocol.first_s) * rate_hz)
    cut = signal[..., :first]
    missing = round(protocol.padded_s * rate_hz) - cut.shape[-1]
    if missing <= 0:
        return cut
    return np.concatenate([cut, np.zeros((*cut.shape[:-1], missing), cut.dtype)], axis=-1)


def counted_classes(protocol: Protocol, benchmark: Benchmark) -> np.ndarray:
    """Which classes count in a protocol's means, bool ``(C,)``: enough positive and negative patients."""
    least = max(1, protocol.min_positive_patients)
    return np.array(
        [
            all(benchmark.patients_with(label, column) >= least for label in (POSITIVE, NEGATIVE))
            for column in range(len(benchmark.classes))
        ],
        bool,
    )


def means(protocol: Protocol, macros: Mapping[str, float | None]) -> list[MeanOfSets]:
    """The headline means of a protocol; None where one of its benchmarks is missing or has no number.

    Args:
        macros: benchmark -> its macro mean.
    """
    result = []
    for name, sets in protocol.means.items():
        values = {one: math.nan if (value := macros.get(one)) is None else value for one in sets}
        missing = tuple(one for one, value in values.items() if not math.isfinite(value))
        value = None if missing else math.fsum(values.values()) / len(values)
        result.append(MeanOfSets(name=name, value=value, benchmarks=sets, missing=missing))
    return result
