"""The evaluation stage: one model on every sharded data set with labels, and on the real ones pooled.

The bundle says what its model has seen, never the recipe: recordings of its training and validation are left
out wherever they turn up, and counted.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import pyarrow as pa

from supreme import config, manifest, storage, tracking
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
from supreme.evaluation.bundle_scorer import BundleScorer, Query
from supreme.evaluation.class_results import GROUPS
from supreme.evaluation.datasets import DataSet, EvaluationSet, UnseenPart, logger
from supreme.evaluation.label_set_stage import LabelSetStage
from supreme.evaluation.model_outputs import ModelOutputs
from supreme.evaluation.probe_stage import BASELINES, ProbeStage
from supreme.evaluation.questions import Questions
from supreme.evaluation.results import (
    EVALUATION,
    DatasetResult,
    EvaluatedModel,
    EvaluationPlan,
    EvaluationResult,
    EvaluationSummary,
)
from supreme.evaluation.shard_reader import ShardReader
from supreme.evaluation.targets import Target, folder_of, model_uri, target
from supreme.inference.engine import FEW_RECORDS
from supreme.inference.query_model import EcgQueryModel
from supreme.inference.windows import windows_uv
from supreme.objectives.make import OBJECTIVES
from supreme.records import all_sources
from supreme.registry import versions
from supreme.runtime.session import ray_session
from supreme.shards.read import ShardDataset
from supreme.shards.result import SHARDS
from supreme.storage.parquet import write_table

#: One core of a laptop, the model of the demo recipe.
_RECORDS_PER_SECOND = 100
#: The protocol that says how much of a record the conditions are asked about.
_WHOLE_RECORDS = "strict"


def plan(recipe: config.Recipe) -> EvaluationPlan:
    """What :func:`run` would do; needs neither model nor shards."""
    records: dict[str, int | None] = {}
    for source in all_sources(recipe):
        if datasets.is_evaluated(recipe, source):
            records[source.dataset] = None
            folder = datasets.shard_folder(recipe, source)
            if manifest.read(folder, SHARDS):
                records[source.dataset] = sum(group.rows for group in ShardDataset.open(folder).row_groups())
    known = sum(count or 0 for count in records.values())
    seconds = round(known / _RECORDS_PER_SECOND) + 10
    return EvaluationPlan(model_uri=model_uri(recipe), at_most=records, seconds=seconds)


def run(
    recipe: config.Recipe, uri: str = "", *, on_change: manifest.OnChange = "follow", new: bool = False
) -> EvaluationResult:
    """Evaluate a model; `results.json`, `scores/` and `labels/` (Parquet) are written to its folder.

    With more data sets than before, or extended ones, it is evaluated anew, on all of them.

    Args:
        on_change: what becomes of results that were made with other settings, as of `manifest.begin`.

    Raises:
        NothingToEvaluate: no record with labels that the model has not seen.
        ConfigError: no such model, or unfinished shards.
    """
    model = target(recipe, uri)
    labelled = datasets.datasets(recipe)
    folder = folder_of(recipe, model)
    request = _request(recipe, model, labelled)
    if manifest.begin(folder, EVALUATION, request, on_change=on_change, new=new):
        logger.info("%s is finished", folder)
        return results.read(folder)
    loaded = versions.load(model.uri, model.store, quality_checked=True)
    if loaded.trained_on is None:
        logger.warning(
            "%s does not say what it was trained on: records that it has seen cannot be left out", model.uri
        )
    parts = datasets.unseen_parts(labelled, loaded.trained_on)
    if not parts:
        raise datasets.NothingToEvaluate(
            "nothing to evaluate on: no record with labels that the model has not seen; give real=FOLDER"
        )
    evaluated = _describe(model, loaded)
    if evaluated.reads_reports:
        logger.warning("%s: reports of pre-training mention what is unseen as a query", loaded.objective)
    records = sum(len(part.benchmark.record_ids) for part in parts)
    # Few records are scored in less time than a session takes to start.
    with ray_session() if records >= FEW_RECORDS else nullcontext():
        result = _evaluate(recipe, model, loaded, folder, parts, evaluated)
    uri = storage.join(folder, results.RESULTS)
    storage.write_json(uri, result.model_dump(mode="json"))
    _track(model, result, uri)
    counts = {part.data.name: len(part.benchmark.record_ids) for part in parts}
    manifest.publish(folder, EVALUATION, request, EvaluationSummary(records=counts))
    return result


def _evaluate(
    recipe: config.Recipe,
    model: Target,
    loaded: EcgQueryModel,
    folder: str,
    parts: Sequence[UnseenPart],
    evaluated: EvaluatedModel,
) -> EvaluationResult:
    settings = recipe.evaluation
    label_sets = LabelSetStage.of(settings, parts, recipe.seed, folder)
    conditions = datasets.conditions_of(parts)
    own_set = {condition: zeroshot.queries_of(condition, loaded) for condition in conditions}
    together = not loaded.model.config.query_self_attention
    questions = Questions.of({CONDITIONS: own_set} | label_sets.question_sets(), together=together)
    scorer = BundleScorer.of(loaded, model.uri, model.store, questions.groups)
    outputs = ModelOutputs(scorer, storage.join(folder, "outputs"))
    whole = protocols.load()[_WHOLE_RECORDS]
    tables = [
        zeroshot.condition_scores(outputs.of(part, whole), part, questions, conditions, folder)
        for part in parts
    ]
    sets = datasets.evaluation_sets(parts)
    for one in sets:
        _write_labels(folder, one.benchmark)
    probes = ProbeStage.of(
        settings.probes,
        recipe.seed,
        outputs,
        scorer.queries,
        loaded.model.config,
        loaded.convention,
        recipe.folder(f"evaluation/{BASELINES}"),
    )
    result = _summarize(recipe, evaluated, loaded.vocabulary.ids, sets, tables)
    return result.model_copy(
        update={
            "protocols": label_sets.evaluate(outputs.of, questions, loaded.queries, probes),
            "invariance": _invariance(loaded, own_set, parts[0]),
        }
    )


def _invariance(
    loaded: EcgQueryModel, queries: Mapping[str, Query], part: UnseenPart
) -> QuerySetInvariance | None:
    reader = ShardReader.of(part.data.shards, part.rows)
    if not reader.units or not queries:
        return None
    _, signals = reader.read(0)
    windows = [
        windows_uv(one.values, one.rate_hz, loaded.convention)[:1] for one in signals if one is not None
    ]
    return invariance.measure(loaded, tuple(queries.values()), np.concatenate(windows))


def _request(recipe: config.Recipe, model: Target, labelled: list[DataSet]) -> manifest.Request:
    evaluation = recipe.evaluation.model_dump(mode="json", exclude={"model_uri", "plates"})
    conditions = benchmarks.load_conditions().model_dump(mode="json")
    ordered = {key: _sorted(value) for key, value in conditions.items()}
    settings = {
        "evaluation": evaluation,
        "seed": recipe.seed,
        "results_schema": results.SCHEMA_VERSION,
        "conditions": config.digest(ordered),
        "protocols": {one.name: one.version for one in protocols.protocols(recipe.evaluation.protocols)},
    }
    inputs = {"model": model.sha256} | {data.name: data.shards.manifest.digest() for data in labelled}
    return manifest.Request(stage=EVALUATION.name, config=settings, inputs=inputs)


def _sorted(value: Any) -> Any:
    """Sets became lists of arbitrary order."""
    if isinstance(value, dict):
        return {key: _sorted(item) for key, item in value.items()}
    return sorted(value) if isinstance(value, list) else value


def _write_labels(folder: str, benchmark: Benchmark) -> None:
    ids = {"record_id": list(benchmark.record_ids), "patient_id": list(benchmark.patients)}
    labels = {condition: benchmark.labels[:, c] for c, condition in enumerate(benchmark.classes)}
    write_table(storage.join(folder, "labels", f"{benchmark.dataset}.parquet"), pa.table(ids | labels))


def _describe(model: Target, loaded: EcgQueryModel) -> EvaluatedModel:
    selection = model.selection
    return EvaluatedModel(
        uri=model.uri,
        sha256=model.sha256,
        vocabulary=len(loaded.vocabulary),
        reads_reports=OBJECTIVES[loaded.objective].reads_reports,
        selection_metric=selection.metric if selection else "",
        selection_value=summary.number(selection.value) if selection else None,
        selection_rule=selection.rule if selection else "",
        validation_digest=selection.validation_digest if selection else "",
        trained_on=loaded.trained_on.datasets if loaded.trained_on else None,
    )


def _summarize(
    recipe: config.Recipe,
    model: EvaluatedModel,
    seen: Collection[str],
    sets: Sequence[EvaluationSet],
    tables: list[pa.Table],
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
        alone = one.parts[0].data if name != benchmarks.POOLED else None
        parts[name] = DatasetResult(
            kind=alone.kind if alone else "",
            shards_digest=alone.shards.manifest.digest() if alone else "",
            splits=tuple(sorted({split for part in one.parts for split in part.splits})),
            left_out=one.left_out,
            protocols={results.ZERO_SHOT: protocol},
        )
    return EvaluationResult(
        recipe=recipe.name,
        seed=recipe.seed,
        min_positives=settings.min_positives,
        bootstrap=settings.bootstrap,
        model=model,
        datasets=parts,
    )


def _track(model: Target, result: EvaluationResult, uri: str) -> None:
    """Log the macro means and the file to the run that made the model."""
    if not (model.run_id and model.store):
        return
    run = tracking.TrackingRun.attach(model.store, model.run_id)
    for group in GROUPS:
        for dataset, auroc in result.macro(group).items():
            name = f"evaluation/{dataset}/macro_auroc_{group}"
            if auroc is not None:
                run.log_metrics({name: auroc}, run.last_step(name) + 1)
    run.log_file(uri, "evaluation")
