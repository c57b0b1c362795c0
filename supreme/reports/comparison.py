"""Two readings of the same statements: agreement by entity, and what differs between two label folders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from supreme import manifest
from supreme.config import ConfigError, difference
from supreme.reports import statement_table
from supreme.reports.audit_figures import (
    DifferentStatement,
    EntityAgreement,
    ReadingComparison,
    RecordChange,
    VersionChange,
    VocabularyChange,
)
from supreme.reports.label_table import read_entities
from supreme.reports.result import LABELS as LABELS_STAGE
from supreme.reports.statement_table import Statement
from supreme.reports.vocabulary import Vocabulary

#: Statements with different labels that are listed, the most frequent first.
MAX_EXAMPLES = 200
_STRENGTH = {"absent": 0, "uncertain": 1, "present": 2}

Assertions = dict[str, str]
"""Entity -> assertion."""
EntityRecords = Mapping[str, Mapping[str, Mapping[str, int]]]
"""Entity -> split -> assertion -> records."""


def assertions(statement: Statement) -> Assertions:
    """The strongest assertion of each entity: present, then uncertain, then absent."""
    strongest: Assertions = {}
    for mention in statement.mentions:
        known = strongest.get(mention.entity)
        if known is None or _STRENGTH[mention.assertion] > _STRENGTH[known]:
            strongest[mention.entity] = mention.assertion
    return dict(sorted(strongest.items()))


def agreement(first: Mapping[str, Statement], second: Mapping[str, Statement]) -> list[EntityAgreement]:
    """Over the statements that both hold, one row an entity that either names, the most frequent first."""
    shared = first.keys() & second.keys()
    counts: dict[str, Counter[str]] = {}
    for key in shared:
        one, other = assertions(first[key]), assertions(second[key])
        for entity in one.keys() | other.keys():
            where = "both" if entity in one and entity in other else "first" if entity in one else "second"
            row = counts.setdefault(entity, Counter())
            row[where] += 1
            row["same"] += where == "both" and one[entity] == other[entity]
    rows = [
        EntityAgreement(
            entity=entity,
            both=row["both"],
            first_only=row["first"],
            second_only=row["second"],
            kappa=kappa(row["both"], row["first"], row["second"], len(shared)),
            same_assertion=row["same"] / row["both"] if row["both"] else None,
        )
        for entity, row in counts.items()
    ]
    return sorted(rows, key=lambda row: (-(row.both + row.first_only + row.second_only), row.entity))


def kappa(both: int, first_only: int, second_only: int, total: int) -> float | None:
    """Cohen's kappa of two yes-or-no readings; None where chance alone would agree everywhere."""
    if not total:
        return None
    observed = 1 - (first_only + second_only) / total
    one, other = (both + first_only) / total, (both + second_only) / total
    chance = one * other + (1 - one) * (1 - other)
    return (observed - chance) / (1 - chance) if chance < 1 else None


def differing(first: Mapping[str, Statement], second: Mapping[str, Statement]) -> list[DifferentStatement]:
    """The shared statements that are read differently, the most frequent first."""
    rows = []
    for key in first.keys() & second.keys():
        one, other = assertions(first[key]), assertions(second[key])
        if one != other:
            rows.append(
                DifferentStatement(
                    text=first[key].text,
                    records=second[key].records,
                    first=dict(one.items() - other.items()),
                    second=dict(other.items() - one.items()),
                )
            )
    return sorted(rows, key=lambda row: (-row.records, row.text))


def compare(first: Mapping[str, Statement], second: Mapping[str, Statement]) -> ReadingComparison:
    """Agreement and differing statements, for the audit."""
    different = differing(first, second)
    return ReadingComparison(
        shared=len(first.keys() & second.keys()),
        entities=agreement(first, second),
        different=len(different),
        examples=different[:MAX_EXAMPLES],
    )


def versions(folder: str, earlier: str) -> VersionChange:
    """What has changed from an earlier finished label folder to this one.

    Raises:
        ConfigError: the earlier folder is no finished label stage.
    """
    now, before = manifest.require(folder, LABELS_STAGE), manifest.require(earlier, LABELS_STAGE)
    if before.stage != now.stage:
        raise ConfigError(f"labels.compare_with: {earlier} is no label folder but one of {before.stage}")
    return VersionChange(
        earlier=earlier,
        configuration=difference(before.config, now.config),
        vocabulary=_vocabularies(read_entities(earlier), read_entities(folder)),
        records=_record_counts(before.result.entities, now.result.entities),
        coverage=(before.result.coverage, now.result.coverage),
        statements=compare(statement_table.read(earlier), statement_table.read(folder)),
    )


def _vocabularies(before: Vocabulary, now: Vocabulary) -> VocabularyChange:
    changed = {}
    for entity in now:
        if entity.id in before and before[entity.id] != entity:
            old, new = (each.model_dump(mode="json") for each in (before[entity.id], entity))
            changed[entity.id] = difference(old, new)
    return VocabularyChange(
        added=[entity.id for entity in now if entity.id not in before],
        removed=[entity.id for entity in before if entity.id not in now],
        changed=changed,
    )


def _record_counts(before: EntityRecords, now: EntityRecords) -> list[RecordChange]:
    rows = []
    for entity in before.keys() | now.keys():
        old, new = total(before.get(entity, {})), total(now.get(entity, {}))
        if old != new:
            rows.append(RecordChange(entity=entity, before=old, after=new))
    return sorted(rows, key=lambda row: (-abs(row.after["present"] - row.before["present"]), row.entity))


def total(splits: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    """Records over all splits that say present, uncertain and absent."""
    return {status: sum(split.get(status, 0) for split in splits.values()) for status in reversed(_STRENGTH)}
