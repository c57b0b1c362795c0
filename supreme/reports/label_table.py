"""The label stage: shards' reports to the statement table, the vocabulary and the label table.

For one report, present beats uncertain beats absent. What is present implies its parents; what is uncertain
makes its parents uncertain, so that neither is trained on as a negative.
"""

from __future__ import annotations

import difflib
import io
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from supreme import log, manifest, storage
from supreme.config import ConfigError, Recipe
from supreme.manifest import Manifest, Request
from supreme.reports import statements
from supreme.reports.extract import Extractor, Mention, RuleExtractor
from supreme.reports.vocabulary import Vocabulary, load_base
from supreme.shards.read import Shards

STATEMENTS, LABELS = "statements.parquet", "labels.parquet"
VOCABULARY, UNMATCHED = "vocabulary.json", "unmatched.json"
MAX_UNMATCHED = 1000

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
_MENTION = pa.struct(
    [
        ("entity", pa.string()),
        ("assertion", pa.string()),
        ("grade", pa.string()),
        ("cue", pa.string()),
        ("start", pa.int32()),
        ("end", pa.int32()),
    ]
)
STATEMENT_SCHEMA = pa.schema(
    [
        ("statement_id", pa.string()),
        ("text", pa.string()),
        ("reports", pa.int64()),
        ("mentions", pa.list_(_MENTION)),
        ("extractor", pa.string()),
        ("extractor_version", pa.string()),
    ]
)


class Labels(NamedTuple):
    """Entity ids of one report, sorted; no id is in two of them."""

    present: tuple[str, ...]
    uncertain: tuple[str, ...]
    absent: tuple[str, ...]


class Statements:
    """Unique statements, each extracted once, with the number of records that hold it."""

    def __init__(self, extractor: Extractor) -> None:
        self.extractor = extractor
        self.texts: dict[str, str] = {}
        self.mentions: dict[str, list[Mention]] = {}
        self.count: Counter[str] = Counter()

    def add(self, report: str, records: int) -> list[Mention]:
        """The mentions of all statements of a report that ``records`` records share."""
        found: list[Mention] = []
        for statement in statements.split(report):
            key = statements.fold(statement)
            if key not in self.mentions:
                self.texts[key] = statement
                self.mentions[key] = self.extractor.extract(statement)
            self.count[key] += records
            found += self.mentions[key]
        return found

    def unmatched(self) -> list[tuple[str, int]]:
        """Statements without an entity and their counts, most frequent first."""
        empty = {self.texts[key]: self.count[key] for key, found in self.mentions.items() if not found}
        return sorted(empty.items(), key=lambda item: (-item[1], item[0]))

    def table(self) -> pa.Table:
        keys = sorted(self.texts)
        mentions = [
            [{name: getattr(m, name) for name in _MENTION.names} for m in self.mentions[k]] for k in keys
        ]
        return pa.table(
            {
                "statement_id": [statements.digest(self.texts[key]) for key in keys],
                "text": [self.texts[key] for key in keys],
                "reports": [self.count[key] for key in keys],
                "mentions": mentions,
                "extractor": [self.extractor.id] * len(keys),
                "extractor_version": [self.extractor.version] * len(keys),
            },
            schema=STATEMENT_SCHEMA,
        )


def combine(mentions: Iterable[Mention], vocabulary: Vocabulary) -> Labels:
    """One report's labels: present with parents, then uncertain with parents, then absent."""
    by_status: dict[str, set[str]] = {"present": set(), "uncertain": set(), "absent": set()}
    for mention in mentions:
        by_status[mention.assertion].add(mention.entity)
    present = vocabulary.propagate(by_status["present"])
    uncertain = vocabulary.propagate(by_status["uncertain"]) - present
    absent = by_status["absent"] - present - uncertain
    return Labels(tuple(sorted(present)), tuple(sorted(uncertain)), tuple(sorted(absent)))


def build(
    recipe: Recipe,
    shard_folders: list[str],
    folder: str,
    *,
    new: bool = False,
    extractor: Extractor | None = None,
) -> Manifest:
    """Label every record of finished shard folders and publish the label stage.

    Raises:
        ConfigError: a shard folder is unfinished, a held-out entity is unknown, or the folder belongs to
            another configuration.
    """
    base = load_base()
    rules = extractor or RuleExtractor()
    kept_out = held_out(recipe)
    request = Request(
        stage="labels",
        config={
            "labels": recipe.labels.model_dump(mode="json"),
            "extractor": {"id": rules.id, "version": rules.version},
        },
        inputs={recipe.stage_of(uri): manifest.require(uri, "shard").digest() for uri in shard_folders},
    )
    finished = manifest.begin(folder, request, new=new)
    if finished is not None:
        return finished
    records = pa.concat_tables(
        [Shards.open(source).table(columns=["record_id", "report", "split"]) for source in shard_folders]
    )
    seen = Statements(rules)
    labels, indices = _label_reports(records, seen, base)
    table = _label_table(records, labels, indices)
    counts = _count(table, base)
    kept = [
        entity.id
        for entity in base
        if _present_in_train(counts, entity.id) >= recipe.labels.min_count and entity.id not in kept_out
    ]
    if not kept:
        raise ConfigError(
            f"no entity is present in {recipe.labels.min_count} training reports: "
            "lower labels.min_count or give more records"
        )
    unmatched = seen.unmatched()
    _write_parquet(storage.join(folder, STATEMENTS), seen.table())
    _write_parquet(storage.join(folder, LABELS), table)
    storage.write_json(storage.join(folder, VOCABULARY), base.subset(kept).to_json())
    storage.write_json(storage.join(folder, UNMATCHED), dict(unmatched[:MAX_UNMATCHED]))
    covered = sum(bool(labels[index].present) for index in indices)
    log.get("labels").info(
        f"{len(records):,} records, {len(seen.texts):,} unique statements, {len(kept)} entities; "
        f"{len(unmatched):,} statements gave nothing"
    )
    return manifest.publish(
        folder,
        request,
        {
            "records": len(records),
            "statements": len(seen.texts),
            "statements_without_entity": len(unmatched),
            "coverage": covered / max(len(records), 1),
            "vocabulary": len(kept),
            "held_out": sorted(kept_out),
            "entities": counts,
        },
    )


def read_vocabulary(folder: str) -> Vocabulary:
    """The vocabulary that a finished label stage wrote."""
    return Vocabulary.from_json(storage.read_json(storage.join(folder, VOCABULARY)))


def read_labels(folder: str) -> pa.Table:
    """The label table of a finished label stage: record_id, split, present, uncertain, absent."""
    return pq.read_table(io.BytesIO(storage.read_bytes(storage.join(folder, LABELS))))


def _label_reports(records: pa.Table, seen: Statements, base: Vocabulary) -> tuple[list[Labels], list[int]]:
    encoded = records.column("report").combine_chunks().fill_null("").dictionary_encode()
    indices = encoded.indices.to_pylist()
    share = Counter(indices)
    progress = log.Progress(log.get("labels"), "reports", len(encoded.dictionary))
    labels = []
    for number, report in enumerate(encoded.dictionary.to_pylist()):
        labels.append(combine(seen.add(report, share[number]), base))
        if number % 4096 == 4095:
            progress.update(number + 1)
    return labels, indices


def _label_table(records: pa.Table, labels: list[Labels], indices: list[int]) -> pa.Table:
    take = pa.array(indices, pa.int32())
    columns = {
        name: pa.array([list(getattr(label, name)) for label in labels], _IDS).take(take)
        for name in Labels._fields
    }
    return pa.table(
        {"record_id": records["record_id"], "split": records["split"], **columns}, schema=LABEL_SCHEMA
    )


def _count(table: pa.Table, base: Vocabulary) -> dict[str, dict[str, dict[str, int]]]:
    """Entity -> split -> "present", "uncertain" or "absent" -> records; only what was mentioned."""
    counts: dict[str, dict[str, dict[str, int]]] = {}
    for split in sorted(set(table["split"].to_pylist())):
        rows = table.filter(pc.equal(table["split"], split))
        for status in Labels._fields:
            found = rows[status].combine_chunks().flatten().value_counts()
            for item in found.to_pylist():
                counts.setdefault(item["values"], {}).setdefault(split, {})[status] = item["counts"]
    return {entity.id: counts[entity.id] for entity in base if entity.id in counts}


def _present_in_train(counts: dict[str, dict[str, dict[str, int]]], entity_id: str) -> int:
    return counts.get(entity_id, {}).get("train", {}).get("present", 0)


def held_out(recipe: Recipe) -> set[str]:
    """The entities kept out of pre-training, with everything that implies one of them.

    Raises:
        ConfigError: one is unknown; the message has the nearest.
    """
    base = load_base()
    for entity_id in recipe.labels.held_out:
        if entity_id not in base:
            near = difflib.get_close_matches(entity_id, base.ids, n=1, cutoff=0)[0]
            raise ConfigError(f"labels.held_out: no entity {entity_id!r}; nearest: {near!r}")
    wanted = set(recipe.labels.held_out)
    return wanted | {entity.id for entity in base if base.ancestors(entity.id) & wanted}


def _write_parquet(uri: str, table: pa.Table) -> None:
    sink: Any = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    storage.write_bytes(uri, sink.getvalue())
