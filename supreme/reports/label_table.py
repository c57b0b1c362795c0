"""The label table: what the report of each record says, from the statement table.

For one report, present beats uncertain beats absent. What is present implies its parents; what is uncertain
makes its parents uncertain, so that neither is trained on as a negative.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa

from supreme import storage
from supreme.config import ConfigError, Recipe
from supreme.reports import statement_table
from supreme.reports.extract import Mention
from supreme.reports.result import LabelManifest
from supreme.reports.statement_table import ShardSlice
from supreme.reports.vocabulary import Vocabulary, load_base
from supreme.storage import parquet

LABELS, VOCABULARY, ENTITIES = "labels.parquet", "vocabulary.json", "entities.json"

_IDS = pa.list_(pa.string())
LABEL_SCHEMA = pa.schema(
    [
        ("record_id", pa.string()),
        ("split", pa.string()),
        ("present", _IDS),
        ("uncertain", _IDS),
        ("absent", _IDS),
    ]
)


class ReportLabels(NamedTuple):
    """Entity ids of one report, sorted; no id is in two of them."""

    present: tuple[str, ...]
    uncertain: tuple[str, ...]
    absent: tuple[str, ...]


class Bits(NamedTuple):
    """What one statement says: entities as bits, so that a report's are an ``or`` over its statements."""

    present: int = 0
    uncertain: int = 0
    absent: int = 0


class Counts(NamedTuple):
    """Records by entity, split and assertion, and those with at least one present entity."""

    labels: Counter[tuple[str, str, str]]
    covered: int


@dataclass(frozen=True)
class Labeller:
    """Everything that turns a report into labels."""

    ids: tuple[str, ...]
    """Entities, sorted; number i has bit i."""
    bits_of: dict[str, Bits]
    """Folded statement -> what it says, with parents; a statement without mentions is not in it."""

    @classmethod
    def of(
        cls, mentions: Mapping[str, Iterable[Mention]], vocabulary: Vocabulary, *, propagate: bool = True
    ) -> Labeller:
        """From the mentions of each folded statement; ``propagate`` adds parents."""
        ids = tuple(sorted(vocabulary.ids))
        number = {entity_id: at for at, entity_id in enumerate(ids)}
        up = {i: _bits(number[p] for p in ({i, *vocabulary.ancestors(i)} if propagate else {i})) for i in ids}
        bits_of = {}
        for key, entries in mentions.items():
            bits = {"present": 0, "uncertain": 0, "absent": 0}
            for mention in entries:
                own = 1 << number[mention.entity]
                bits[mention.assertion] |= own if mention.assertion == "absent" else up[mention.entity]
            if any(bits.values()):
                bits_of[key] = Bits(**bits)
        return cls(ids, bits_of)

    def labels(self, keys: Iterable[str]) -> Bits:
        """The labels of a report with these folded statements; no bit is in two of them."""
        present = uncertain = absent = 0
        for key in keys:
            bits = self.bits_of.get(key)
            if bits:
                present |= bits.present
                uncertain |= bits.uncertain
                absent |= bits.absent
        uncertain &= ~present
        return Bits(present, uncertain, absent & ~(present | uncertain))

    def names(self, bits: int) -> tuple[str, ...]:
        """The entities of a set of bits, sorted."""
        entries = []
        while bits:
            lowest = bits & -bits
            entries.append(self.ids[lowest.bit_length() - 1])
            bits ^= lowest
        return tuple(entries)


def combine(mentions: Iterable[Mention], vocabulary: Vocabulary, *, propagate: bool = True) -> ReportLabels:
    """One report's labels: present with parents, then uncertain with parents, then absent."""
    labeller = Labeller.of({"": mentions}, vocabulary, propagate=propagate)
    return ReportLabels(*(labeller.names(bits) for bits in labeller.labels([""])))


def label(part: ShardSlice, labeller: Labeller) -> tuple[pa.Table, Counts]:
    """The rows of the label table for a part's records, in their order, and their counts."""
    tables = []
    counts = Counts(Counter(), 0)
    for shard in statement_table.read_columns(part, ["record_id", "report", "split"]):
        reports, indices = statement_table.unique_reports(shard)
        entries = [labeller.labels(statement_table.keys_of(report)) for report in reports]
        columns = {
            name: pa.array([labeller.names(bits[at]) for bits in entries], _IDS).take(indices)
            for at, name in enumerate(ReportLabels._fields)
        }
        table = pa.table({"record_id": shard["record_id"], "split": shard["split"], **columns}, LABEL_SCHEMA)
        tables.append(table)
        counts = _count(table, counts)
    return pa.concat_tables(tables), counts


def _count(table: pa.Table, counts: Counts) -> Counts:
    covered = counts.covered
    splits = table["split"].combine_chunks()
    for name in ReportLabels._fields:
        lists = table[name].combine_chunks()
        own = splits.take(lists.value_parent_indices())
        pairs = pa.table({"entity": lists.flatten(), "split": own}).group_by(["entity", "split"])
        for row in pairs.aggregate([([], "count_all")]).to_pylist():
            counts.labels[row["entity"], row["split"], name] += row["count_all"]
        if name == "present":
            covered += len(lists.value_parent_indices().unique())
    return Counts(counts.labels, covered)


def nested(
    counts: Counter[tuple[str, str, str]], vocabulary: Vocabulary
) -> dict[str, dict[str, dict[str, int]]]:
    """Entity -> split -> "present", "uncertain" or "absent" -> records; only what was mentioned."""
    by_entity: dict[str, dict[str, dict[str, int]]] = {}
    for (entity_id, split, status), records in sorted(counts.items()):
        by_entity.setdefault(entity_id, {}).setdefault(split, {})[status] = records
    return {entity_id: by_entity[entity_id] for entity_id in vocabulary.ids if entity_id in by_entity}


def held_out(recipe: Recipe, vocabulary: Vocabulary | None = None) -> set[str]:
    """The entities kept out of pre-training, with everything that implies one of them.

    Raises:
        ConfigError: one is unknown; the message has the nearest.
    """
    known = vocabulary or load_base()
    for entity_id in recipe.labels.held_out:
        if entity_id not in known:
            raise ConfigError(
                f"labels.held_out: no entity {entity_id!r}; nearest: {known.nearest(entity_id)!r}"
            )
    requested = set(recipe.labels.held_out)
    return requested | {entity.id for entity in known if known.ancestors(entity.id) & requested}


def read_vocabulary(folder: str) -> Vocabulary:
    """The vocabulary of queries that a finished label stage wrote: frequent enough, and not held out."""
    return Vocabulary.from_json(storage.read_json(storage.join(folder, VOCABULARY)))


def read_unseen(folder: str, labels: LabelManifest) -> Vocabulary:
    """The entities that a finished label stage held out: the label table has them, the vocabulary has not."""
    ids = labels.result.held_out
    return read_entities(folder).subset(ids) if ids else Vocabulary([])


def read_entities(folder: str) -> Vocabulary:
    """Every entity that a finished label stage could find."""
    return Vocabulary.from_json(storage.read_json(storage.join(folder, ENTITIES)))


def read_labels(folder: str) -> pa.Table:
    """The label table of a finished label stage: record_id, split, present, uncertain, absent."""
    return parquet.read_table(storage.join(folder, LABELS), schema=LABEL_SCHEMA)


def _bits(numbers: Iterable[int]) -> int:
    return sum(1 << number for number in set(numbers))
