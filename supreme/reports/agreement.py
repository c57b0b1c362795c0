"""How far what reports say agrees with the codes that a data set gives its records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from supreme.reports.comparison import kappa
from supreme.reports.vocabulary import Vocabulary


class CodeAgreement(NamedTuple):
    """One code against the reports; counts are of records."""

    code: str
    entities: tuple[str, ...]
    coded: int
    stated: int
    both: int
    precision: float | None
    recall: float | None
    f1: float | None
    kappa: float | None


def agreement(
    labels: Sequence[Collection[str]], codes: Sequence[Collection[str]], vocabulary: Vocabulary, system: str
) -> list[CodeAgreement]:
    """Precision, recall, F1 and kappa of every code of a system, in the order of the vocabulary.

    Args:
        labels: the entities that are present in each record's report; what they imply may be left out.
        codes: each record's codes.
        system: key of `Entity.codes`; its other codes are ignored.

    A report says a code of an entity that it names or implies. It says too much only where it names the
    entity, or a kind of it without a code of its own, and the record has neither the code nor another of
    the same entity ("LPR" and "1AVB" are both a long PR interval), and where nothing more is said: an
    inverted T wave is not held against a missing "TAB_", T wave abnormality.

    Raises:
        ValueError: labels and codes are of different length.
    """
    owners = vocabulary.by_code(system)
    own = {entity: {code for code in owners if entity in owners[code]} for entity in vocabulary.ids}
    known: dict[frozenset[str], tuple[set[str], set[str]]] = {}
    coded: Counter[str] = Counter()
    both: Counter[str] = Counter()
    only: Counter[str] = Counter()
    for present, listed_codes in zip(labels, codes, strict=True):
        names = frozenset(present)
        if names not in known:
            known[names] = _said(names, own, vocabulary)
        stated, named = known[names]
        listed = owners.keys() & set(listed_codes)
        together = {code for one in listed for entity in owners[one] for code in own[entity]}
        coded.update(listed)
        both.update(listed & stated)
        only.update(named - together)
    return [
        _row(code, tuple(owners[code]), coded[code], both[code], only[code], len(labels)) for code in owners
    ]


def micro(rows: Iterable[CodeAgreement]) -> tuple[float, float]:
    """Precision and recall over several codes, each record and code counting once."""
    rows = list(rows)
    both = sum(row.both for row in rows)
    return both / max(sum(row.stated for row in rows), 1), both / max(sum(row.coded for row in rows), 1)


def _said(
    present: Collection[str], own: dict[str, set[str]], vocabulary: Vocabulary
) -> tuple[set[str], set[str]]:
    """The codes that a report says, and those that it names: of the nearest entities that have one."""
    nearest: set[str] = set()
    waiting = list(present)
    while waiting:
        entity = waiting.pop()
        if own[entity]:
            nearest.add(entity)
        else:
            waiting += [parent for parent in vocabulary[entity].parents if parent in own]
    implied = {above for entity in nearest for above in vocabulary.ancestors(entity)}
    stated = {code for entity in vocabulary.propagate(present) for code in own[entity]}
    return stated, {code for entity in nearest - implied for code in own[entity]}


def _row(
    code: str, entities: tuple[str, ...], coded: int, both: int, only: int, records: int
) -> CodeAgreement:
    stated = both + only
    precision = both / stated if stated else None
    recall = both / coded if coded else None
    f1 = 2 * both / (stated + coded) if stated + coded else None
    return CodeAgreement(
        code, entities, coded, stated, both, precision, recall, f1, kappa(both, coded - both, only, records)
    )
