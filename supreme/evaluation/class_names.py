"""What the classes of a benchmark are called: their entity of the vocabulary, by codes or by name.

class_names("ptbxl-rhythm", ["AFIB"])["AFIB"]  # "atrial fibrillation", entity "atrial_fibrillation"
class_names("ptbxl-superclass", ["CD"])["CD"]  # "conduction disturbance", no entity, eleven members
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from supreme.records.label_sets import LabelSet, published
from supreme.reports.queries import known_entity
from supreme.reports.vocabulary import CODE_SYSTEMS, load_base


@dataclass(frozen=True)
class ClassName:
    """One class in words."""

    name: str
    entity: str = ""
    """Id in the base vocabulary; "" where no single entity is meant."""
    members: tuple[str, ...] = ()
    """Entities of the codes that make the class positive, where their names are not its own."""


def class_names(benchmark: str, classes: Iterable[str], own: Sequence[LabelSet] = ()) -> dict[str, ClassName]:
    """The classes of a benchmark in words.

    Args:
        benchmark: name of a label set; of any other benchmark a class is an entity id or a phrase.
        own: one's own label sets.
    """
    sets = {labels.name: labels for labels in (*published(), *own)}
    return {column: _class_name(column, sets.get(benchmark)) for column in classes}


def _class_name(column: str, labels: LabelSet | None) -> ClassName:
    base = load_base()
    if labels is None:
        return _by_name(column)
    by_code = base.by_code(CODE_SYSTEMS.get(labels.kind, ""))
    members = sorted({entity for code in labels.columns[column] for entity in by_code.get(code, ())})
    if len(members) == 1 and column not in labels.names:
        return ClassName(base[members[0]].name, members[0])
    return replace(_by_name(labels.names.get(column, column)), members=tuple(members))


def _by_name(phrase: str) -> ClassName:
    base = load_base()
    entity = phrase if phrase in base else known_entity(phrase, base)
    return ClassName(base[entity].name, entity) if entity else ClassName(phrase.replace("_", " "))
