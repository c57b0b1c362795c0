"""Two readings of the same statements: agreement by entity, and what differs between two label folders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from supreme import manifest
from supreme.config import ConfigError, difference
from supreme.reports import statement_table
from supreme.reports.label_table import read_entities
from supreme.reports.result import LABELS as LABELS_STAGE
from supreme.reports.statement_table import Statement
from supreme.reports.vocabulary import Vocabulary

#: Statements with different labels that are listed, the most frequent first.
MAX_EXAMPLES = 200
_STRENGTH = {"absent": 0, "uncertain": 1, "present": 2}

Said = dict[str, str]
"""Entity -> assertion."""


@dataclass(frozen=True)
class Agreement:
    """How far two readings agree that an entity is in a statement; counts are of unique statements."""

    entity: str
    both: int
    first_only: int
    second_only: int
    kappa: float | None
    """Cohen's; None where neither or both name it everywhere."""
    same_assertion: float | None
    """Share of ``both``."""


def said(statement: Statement) -> Said:
    """The strongest assertion of each entity: present, then uncertain, then absent."""
    found: Said = {}
    for mention in statement.mentions:
        held = found.get(mention.entity)
        if held is None or _STRENGTH[mention.assertion] > _STRENGTH[held]:
            found[mention.entity] = mention.assertion
    return dict(sorted(found.items()))


def agreement(first: Mapping[str, Statement], second: Mapping[str, Statement]) -> list[Agreement]:
    """Over the statements that both hold, one row an entity that either names, the most frequent first."""
    shared = first.keys() & second.keys()
    counts: dict[str, Counter[str]] = {}
    for key in shared:
        one, other = said(first[key]), said(second[key])
        for entity in one.keys() | other.keys():
            where = "both" if entity in one and entity in other else "first" if entity in one else "second"
            row = counts.setdefault(entity, Counter())
            row[where] += 1
            row["same"] += where == "both" and one[entity] == other[entity]
    rows = [
        Agreement(
            entity,
            row["both"],
            row["first"],
            row["second"],
            kappa(row["both"], row["first"], row["second"], len(shared)),
            row["same"] / row["both"] if row["both"] else None,
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


def differing(first: Mapping[str, Statement], second: Mapping[str, Statement]) -> list[dict[str, Any]]:
    """The shared statements read differently, most frequent first: text, records, what only one says."""
    rows = []
    for key in first.keys() & second.keys():
        one, other = said(first[key]), said(second[key])
        if one != other:
            rows.append(
                {
                    "text": first[key].text,
                    "records": second[key].records,
                    "first": dict(one.items() - other.items()),
                    "second": dict(other.items() - one.items()),
                }
            )
    return sorted(rows, key=lambda row: (-row["records"], row["text"]))


def compare(first: Mapping[str, Statement], second: Mapping[str, Statement]) -> dict[str, Any]:
    """Agreement and differing statements, for the audit."""
    different = differing(first, second)
    return {
        "shared": len(first.keys() & second.keys()),
        "entities": [asdict(row) for row in agreement(first, second)],
        "different": len(different),
        "examples": different[:MAX_EXAMPLES],
    }


def versions(folder: str, earlier: str) -> dict[str, Any]:
    """What has changed from an earlier finished label folder to this one.

    Raises:
        ConfigError: the earlier folder is no finished label stage.
    """
    now, before = manifest.require(folder, LABELS_STAGE), manifest.require(earlier, LABELS_STAGE)
    if before.stage != now.stage:
        raise ConfigError(f"labels.compare_with: {earlier} is no label folder but one of {before.stage}")
    return {
        "earlier": earlier,
        "configuration": difference(before.config, now.config),
        "vocabulary": _vocabularies(read_entities(earlier), read_entities(folder)),
        "records": _record_counts(before.result.entities, now.result.entities),
        "coverage": [before.result.coverage, now.result.coverage],
        "statements": compare(statement_table.read(earlier), statement_table.read(folder)),
    }


def _vocabularies(before: Vocabulary, now: Vocabulary) -> dict[str, Any]:
    changed = {}
    for entity in now:
        if entity.id in before and before[entity.id] != entity:
            old, new = (each.model_dump(mode="json") for each in (before[entity.id], entity))
            changed[entity.id] = difference(old, new)
    return {
        "added": [entity.id for entity in now if entity.id not in before],
        "removed": [entity.id for entity in before if entity.id not in now],
        "changed": changed,
    }


def _record_counts(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for entity in before.keys() | now.keys():
        old, new = total(before.get(entity, {})), total(now.get(entity, {}))
        if old != new:
            rows.append({"entity": entity, "before": old, "after": new})
    return sorted(
        rows, key=lambda row: (-abs(row["after"]["present"] - row["before"]["present"]), row["entity"])
    )


def total(splits: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    """Records over all splits that say present, uncertain and absent."""
    return {status: sum(split.get(status, 0) for split in splits.values()) for status in reversed(_STRENGTH)}
