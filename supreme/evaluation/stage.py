"""The evaluation stage: one model on every sharded data set with labels, and on the real ones pooled.

A data set that the model was pre-trained on is evaluated on its test split, every other one in full. A
recording of the splits that were used in pre-training is left out wherever it turns up.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection
from typing import Any

import numpy as np
import pyarrow as pa

from supreme import config, manifest, storage, tracking
from supreme.evaluation import benchmarks, results, zeroshot
from supreme.evaluation.benchmarks import Benchmark
from supreme.evaluation.datasets import (
    DataSet,
    _conditions,
    _Part,
    _parts,
    _rounds,
    _splits,
    datasets,
    logger,
)
from supreme.evaluation.targets import Target, folder_of, target, wanted_uri
from supreme.objectives.make import OBJECTIVES
from supreme.records import all_sources
from supreme.registry import versions
from supreme.shards.read import Shards
from supreme.storage.parquet import write_table

RESULTS = "results.json"
#: One core of a laptop, the model of the demo recipe.
_RECORDS_PER_SECOND = 100


def plan(recipe: config.Recipe) -> dict[str, Any]:
    """What `run` would do: the model, and how many records of which data sets (None: not sharded yet)."""
    records: dict[str, int | None] = {}
    for source in all_sources(recipe):
        folder = recipe.folder(f"shards/{source.dataset}")
        if benchmarks.is_annotated(source.kind):
            records[source.dataset] = None
            if manifest.read(folder):
                splits = _splits(recipe, source)
                records[source.dataset] = sum(g.rows for g in Shards.open(folder).row_groups(splits))
    known = sum(count or 0 for count in records.values())
    seconds = round(known / _RECORDS_PER_SECOND) + 10
    return {"stage": "evaluation", "model_uri": wanted_uri(recipe), "records": records, "seconds": seconds}


def run(recipe: config.Recipe, model_uri: str = "", *, new: bool = False) -> manifest.Manifest:
    """Evaluate a model; `results.json`, `scores/` and `labels/` (Parquet) are written to its folder.

    With more data sets than before, or extended ones, it is evaluated anew, on all of them.

    Raises:
        ConfigError: no such model, unfinished shards, or nothing with labels to evaluate on.
    """
    model = target(recipe, model_uri)
    chosen = datasets(recipe)
    folder = folder_of(recipe, model)
    request = _request(recipe, model, chosen)
    finished = manifest.begin_or_follow(folder, request, new=new)
    if finished:
        logger.info("%s is finished", folder)
        return finished
    parts = _parts(chosen)
    if not parts:
        raise config.ConfigError("nothing to evaluate on: no record with labels; give real=FOLDER")
    loaded = versions.load(model.uri, model.store, quality_checked=True)
    tables = [_score(loaded, folder, part, _conditions(parts)) for part in parts]
    rounds = _rounds(parts)
    for bench, _ in rounds:
        _keep_labels(folder, bench)
    seen = loaded.vocabulary.ids
    reads_reports = OBJECTIVES[loaded.objective].reads_reports
    if reads_reports:
        logger.warning("%s: what is unseen as a query has been read of in reports", loaded.objective)
    header = _header(recipe, model, seen, parts, reads_reports=reads_reports)
    found = header | {"datasets": _summaries(recipe, seen, rounds, tables)}
    storage.write_json(storage.join(folder, RESULTS), found)
    _track(model, found, storage.join(folder, RESULTS))
    return manifest.publish(folder, request, {part.data.name: len(part.bench.record_ids) for part in parts})


def _request(recipe: config.Recipe, model: Target, chosen: list[DataSet]) -> manifest.Request:
    evaluation = recipe.evaluation.model_dump(mode="json", exclude={"model_uri", "plates"})
    conditions = benchmarks.load_conditions().model_dump(mode="json")
    ordered = {key: _sorted(value) for key, value in conditions.items()}
    settings = {
        "evaluation": evaluation,
        "seed": recipe.seed,
        "pretrained_on": [source.dataset for source in recipe.sources],
        "conditions": config.digest(ordered),
    }
    inputs = {"model": model.sha256} | {data.name: data.shards.manifest.digest() for data in chosen}
    return manifest.Request(stage="evaluation", config=settings, inputs=inputs)


def _sorted(value: Any) -> Any:
    """Sets became lists of arbitrary order."""
    if isinstance(value, dict):
        return {key: _sorted(item) for key, item in value.items()}
    return sorted(value) if isinstance(value, list) else value


def _score(model: zeroshot.QueryModel, folder: str, part: _Part, conditions: list[str]) -> pa.Table:
    uri = storage.join(folder, "scores", f"{part.data.name}.parquet")
    return zeroshot.cached(uri, part.data.shards, model, conditions, part.data.splits)


def _keep_labels(folder: str, bench: Benchmark) -> None:
    ids = {"record_id": list(bench.record_ids), "patient_id": list(bench.patients)}
    labels = {condition: bench.labels[:, c] for c, condition in enumerate(bench.conditions)}
    write_table(storage.join(folder, "labels", f"{bench.dataset}.parquet"), pa.table(ids | labels))


def _summaries(
    recipe: config.Recipe,
    seen: Collection[str],
    rounds: list[tuple[Benchmark, Benchmark]],
    tables: list[pa.Table],
) -> dict[str, Any]:
    settings = recipe.evaluation
    found = {}
    for bench, literal in rounds:
        scores = results.matrix(tables, bench)
        # Seeded by name: an interval does not depend on what else is evaluated.
        rng = np.random.default_rng([recipe.seed, zlib.crc32(bench.dataset.encode())])
        found[bench.dataset] = results.summarise(
            bench, scores, seen, settings.min_positives, settings.bootstrap, rng
        ) | {"literal": results.literal_macro(literal, scores, settings.min_positives)}
    return found


def _header(
    recipe: config.Recipe, model: Target, seen: Collection[str], parts: list[_Part], *, reads_reports: bool
) -> dict[str, Any]:
    described = {
        part.data.name: {
            "kind": part.data.kind,
            "splits": list(part.data.splits or []),
            "shards_digest": part.data.shards.manifest.digest(),
        }
        for part in parts
    }
    return {
        "schema_version": 1,
        "recipe": recipe.name,
        "seed": recipe.seed,
        "min_positives": recipe.evaluation.min_positives,
        "bootstrap": recipe.evaluation.bootstrap,
        "pretrained_on": [source.dataset for source in recipe.sources],
        "model": {
            "uri": model.uri,
            "sha256": model.sha256,
            "vocabulary": len(seen),
            "reads_reports": reads_reports,
            **model.selection,
        },
        "data": described,
    }


def _track(model: Target, found: dict[str, Any], uri: str) -> None:
    """Log the macro means and the file to the run that made the model."""
    if not (model.run_id and model.store):
        return
    run = tracking.TrackingRun.attach(model.store, model.run_id)
    for dataset, part in found["datasets"].items():
        for group, macro in part["macro"].items():
            name = f"evaluation/{dataset}/macro_auroc_{group}"
            if macro["auroc"] is not None:
                run.log_metrics({name: macro["auroc"]}, run.last_step(name) + 1)
    run.log_file(uri, "evaluation")
