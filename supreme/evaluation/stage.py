"""The evaluation stage: one model on every sharded data set with labels, and on the real ones pooled.

The bundle says what its model has seen, never the recipe: recordings of its training and validation are left
out wherever they turn up, and counted.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from supreme import config, manifest, storage, tracking
from supreme.evaluation import (
    benchmarks,
    datasets,
    one_model,
    protocols,
    result_rows,
    result_tables,
    results,
    tracked_numbers,
)
from supreme.evaluation.datasets import DataSet, logger
from supreme.evaluation.label_verdicts import read_verdicts
from supreme.evaluation.results import (
    EVALUATION,
    EvaluationPlan,
    EvaluationResult,
    EvaluationSummary,
)
from supreme.evaluation.targets import Target, folder_of, model_uri, target
from supreme.inference.engine import FEW_RECORDS
from supreme.records import all_sources
from supreme.registry import versions
from supreme.runtime.session import ray_session
from supreme.shards.read import ShardDataset
from supreme.shards.result import SHARDS

#: One core of a laptop, the model of the demo recipe.
_RECORDS_PER_SECOND = 100


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
    """Evaluate a model; its folder gets `results.json`, `.csv` and `.tex`, `scores/` and `labels/`.

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
    with manifest.opened(folder, EVALUATION, request, on_change=on_change, new=new) as finished:
        if finished is None:
            return _evaluate(recipe, model, labelled, folder, request)
    logger.info("%s is finished", folder)
    result = results.read(folder)
    if model.store and not model.has_results:  # registered after its folder was evaluated
        _track(model, result, folder)
    return result


def _evaluate(
    recipe: config.Recipe, model: Target, labelled: list[DataSet], folder: str, request: manifest.Request
) -> EvaluationResult:
    loaded = versions.load(model.uri, model.store, quality_checked=True) if model.kind == "bundle" else None
    trained_on = loaded.trained_on if loaded else None
    if trained_on is None:
        logger.warning(
            "%s does not say what it was trained on: records that it has seen cannot be left out", model.uri
        )
    parts = datasets.unseen_parts(labelled, trained_on)
    if not parts:
        raise datasets.NothingToEvaluate(
            "nothing to evaluate on: no record with labels that the model has not seen; give real=FOLDER"
        )
    records = sum(len(part.benchmark.record_ids) for part in parts)
    # Few records are scored in less time than a session takes to start.
    with ray_session() if records >= FEW_RECORDS else nullcontext():
        result = one_model.evaluate(recipe, model, loaded, folder, parts)
    _write(folder, result)
    if model.store:
        _track(model, result, folder)
    counts = {part.data.name: len(part.benchmark.record_ids) for part in parts}
    manifest.publish(folder, EVALUATION, request, EvaluationSummary(records=counts))
    return result


def _request(recipe: config.Recipe, model: Target, labelled: list[DataSet]) -> manifest.Request:
    evaluation = recipe.evaluation.model_dump(mode="json", exclude={"model_uri", "plates"})
    conditions = benchmarks.load_conditions().model_dump(mode="json")
    ordered = {key: _sorted(value) for key, value in conditions.items()}
    settings = {
        "evaluation": evaluation,
        "seed": recipe.seed,
        "results_schema": results.SCHEMA_VERSION,
        "conditions": config.digest(ordered),
        "corrections": read_verdicts(recipe.evaluation.corrections).digest,
        "protocols": {one.name: one.version for one in protocols.protocols(recipe.evaluation.protocols)},
    }
    inputs = {"model": model.sha256} | {data.name: data.shards.manifest.digest() for data in labelled}
    return manifest.Request(stage=EVALUATION.name, config=settings, inputs=inputs)


def _sorted(value: Any) -> Any:
    """Sets became lists of arbitrary order."""
    if isinstance(value, dict):
        return {key: _sorted(item) for key, item in value.items()}
    return sorted(value) if isinstance(value, list) else value


def _track(model: Target, result: EvaluationResult, folder: str) -> None:
    """Log the numbers to the run and the logged model, and put them into the registered version."""
    if model.run_id:
        run = tracking.TrackingRun.attach(model.store or "", model.run_id)
        uris = [storage.join(folder, name) for name in (results.RESULTS, results.CSV, results.LATEX)]
        tracked_numbers.log(run, result, uris, model.model_id)
    versions.add_results(*model.version, tracked_numbers.values(result), model.store)


def _write(folder: str, result: EvaluationResult) -> None:
    """Write the result as JSON, CSV and LaTeX."""
    uris = [storage.join(folder, name) for name in (results.RESULTS, results.CSV, results.LATEX)]
    storage.write_json(uris[0], result.model_dump(mode="json"))
    storage.write_bytes(uris[1], result_rows.csv_text(result_rows.rows(result)).encode())
    storage.write_bytes(uris[2], result_tables.latex_text(result).encode())
