"""The label sets of data sets: which columns the codes of a record stand for.

    for labels in label_sets("ptbxl"):
        labels.name, labels.of(("NORM", "SR"))  # "ptbxl-superclass", ["NORM"] ... "ptbxl-rhythm", ["SR"]
    unmapped("csn", ("426783006", "55827005"))  # ["55827005"]: in the data, but not in its list of names

A column that :meth:`LabelSet.of` does not name is negative. The sets stand in `data/label_sets.toml`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True)
class LabelSet:
    """Columns of labels for the records of one kind of source."""

    name: str
    kind: str
    columns: Mapping[str, frozenset[str]]
    """Column -> the codes that make it positive, in the set's order."""

    def of(self, codes: Iterable[str]) -> list[str]:
        """The columns that are positive for a record with these codes, in the order of the set."""
        of_record = frozenset(codes)
        return [column for column, any_of in self.columns.items() if not of_record.isdisjoint(any_of)]


def label_sets(kind: str) -> list[LabelSet]:
    """The label sets of a kind of source (`config.Source.kind`); none where it has no codes of its own."""
    return [labels for labels in _all() if labels.kind == kind]


def unmapped(kind: str, codes: Iterable[str]) -> list[str]:
    """Codes of a record that are in no column of any set of their kind; none where the kind has no set."""
    sets = label_sets(kind)
    known = frozenset().union(*(any_of for labels in sets for any_of in labels.columns.values()))
    return [code for code in codes if sets and code not in known]


@cache
def _all() -> tuple[LabelSet, ...]:
    text = (files("supreme.records") / "data" / "label_sets.toml").read_text(encoding="utf-8")
    return tuple(
        LabelSet(
            name, table["kind"], {column: frozenset(codes) for column, codes in table["columns"].items()}
        )
        for name, table in tomllib.loads(text).items()
    )
