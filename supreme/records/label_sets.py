"""The label sets of data sets: which columns the codes of a record stand for.

    for labels in label_sets("ptbxl"):
        labels.name, labels.of(("NORM", "SR"))  # "ptbxl-superclass", ["NORM"] ... "ptbxl-rhythm", ["SR"]
    unmapped("csn", ("426783006", "55827005"))  # ["55827005"]: in the data, but not in its list of names

A column that :meth:`LabelSet.of` does not name is negative, where :meth:`LabelSet.annotates` the record. The
published sets stand in `data/label_sets.toml`; :func:`read` reads one's own.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.resources import files

from pydantic import BaseModel, ConfigDict, field_validator

from supreme import storage
from supreme.config import ConfigError
from supreme.storage.toml_file import read_toml

#: A column of this name is in every table of labels or scores.
RESERVED = ("record_id", "patient_id")


@dataclass(frozen=True)
class LabelSet:
    """Columns of labels for the records of one kind of source, or of named data sets."""

    name: str
    kind: str
    """Kind of source; empty for one's own set."""
    columns: Mapping[str, frozenset[str]]
    """Column -> the codes that make it positive, in the set's order."""
    version: str = "1"
    """Changes whenever labels of a record change."""
    datasets: tuple[str, ...] = ()
    """Names of the data sets that one's own set describes."""
    negative: frozenset[str] = frozenset()
    """Codes that are known and stand in no column."""
    annotated_if: frozenset[str] = frozenset()
    """A record is annotated with one of these codes; any code of a column when empty."""
    all_mapped: bool = False
    """Leave out a record with one code that no set of its kind knows."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Column -> what it is called in words, where its codes alone do not say."""

    @cached_property
    def codes(self) -> frozenset[str]:
        """The codes of all columns."""
        return frozenset().union(*self.columns.values())

    @cached_property
    def known(self) -> frozenset[str]:
        """The codes that are no surprise: those of the columns and the negative ones, and of a published set
        those of all sets of its kind."""
        return self.codes | self.negative | (known_codes(self.kind) if self.kind else frozenset())

    def of(self, codes: Iterable[str]) -> list[str]:
        """The columns that are positive for a record with these codes, in the order of the set."""
        of_record = frozenset(codes)
        return [column for column, any_of in self.columns.items() if not of_record.isdisjoint(any_of)]

    def unknown(self, codes: Iterable[str]) -> list[str]:
        """Codes of a record that the set does not know, in their order."""
        known = self.known
        return [code for code in codes if code not in known]

    def annotates(self, codes: Sequence[str]) -> bool:
        """Whether the set says something about a record with these codes, by its published rule."""
        if (self.annotated_if or self.codes).isdisjoint(codes):
            return False
        return not (self.all_mapped and self.unknown(codes))


def label_sets(kind: str) -> list[LabelSet]:
    """The published sets of a kind of source (`config.Source.kind`); none where none is published."""
    return [labels for labels in published() if labels.kind == kind]


def label_set(name: str) -> LabelSet:
    """The published set of a name. Raises KeyError where there is none."""
    return {labels.name: labels for labels in published()}[name]


@cache
def known_codes(kind: str) -> frozenset[str]:
    """The codes of all published sets of a kind of source."""
    return frozenset().union(*(labels.codes | labels.negative for labels in label_sets(kind)))


def unmapped(kind: str, codes: Iterable[str]) -> list[str]:
    """Codes of a record that no set of their kind knows; none where the kind has no set."""
    known = known_codes(kind)
    return [code for code in codes if known and code not in known]


@cache
def published() -> tuple[LabelSet, ...]:
    """Read `data/label_sets.toml`."""
    text = (files("supreme.records") / "data" / "label_sets.toml").read_text(encoding="utf-8")
    tables = tomllib.loads(text)
    for table in tables.values():
        if isinstance(name := table.get("annotated_if"), str):
            other = table if name == "known" else tables[name]
            codes = [code for any_of in other["columns"].values() for code in any_of]
            table["annotated_if"] = [*codes, *other.get("negative", ())]
    return tuple(_make(name, LabelSetTable.model_validate(table)) for name, table in tables.items())


class LabelSetTable(BaseModel):
    """A label set as TOML holds it."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    columns: dict[str, tuple[str, ...]]
    kind: str = ""
    version: str = "1"
    datasets: tuple[str, ...] = ()
    negative: tuple[str, ...] = ()
    annotated_if: tuple[str, ...] = ()
    all_mapped: bool = False
    names: dict[str, str] = {}

    @field_validator("columns")
    @classmethod
    def _has_codes(cls, columns: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        if not columns:
            raise ValueError('no column: give COLUMN = ["code", ...]')
        for name, codes in columns.items():
            if not codes:
                raise ValueError(f"{name!r} has no code, so that it would be negative everywhere: remove it")
            if name in RESERVED or not name.strip():
                raise ValueError(f"a column cannot be called {name!r}: rename it")
        return columns


def read(uri: str) -> LabelSet:
    """One's own label set from a TOML file; its name is the file's.

        datasets = ["ward-7"]        # names of the data sets that it describes
        version = "2"                # optional; change it with the labels
        negative = ["Z00"]           # optional: codes that are known and stand in no column
        [columns]
        AF = ["I48.0", "I48.1"]      # column = the codes that make it positive

    Raises:
        ConfigError: no such file, no TOML, or a key that is unknown, absent or wrong; the message names it.
    """
    table = read_toml(uri, LabelSetTable)
    if not table.datasets:
        raise ConfigError(f'{uri}: no `datasets`: name those that it describes, as datasets = ["ward-7"]')
    if table.kind:
        raise ConfigError(f"{uri}: `kind` is for published sets: give datasets = [...] instead")
    name = storage.filesystem(uri)[1].rpartition("/")[2].removesuffix(".toml")
    if name in {labels.name for labels in published()}:
        raise ConfigError(f"{uri}: a published label set is called {name!r} as well: rename the file")
    return _make(name, table)


def _make(name: str, table: LabelSetTable) -> LabelSet:
    columns = {column: frozenset(codes) for column, codes in table.columns.items()}
    return LabelSet(
        name,
        table.kind,
        columns,
        table.version,
        table.datasets,
        frozenset(table.negative),
        frozenset(table.annotated_if),
        table.all_mapped,
        table.names,
    )
