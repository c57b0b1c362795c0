"""One model on every data set: conditions, label sets under protocols, probes."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import pyarrow as pa

from supreme import config, storage
from supreme.evaluation import (
    benchmarks,
    datasets,
    invariance,
    protocols,
    results,
    subgroups,
    summary,
    zeroshot,
)
from supreme.evaluation.benchmark_results import QuerySetInvariance
from supreme.evaluation.benchmarks import CONDITIONS, Benchmark
from supreme.evaluation.bundle_scorer import Query
from supreme.evaluation.datasets import EvaluationSet, UnseenPart, logger
from supreme.evaluation.label_set_stage import LabelSetStage
from supreme.evaluation.label_verdicts import Verdicts
from supreme.evaluation.probe_stage import BASELINES, ProbeStage
from supreme.evaluation.questions import Questions
from supreme.evaluation.results import DatasetResult, EvaluatedModel, EvaluationResult
from supreme.evaluation.shard_reader import ShardReader
from supreme.evaluation.subjects import BundleSubject, NamedSubject, Subject
from supreme.evaluation.targets import Target
from supreme.inference.convention import InputConvention
from supreme.inference.query_model import EcgQueryModel
from supreme.inference.windows import windows_uv
from supreme.objectives.make import OBJECTIVES
from supreme.storage.parquet import write_table

#: The protocol that says how much of a record the conditions are asked about.
_WHOLE_RECORDS = "strict"
_OUTPUTS = "outputs"


def evaluate(
    recipe: config.Recipe,
    target: Target,
    loaded: EcgQueryModel | None,
    folder: str,
    parts: Sequence[UnseenPart],
) -> EvaluationResult:
    """Score, write `scores/`, `labels/` and `outputs/`, and summarise.

    Args:
        loaded: the model of a bundle; None for any other.

    Raises:
        ConfigError: a setting names what is not there, or a file of scores lacks records.
    """
    label_sets = LabelSetStage.of(recipe.evaluation, parts, recipe.seed, folder)
    conditions = datasets.conditions_of(parts)
    queries: dict[str, Query] = {}
    subject: Subject
    if loaded is not None:
        queries = {condition: zeroshot.queries_of(condition, loaded) for condition in conditions}
        together = not loaded.model.config.query_self_attention
        questions = Questions.of({CONDITIONS: queries} | label_sets.question_sets(), together=together)
        outputs = storage.join(folder, _OUTPUTS)
        subject = BundleSubject.of(loaded, target.uri, target.store, questions, outputs)
    else:
        subject = _named(target, folder, parts)
    whole = protocols.load()[_WHOLE_RECORDS]
    scored, tables = [], []
    for part in parts:
        one = subject.outputs(part, whole)
        if one.covers(part.benchmark.record_ids):
            scored.append(part)
            tables.append(zeroshot.condition_scores(subject, one, part, conditions, folder))
        else:
            logger.warning(f"{target.uri}: no record of {part.data.name}: it is not evaluated on it")
    sets = datasets.evaluation_sets(scored)
    for each in sets:
        _write_labels(folder, each.benchmark)
    described = _describe(target, loaded)
    if described.reads_reports:
        logger.warning("%s: reports of pre-training mention what is unseen as a query", target.uri)
    seen = loaded.vocabulary.ids if loaded else ()
    probes = None if subject.first_embedding is None else _probes(recipe, subject, loaded)
    result = _summarize(recipe, described, seen, sets, tables, label_sets.verdicts)
    return result.model_copy(
        update={
            "protocols": label_sets.evaluate(subject, probes),
            "invariance": _invariance(loaded, tuple(queries.values()), parts[0]) if loaded else None,
        }
    )


def _named(target: Target, folder: str, parts: Sequence[UnseenPart]) -> NamedSubject:
    if target.kind in ("scores", "embeddings"):
        ids = {record for part in parts for record in _record_ids(part)}
        return NamedSubject.from_file(target.uri, has_embeddings=target.kind == "embeddings", record_ids=ids)
    return NamedSubject.from_elsewhere(target.uri, storage.join(folder, _OUTPUTS))


def _record_ids(part: UnseenPart) -> list[str]:
    ids: list[str] = part.data.shards.table(("record_id",)).column("record_id").to_pylist()
    return ids


def _probes(recipe: config.Recipe, subject: Subject, loaded: EcgQueryModel | None) -> ProbeStage:
    """Random encoders have the architecture of the model, or that of the recipe beside one from elsewhere."""
    shards = recipe.shards
    model = loaded.model.config if loaded else recipe.model
    convention = (
        loaded.convention if loaded else InputConvention(rate_hz=shards.rate_hz, samples=shards.samples)
    )
    folder = recipe.folder(f"evaluation/{BASELINES}")
    return ProbeStage.of(recipe.evaluation.probes, recipe.seed, subject, model, convention, folder)


def _invariance(
    loaded: EcgQueryModel, queries: tuple[Query, ...], part: UnseenPart
) -> QuerySetInvariance | None:
    reader = ShardReader.of(part.data.shards, part.rows)
    if not reader.units or not queries:
        return None
    _, signals = reader.read(0)
    windows = [
        windows_uv(one.values, one.rate_hz, loaded.convention)[:1] for one in signals if one is not None
    ]
    return invariance.measure(loaded, queries, np.concatenate(windows))


def _write_labels(folder: str, benchmark: Benchmark) -> None:
    ids = {"record_id": list(benchmark.record_ids), "patient_id": list(benchmark.patients)}
    labels = {condition: benchmark.labels[:, c] for c, condition in enumerate(benchmark.classes)}
    write_table(storage.join(folder, "labels", f"{benchmark.dataset}.parquet"), pa.table(ids | labels))


def _describe(model: Target, loaded: EcgQueryModel | None) -> EvaluatedModel:
    selection = model.selection
    return EvaluatedModel(
        uri=model.uri,
        sha256=model.sha256,
        vocabulary=len(loaded.vocabulary) if loaded else 0,
        reads_reports=loaded is not None and OBJECTIVES[loaded.objective].reads_reports,
        selection_metric=selection.metric if selection else "",
        selection_value=summary.number(selection.value) if selection else None,
        selection_rule=selection.rule if selection else "",
        validation_digest=selection.validation_digest if selection else "",
        trained_on=loaded.trained_on.datasets if loaded and loaded.trained_on else None,
    )


def _summarize(
    recipe: config.Recipe,
    model: EvaluatedModel,
    seen: Collection[str],
    sets: Sequence[EvaluationSet],
    tables: list[pa.Table],
    verdicts: Verdicts,
) -> EvaluationResult:
    settings = recipe.evaluation
    parts: dict[str, DatasetResult] = {}
    for one in sets:
        name = one.benchmark.dataset
        scores = summary.matrix(tables, one.benchmark)
        rows = pa.concat_tables(part.data.shards.table(subgroups.COLUMNS) for part in one.parts)
        attributes = subgroups.attributes(rows, one.benchmark)
        protocol = summary.summarize(
            one.benchmark, one.literal, scores, seen, settings.min_positives, attributes
        )
        by_protocol = {results.ZERO_SHOT: protocol}
        corrected, labels = verdicts.apply(one.benchmark)
        if labels:
            by_protocol[results.CORRECTED] = summary.summarize(
                corrected, one.literal, scores, seen, settings.min_positives
            )
        alone = one.parts[0].data if name != benchmarks.POOLED else None
        parts[name] = DatasetResult(
            kind=alone.kind if alone else "",
            shards_digest=alone.shards.manifest.digest() if alone else "",
            splits=tuple(sorted({split for part in one.parts for split in part.splits})),
            left_out=one.left_out,
            protocols=by_protocol,
        )
    return EvaluationResult(
        recipe=recipe.name,
        seed=recipe.seed,
        min_positives=settings.min_positives,
        bootstrap=settings.bootstrap,
        model=model,
        datasets=parts,
    )
