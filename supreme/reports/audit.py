"""The figures of the audit of a finished label stage: what was found, what not, and who agrees with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from supreme import manifest, storage
from supreme.config import Recipe
from supreme.reports import comparison, extraction, label_table, stage, statement_table
from supreme.reports.agreement import agreement
from supreme.reports.audit_figures import (
    Audit,
    AuditRequest,
    CodeCounts,
    EntityCounts,
    LinkedName,
    ReadingComparison,
    Sample,
    SampleStatement,
    Unmatched,
)
from supreme.reports.extract import RuleExtractor
from supreme.reports.label_table import Bits, Labeller
from supreme.reports.result import LABELS as LABELS_STAGE
from supreme.reports.result import LabelManifest
from supreme.reports.spread import Spread, in_process
from supreme.reports.statement_table import ShardSlice, Statement
from supreme.reports.vocabulary import CODE_SYSTEMS, Vocabulary

#: Statements without an entity that are listed.
MAX_UNMATCHED = 200


def request(recipe: Recipe, labelled: LabelManifest) -> AuditRequest:
    """What decides the audit of a label stage."""
    earlier = recipe.labels.compare_with
    return AuditRequest(
        labels=labelled.digest(),
        compare_with=manifest.require(earlier, LABELS_STAGE).digest() if earlier else "",
        samples=recipe.labels.audit_samples,
        seed=recipe.seed,
    )


def measure(recipe: Recipe, shard_folders: Sequence[str], folder: str, spread: Spread = in_process) -> Audit:
    """All figures of the audit page.

    Raises:
        ConfigError: the stage, its shards or `labels.compare_with` is not finished.
    """
    labelled = manifest.require(folder, LABELS_STAGE)
    statements = statement_table.read(folder)
    vocabulary = label_table.read_entities(folder)
    labeller = Labeller.of(
        {key: row.mentions for key, row in statements.items() if row.mentions},
        vocabulary,
        propagate=recipe.labels.propagate,
    )
    earlier = recipe.labels.compare_with
    links = storage.read_json(storage.join(folder, stage.LINKS))
    return Audit(
        request=request(recipe, labelled),
        recipe=recipe.name,
        created=labelled.created,
        config=labelled.config,
        counts=labelled.result,
        entities=_entities(labelled, vocabulary, folder),
        unmatched=_unmatched(statements),
        links=[LinkedName.model_validate(link) for link in links],
        rules=_against_rules(statements, spread) if recipe.labels.extractor == "llm" else None,
        codes=_codes(recipe, shard_folders, labeller, vocabulary, spread),
        samples=_samples(recipe, shard_folders, labeller, statements),
        versions=comparison.versions(folder, earlier) if earlier else None,
    )


def _entities(labelled: LabelManifest, vocabulary: Vocabulary, folder: str) -> list[EntityCounts]:
    queries = set(label_table.read_vocabulary(folder).ids)
    held_out = set(labelled.result.held_out)
    rows = []
    for entity in vocabulary:
        counted = labelled.result.entities.get(entity.id, {})
        use = "query" if entity.id in queries else "held out" if entity.id in held_out else "rare"
        rows.append(
            EntityCounts(
                id=entity.id,
                name=entity.name,
                group=entity.group,
                use=use,
                train=counted.get("train", {}).get("present", 0),
                **comparison.total(counted),
            )
        )
    return sorted(rows, key=lambda row: (-row.present, -row.uncertain, row.id))


def _unmatched(statements: Mapping[str, Statement]) -> Unmatched:
    empty = sorted(
        (row for row in statements.values() if not row.mentions), key=lambda row: (-row.records, row.text)
    )
    return Unmatched(
        statements=len(empty),
        occurrences=sum(row.records for row in empty),
        of=sum(row.records for row in statements.values()),
        most_frequent=[(row.text, row.records) for row in empty[:MAX_UNMATCHED]],
    )


def _against_rules(statements: Mapping[str, Statement], spread: Spread) -> ReadingComparison:
    """The language model's readings against the rules', where it gave one."""
    read = {key: row for key, row in statements.items() if not row.refusal}
    return comparison.compare(extraction.by_rules(read, RuleExtractor(), spread), read)


def _codes(
    recipe: Recipe,
    shard_folders: Sequence[str],
    labeller: Labeller,
    vocabulary: Vocabulary,
    spread: Spread,
) -> dict[str, list[CodeCounts]]:
    """Data set -> its codes, the most frequent first, with the agreement of the reports."""
    result = {}
    for source, folder in zip(recipe.sources, shard_folders, strict=True):
        system = CODE_SYSTEMS.get(source.kind, "")
        if not system:
            continue
        coded = _simulated(vocabulary) if system == "simulated" else vocabulary
        parts = statement_table.parts([folder], stage.RECORDS_PER_PART)
        records = [record for part in spread(labels_and_codes, parts, labeller) for record in part]
        present = [labeller.names(bits.present) for bits, _ in records]
        rows = agreement(present, [codes for _, codes in records], coded, system)
        uncertain = _uncertain(records, labeller, coded.by_code(system))
        result[source.dataset] = [
            CodeCounts(**row._asdict(), uncertain=uncertain[row.code])
            for row in sorted(rows, key=lambda row: -row.coded)
            if row.coded
        ]
    return result


def labels_and_codes(part: ShardSlice, labeller: Labeller) -> list[tuple[Bits, list[str]]]:
    """What the report of each record of a part says, and its codes."""
    result: list[tuple[Bits, list[str]]] = []
    for shard in statement_table.read_columns(part, ["report", "codes"]):
        reports, indices = statement_table.unique_reports(shard)
        labels = [labeller.labels(statement_table.keys_of(report)) for report in reports]
        own = (labels[at] for at in indices.to_pylist())
        result += zip(own, shard["codes"].to_pylist(), strict=True)
    return result


def _uncertain(
    records: Sequence[tuple[Bits, list[str]]], labeller: Labeller, owners: Mapping[str, list[str]]
) -> Counter[str]:
    """Code -> records that have it and whose report is in doubt about it."""
    number = {entity_id: at for at, entity_id in enumerate(labeller.ids)}
    masks = {code: sum(1 << number[entity] for entity in ids) for code, ids in owners.items()}
    return Counter(
        code
        for bits, codes in records
        for code in codes
        if code in masks and bits.uncertain & masks[code] and not bits.present & masks[code]
    )


def _simulated(vocabulary: Vocabulary) -> Vocabulary:
    """With the codes of simulated records: what is true of them, by entity id."""
    return Vocabulary(
        entity.model_copy(update={"codes": {"simulated": [entity.id]}}) for entity in vocabulary
    )


def _samples(
    recipe: Recipe,
    shard_folders: Sequence[str],
    labeller: Labeller,
    statements: Mapping[str, Statement],
) -> list[Sample]:
    """Reports drawn at random with their statements, the places of the findings, and the record's labels."""
    parts = statement_table.parts(shard_folders, 1)
    starts = np.cumsum([0, *(part.rows for part in parts)])
    records, number = int(starts[-1]), recipe.labels.audit_samples
    rng = np.random.default_rng(recipe.seed)
    drawn = np.sort(rng.choice(records, min(number, records), replace=False))
    samples = []
    for part, start in zip(parts, starts, strict=False):
        here = drawn[(drawn >= start) & (drawn < start + part.rows)] - start
        if len(here):
            table = pa.concat_tables(statement_table.read_columns(part, ["record_id", "report", "codes"]))
            samples += [
                _sample(row["record_id"], row["report"], row["codes"], labeller, statements)
                for row in table.take(here).to_pylist()
            ]
    return samples


def _sample(
    record_id: str, report: str, codes: list[str], labeller: Labeller, statements: Mapping[str, Statement]
) -> Sample:
    keys = statement_table.keys_of(report)
    bits = labeller.labels(keys)
    return Sample(
        record_id=record_id,
        codes=codes,
        labels={name: labeller.names(own) for name, own in bits._asdict().items()},
        statements=[
            SampleStatement(
                text=statements[key].text,
                corrected=statements[key].corrected,
                mentions=[(m.start, m.end, m.entity, m.assertion, m.cue) for m in statements[key].mentions],
            )
            for key in keys
        ],
    )
