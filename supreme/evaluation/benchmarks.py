"""Which records of a data set show what: labels of the conditions that all data sets share.

:mod:`supreme.evaluation.label_benchmarks` has those of published label sets and of one's own.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from supreme.records.label_sets import unmapped
from supreme.records.recordings import collection_of, collections, recording_key

POSITIVE, NEGATIVE, UNKNOWN = 1, 0, -1
#: Columns of the shards that labels are made from.
COLUMNS = ("record_id", "patient_id", "codes")
#: Name of the benchmark that holds the records of every real data set.
POOLED = "pooled"
#: Name and version of the benchmark of shared conditions; the version changes whenever a label does.
CONDITIONS, CONDITIONS_VERSION = "conditions", "1"


class _ConditionsTable(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Codes(_ConditionsTable):
    """Codes of one statement in each coding system."""

    scp: frozenset[str] = frozenset()
    snomed: frozenset[str] = frozenset()
    cpsc2018: frozenset[str] = frozenset()
    snomed_cpsc: frozenset[str] = frozenset()


class Condition(Codes):
    """What makes a record positive, and what keeps it from being negative."""

    unknown_if: Codes = Codes()
    negative_if: Codes = Codes()


class AnnotatedCollection(_ConditionsTable):
    """A collection of recordings that was annotated in one way."""

    scheme: str
    """Coding system, a field of :class:`Codes`."""
    annotates: frozenset[str]
    """Conditions that its annotators looked for."""


class Conditions(_ConditionsTable):
    """The file `data/conditions.toml`."""

    conditions: dict[str, Condition]
    sets: dict[str, AnnotatedCollection]


@dataclass(frozen=True)
class Benchmark:
    """Labels of one data set (or of several, pooled)."""

    dataset: str
    record_ids: tuple[str, ...]
    patients: tuple[str, ...]
    recordings: tuple[str, ...]
    """One key a recording: the same where two data sets hold the same recording."""
    classes: tuple[str, ...]
    labels: np.ndarray
    """`(N, C)` int8: 1 positive, 0 negative, -1 not annotated or left open."""
    name: str = CONDITIONS
    """Of the conditions or of a label set."""
    version: str = CONDITIONS_VERSION
    unknown_codes: Mapping[str, int] = field(default_factory=dict)
    """Codes that are in no column and are not known to be negative -> records of the data set with them."""
    unannotated: int = 0
    """Records of the data set that the label set's own rule leaves out."""

    @classmethod
    def from_table(cls, dataset: str, table: pa.Table, columns: Mapping[str, str]) -> Benchmark:
        """The benchmark of a table with ``record_id``, ``patient_id`` and labels.

        Args:
            columns: class -> column of its labels.
        """
        record_ids = tuple(table.column("record_id").to_pylist())
        labels = [table.column(column).to_numpy() for column in columns.values()]
        return cls(
            dataset,
            record_ids,
            tuple(table.column("patient_id").to_pylist()),
            record_ids,
            tuple(columns),
            np.stack(labels, axis=1) if labels else np.empty((len(record_ids), 0), np.int8),
        )

    def positives(self, column: int) -> int:
        return int((self.labels[:, column] == POSITIVE).sum())

    def patients_with(self, label: int, column: int) -> int:
        """Patients with at least one record of this label."""
        return len({self.patients[row] for row in np.flatnonzero(self.labels[:, column] == label)})

    def negatives(self, column: int) -> int:
        return int((self.labels[:, column] == NEGATIVE).sum())

    def smaller_class(self, column: int) -> int:
        """Positives or negatives, whichever are fewer: the limit of how far an AUROC can be trusted."""
        return min(self.positives(column), self.negatives(column))

    def select(self, mask: np.ndarray) -> Benchmark:
        """The records of a boolean mask ``(N,)``."""
        rows = np.flatnonzero(mask)
        return replace(
            self,
            record_ids=tuple(self.record_ids[r] for r in rows),
            patients=tuple(self.patients[r] for r in rows),
            recordings=tuple(self.recordings[r] for r in rows),
            labels=self.labels[rows],
        )

    def without(self, recordings: Collection[str]) -> Benchmark:
        """Leave out recordings, for instance those of another data set."""
        return self.select(np.array([key not in recordings for key in self.recordings], bool))


@cache
def load_conditions() -> Conditions:
    """Read `data/conditions.toml`."""
    text = (files("supreme.evaluation") / "data" / "conditions.toml").read_text()
    return Conditions.model_validate(tomllib.loads(text))


def is_annotated(kind: str) -> bool:
    """Whether records of a source kind carry codes that labels can be made from."""
    known = collections()
    return kind == "simulated" or any(kind in known[name].kinds for name in load_conditions().sets)


def benchmark(dataset: str, kind: str, table: pa.Table, *, literal: bool = False) -> Benchmark:
    """Labels of the records in a shard table that holds :data:`COLUMNS`.

    Args:
        kind: source kind; the codes of `simulated` are condition ids, and every condition is annotated.
        literal: count every record without a code of the condition as negative (no `unknown_if`, no
            `negative_if`), to measure the effect of these rules.
    """
    record_ids = tuple(table.column("record_id").to_pylist())
    codes = [frozenset(row) for row in table.column("codes").to_pylist()]
    if kind == "simulated":
        conditions = tuple(sorted(frozenset().union(*codes)))
        labels = np.array([[name in row for name in conditions] for row in codes], np.int8)
    else:
        groups = [_annotations_of(kind, record) for record in record_ids]
        annotated = frozenset().union(*(_annotates(name) for name in set(groups)))
        conditions = tuple(name for name in load_conditions().conditions if name in annotated)
        labels = np.full((len(codes), len(conditions)), UNKNOWN, np.int8)
        for row, (group, row_codes) in enumerate(zip(groups, codes, strict=True)):
            labels[row] = _labels(group, conditions, row_codes, literal)
    recordings = tuple(recording_key(kind, record) for record in record_ids)
    patients = tuple(table.column("patient_id").to_pylist())
    shape = (len(record_ids), len(conditions))
    known = _decisive(kind)
    unknown = Counter(code for row in codes for code in unmapped(kind, row) if code not in known)
    return Benchmark(
        dataset,
        record_ids,
        patients,
        recordings,
        conditions,
        labels.reshape(shape),
        unknown_codes=dict(sorted(unknown.items())),
    )


def pool(benchmarks: Sequence[Benchmark], name: str = "pooled") -> Benchmark:
    """All records of several data sets; a recording that two of them hold counts once, in the first."""
    conditions = tuple(dict.fromkeys(c for part in benchmarks for c in part.classes))
    recordings: set[str] = set()
    parts = []
    for part in benchmarks:
        part = part.without(recordings)
        recordings |= set(part.recordings)
        columns = [conditions.index(c) for c in part.classes]
        labels = np.full((len(part.record_ids), len(conditions)), UNKNOWN, np.int8)
        labels[:, columns] = part.labels
        parts.append(replace(part, classes=conditions, labels=labels))
    unknown = sum((Counter(part.unknown_codes) for part in benchmarks), Counter[str]())
    return Benchmark(
        name,
        _joined(part.record_ids for part in parts),
        _joined(tuple(f"{part.dataset}:{p}" for p in part.patients) for part in parts),
        _joined(part.recordings for part in parts),
        conditions,
        np.concatenate([part.labels for part in parts]) if parts else np.empty((0, 0), np.int8),
        unknown_codes=dict(sorted(unknown.items())),
    )


def _joined(parts: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(item for part in parts for item in part)


def _labels(group: str, conditions: Sequence[str], codes: frozenset[str], literal: bool) -> list[int]:
    if not group:
        return [UNKNOWN] * len(conditions)
    scheme, annotates = load_conditions().sets[group].scheme, _annotates(group)
    return [_label(name, scheme, codes, literal) if name in annotates else UNKNOWN for name in conditions]


def _label(name: str, scheme: str, codes: frozenset[str], literal: bool) -> int:
    condition = load_conditions().conditions[name]
    if codes & getattr(condition, scheme):
        return POSITIVE
    if literal:
        return NEGATIVE
    if codes & getattr(condition.unknown_if, scheme):
        return UNKNOWN
    required = getattr(condition.negative_if, scheme)
    return UNKNOWN if required and not codes & required else NEGATIVE


@cache
def _decisive(kind: str) -> frozenset[str]:
    """The codes of a source kind that decide on a condition, or leave it open."""
    table = load_conditions()
    schemes = {one.scheme for name, one in table.sets.items() if kind in collections()[name].kinds}
    return frozenset(
        code
        for condition in table.conditions.values()
        for codes in (condition, condition.unknown_if, condition.negative_if)
        for scheme in schemes
        for code in getattr(codes, scheme)
    )


def _annotates(group: str) -> frozenset[str]:
    return load_conditions().sets[group].annotates if group else frozenset()


def _annotations_of(kind: str, record_id: str) -> str:
    """The annotated collection that a record belongs to; empty when none is known."""
    name = collection_of(kind, record_id)
    return name if name in load_conditions().sets else ""
