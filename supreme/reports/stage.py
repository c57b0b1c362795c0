"""The label stage: shards' reports to the statement table, the vocabulary and the label table.

Reports are read twice, shard by shard: once for their unique statements, of which each is extracted once, and
once to label every record. Only the unique statements are held in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

from supreme import config, log, manifest, storage
from supreme.config import ConfigError, Recipe
from supreme.manifest import Request
from supreme.reports import corrections, extraction, linking, statement_table, umls
from supreme.reports.corrections import Corrections
from supreme.reports.extract import Extractor, RuleExtractor
from supreme.reports.extraction import Extraction
from supreme.reports.label_table import (
    ENTITIES,
    LABEL_SCHEMA,
    LABELS,
    VOCABULARY,
    Counts,
    Labeller,
    held_out,
    label,
    nested,
)
from supreme.reports.llm import extractor as llm_extractor
from supreme.reports.result import LABELS as LABELS_STAGE
from supreme.reports.result import LabelManifest, LabelResult
from supreme.reports.spread import Spread, in_process
from supreme.reports.statement_table import STATEMENTS, ShardSlice, Statement
from supreme.reports.vocabulary import Vocabulary, load_base
from supreme.runtime import observability
from supreme.shards.result import SHARDS
from supreme.storage import parquet

LINKS = "links.json"
#: What one task reads: enough to be worth the statements that it is sent.
RECORDS_PER_PART = 16_384

logger = log.get("labels")


def build(
    recipe: Recipe,
    shard_folders: list[str],
    folder: str,
    *,
    new: bool = False,
    spread: Spread = in_process,
    extractor: Extractor | None = None,
) -> LabelManifest:
    """Label every record of finished shard folders and publish the label stage.

    Where shards were extended, all labels are made again; replies of a language model are kept elsewhere.

    Args:
        spread: how tasks are spread over cores.
        extractor: instead of the rules.

    Raises:
        ConfigError: as of :func:`check`; a shard folder is unfinished, no entity is frequent enough, or the
            folder belongs to another configuration.
    """
    rules = extractor or RuleExtractor()
    base = load_base()
    corrected = check(recipe)
    request = _request(recipe, shard_folders, rules, corrected, base)
    with manifest.opened(folder, LABELS_STAGE, request, on_change="follow", new=new) as finished:
        return finished or _publish(recipe, shard_folders, folder, request, spread, rules, corrected)


def _publish(
    recipe: Recipe,
    shard_folders: list[str],
    folder: str,
    request: Request,
    spread: Spread,
    rules: Extractor,
    corrected: Corrections,
) -> LabelManifest:
    base = load_base()
    parts = statement_table.parts(shard_folders, RECORDS_PER_PART)
    unique = _collect(parts, spread)
    extracted = _extract(recipe, unique, rules, base, spread)
    corrected.check(extracted.vocabulary)
    kept_out = held_out(recipe, extracted.vocabulary)
    statements = _correct(extracted.statements, corrected)
    labeller = Labeller.of(
        {key: row.mentions for key, row in statements.items() if row.mentions},
        extracted.vocabulary,
        propagate=recipe.labels.propagate,
    )
    parquet.write_table(storage.join(folder, STATEMENTS), statement_table.to_table(statements))
    storage.write_json(storage.join(folder, ENTITIES), extracted.vocabulary.to_json())
    storage.write_json(storage.join(folder, LINKS), [one._asdict() for one in extracted.links.values()])
    counts = _label(storage.join(folder, LABELS), parts, labeller, spread)
    queries = _frequent(counts, extracted.vocabulary, kept_out, recipe.labels.min_count)
    storage.write_json(storage.join(folder, VOCABULARY), queries.to_json())
    result = _result(parts, statements, counts, extracted, corrected, queries, kept_out)
    logger.info(
        f"{result.records:,} records, {result.statements:,} unique statements, {len(queries)} entities; "
        f"{result.statements_without_entity:,} statements gave nothing"
    )
    return manifest.publish(folder, LABELS_STAGE, request, result)


def check(recipe: Recipe) -> Corrections:
    """What can be wrong with the request, seen before any work; the corrections.

    Raises:
        ConfigError: a held-out entity, a correction, `labels.umls` or `labels.compare_with` is wrong.
    """
    corrected = corrections.load(recipe.labels.corrections)
    if recipe.labels.extractor == "rules":  # a model may find entities that these name
        held_out(recipe)
        corrected.check(load_base())
    umls.fingerprint(recipe.labels.umls)
    if recipe.labels.corrections.startswith(recipe.folder("labels") + "/"):
        raise ConfigError("labels.corrections lies in the folder that is to be made: keep it elsewhere")
    if recipe.labels.compare_with == recipe.folder("labels"):
        raise ConfigError("labels.compare_with is the folder that is to be made: give an earlier one")
    if recipe.labels.compare_with:
        manifest.require(recipe.labels.compare_with, LABELS_STAGE)
    return corrected


def collect(shard_folders: Sequence[str], spread: Spread = in_process) -> dict[str, Statement]:
    """The unique statements of finished shard folders, for the plan of a language model."""
    return _collect(statement_table.parts(shard_folders, RECORDS_PER_PART), spread)


def _request(
    recipe: Recipe,
    shard_folders: Sequence[str],
    rules: Extractor,
    corrected: Corrections,
    base: Vocabulary,
) -> Request:
    own = {"corrections", "umls", "compare_with", "audit_samples"}
    sections: dict[str, Any] = {
        "labels": recipe.labels.model_dump(mode="json", exclude=own),
        "extractor": {"id": rules.id, "version": rules.version},
        "vocabulary": config.digest(base.to_json())[:12],
        "corrections": corrected.digest,
        "umls": umls.fingerprint(recipe.labels.umls),
    }
    if recipe.labels.extractor == "llm":
        encoder = recipe.text.model_dump(mode="json", include={"encoder", "revision", "pooling"})
        sections["llm"] = llm_extractor.version(recipe.llm)
        sections["linking"] = {"guard": linking.version(), "encoder": encoder}
    inputs = {recipe.stage_of(uri): manifest.require(uri, SHARDS).digest() for uri in shard_folders}
    return Request(stage="labels", config=sections, inputs=inputs)


def _collect(parts: Sequence[ShardSlice], spread: Spread) -> dict[str, Statement]:
    unique: dict[str, Statement] = {}
    progress = log.Progress(logger, "reports read", sum(part.rows for part in parts))
    done = 0
    for part, extracted in zip(parts, spread(statement_table.collect, parts, None), strict=True):
        statement_table.add(unique, extracted)
        done += part.rows
        progress.update(done, statements=len(unique))
    return unique


def _extract(
    recipe: Recipe,
    unique: dict[str, Statement],
    rules: Extractor,
    base: Vocabulary,
    spread: Spread,
) -> Extraction:
    terms = umls.read(recipe.labels.umls, base) if recipe.labels.umls else {}
    vocabulary = umls.add_codes(base, terms)
    if recipe.labels.extractor == "rules":
        return Extraction(extraction.by_rules(unique, rules, spread), vocabulary, {})
    from supreme import text  # PyTorch: three seconds that the rules can do without

    encoder = text.open_encoder(recipe.text)
    cache = storage.join(recipe.root, "embeddings")
    link = partial(
        linking.link,
        vocabulary=vocabulary,
        embed=lambda names: text.embed(names, encoder, cache),
        threshold=recipe.labels.link_threshold,
        min_count=recipe.labels.min_count,
        synonyms={entity: term.strings for entity, term in terms.items()},
    )
    read = partial(llm_extractor.read_all, llm=recipe.llm, folder=llm_extractor.cache_folder(recipe))
    return extraction.by_model(unique, read, llm_extractor.version(recipe.llm), link, rules, spread)


def _correct(statements: dict[str, Statement], corrected: Corrections) -> dict[str, Statement]:
    done = dict(statements)
    for key in corrected.by_statement:
        if key in done:
            mentions = corrected.apply(key, done[key].mentions)
            done[key] = done[key]._replace(mentions=mentions, corrected=True)
    unused = sum(key not in done for key in corrected.by_statement)
    if unused:
        logger.info(f"{unused:,} of {len(corrected.by_statement):,} corrected statements are in no report")
    return done


def _label(uri: str, parts: Sequence[ShardSlice], labeller: Labeller, spread: Spread) -> Counts:
    """Write the label table part by part, in the order of the shards."""
    total, covered = Counts(Counter(), 0), Counter({part.shards.folder: 0 for part in parts})
    progress = log.Progress(logger, "records labelled", sum(part.rows for part in parts))
    done = 0
    with parquet.writer(uri, LABEL_SCHEMA) as writer:
        for part, (table, counts) in zip(parts, spread(label, parts, labeller), strict=True):
            writer.write_table(table)
            covered[part.shards.folder] += counts.covered
            total.labels.update(counts.labels)
            total = total._replace(covered=total.covered + counts.covered)
            done += len(table)
            observability.add("supreme_records_total", len(table))
            progress.update(done)
    if total.covered and (silent := sorted(folder for folder, count in covered.items() if not count)):
        raise ConfigError(
            f"{', '.join(silent)}: no report there names an entity, so that every record would be trained on "
            "as one without findings: leave the source out of [[sources]]; real=FOLDER evaluates on it"
        )
    return total


def _frequent(counts: Counts, vocabulary: Vocabulary, kept_out: set[str], min_count: int) -> Vocabulary:
    queries = [
        entity_id
        for entity_id in vocabulary.ids
        if counts.labels[entity_id, "train", "present"] >= min_count and entity_id not in kept_out
    ]
    if not queries:
        raise ConfigError(
            f"no entity is present in {min_count} training reports: "
            "lower labels.min_count or give more records"
        )
    return vocabulary.subset(queries)


def _result(
    parts: Sequence[ShardSlice],
    statements: dict[str, Statement],
    counts: Counts,
    extracted: Extraction,
    corrected: Corrections,
    queries: Vocabulary,
    kept_out: set[str],
) -> LabelResult:
    records = sum(part.rows for part in parts)
    refusals = Counter(row.refusal for row in statements.values() if row.refusal)
    return LabelResult(
        records=records,
        statements=len(statements),
        statements_without_entity=sum(not row.mentions for row in statements.values()),
        statements_corrected=sum(row.corrected for row in statements.values()),
        corrections_unused=sum(key not in statements for key in corrected.by_statement),
        statements_refused=dict(sorted(refusals.items())),
        names_linked=dict(sorted(Counter(link.how for link in extracted.links.values()).items())),
        coverage=counts.covered / max(records, 1),
        vocabulary=len(queries),
        held_out=sorted(kept_out),
        entities=nested(counts.labels, extracted.vocabulary),
    )
