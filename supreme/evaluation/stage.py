"""The evaluation stage: one model on every sharded data set with labels, and on the real ones pooled.

A data set that the model was pre-trained on is evaluated on its test split, every other one in full. A
recording of the splits that were used in pre-training is left out wherever it turns up.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from supreme import bundle, config, log, manifest, registry, storage, tracking
from supreme.evaluation import benchmarks, results, zeroshot
from supreme.evaluation.benchmarks import Benchmark
from supreme.objectives.make import OBJECTIVES
from supreme.records import all_sources
from supreme.shards.read import Shards

RESULTS = "results.json"
POOLED = "pooled"
#: One core of a laptop, the model of the demo recipe.
_RECORDS_PER_SECOND = 100

logger = log.get("evaluation")


@dataclass(frozen=True)
class Target:
    """The model that is evaluated."""

    uri: str
    """With a version number where it is registered, so that a moved alias changes nothing."""
    sha256: str
    run_id: str
    selection: dict[str, str]
    """Metric, value and rule by which its weights were chosen; empty where they are not recorded."""
    store: str | None = None
    """Tracking store of a registered model."""


@dataclass(frozen=True)
class DataSet:
    """One sharded data set and the part of it that is evaluated."""

    name: str
    kind: str
    shards: Shards
    splits: tuple[str, ...] | None
    """None: all."""

    def benchmark(self, *, literal: bool = False, splits: Sequence[str] | None = None) -> Benchmark:
        table = self.shards.table(benchmarks.COLUMNS, splits or self.splits)
        return benchmarks.benchmark(self.name, self.kind, table, literal=literal)


@dataclass(frozen=True)
class _Part:
    data: DataSet
    bench: Benchmark
    literal: Benchmark


def wanted_uri(recipe: config.Recipe) -> str:
    """`evaluation.model_uri`, or the champion of the recipe's registered model."""
    return recipe.evaluation.model_uri or f"models:/{recipe.tracking.model}@{registry.CHAMPION}"


def target(recipe: config.Recipe, model_uri: str = "") -> Target:
    """The model of ``model_uri``, else of :func:`wanted_uri`.

    Raises:
        ConfigError: there is no such model.
    """
    uri = model_uri or wanted_uri(recipe)
    if not uri.startswith("models:"):
        return Target(uri, bundle.verify(uri), "", {})
    store = tracking.open_store(recipe.tracking, recipe.root)
    version = registry.resolve(uri, store)
    chosen = registry.Selection.of(version)
    return Target(
        f"models:/{version.name}/{version.version}",
        version.tags.get(registry.SHA256, ""),
        version.run_id or "",
        chosen.tags() if chosen else {},
        store,
    )


def folder_of(recipe: config.Recipe, model: Target) -> str:
    """Every model has its own folder, so that evaluating another one destroys nothing."""
    return recipe.folder(f"evaluation/{model.sha256[:12]}")


def datasets(recipe: config.Recipe) -> list[DataSet]:
    """The data sets with labels: pre-training sources, then the real ones.

    Raises:
        ConfigError: the shards of one are not finished.
    """
    found = []
    for source in all_sources(recipe):
        if not benchmarks.is_annotated(source.kind):
            logger.info("%s has no codes to evaluate on", source.dataset)
            continue
        shards = Shards.open(recipe.folder(f"shards/{source.dataset}"))
        found.append(DataSet(source.dataset, source.kind, shards, _splits(recipe, source)))
    # Original data sets before their copies in CinC form: the pool takes a recording from the first.
    return sorted(found, key=lambda data: (data.kind != "simulated", data.kind == "cinc2021"))


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


def table(parts: Mapping[str, Any]) -> list[str]:
    """Lines for the console: macro AUROC of every data set."""
    lines = [f"{'':28} {'macro AUROC':24} {'seen':11} {'unseen':11} records"]
    for name in sorted(parts, key=lambda name: (name == POOLED, name != "simulated", name)):
        part = parts[name]
        macro = part["macro"]
        low, high = macro["headline"]["low"], macro["headline"]["high"]
        interval = "" if low is None else f" [{low:.3f}, {high:.3f}]"
        cells = [f"{_text(macro['headline'])}{interval}", _text(macro["seen"]), _text(macro["unseen"])]
        lines.append(f"{name:28} {cells[0]:24} {cells[1]:11} {cells[2]:11} {part['records']:,}")
    return lines


def _text(macro: Mapping[str, Any]) -> str:
    return "-" if macro["auroc"] is None else f"{macro['auroc']:.3f} ({macro['classes']})"


def _splits(recipe: config.Recipe, source: config.Source) -> tuple[str, ...] | None:
    return ("test",) if source.dataset in {part.dataset for part in recipe.sources} else None


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
    loaded = registry.load(model.uri, model.store)
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


def _parts(chosen: list[DataSet]) -> list[_Part]:
    """What is evaluated of each data set, without recordings that the model was pre-trained on."""
    learnt: set[str] = set()
    for data in chosen:
        if data.splits is not None:
            learnt |= set(data.benchmark(splits=("train", "validation")).recordings)
    parts = [
        _Part(data, data.benchmark().without(learnt), data.benchmark(literal=True).without(learnt))
        for data in chosen
    ]
    return [part for part in parts if part.bench.record_ids and part.bench.conditions]


def _conditions(parts: list[_Part]) -> list[str]:
    """Every data set is asked about every condition, so that plates can show what else the model sees."""
    return list(dict.fromkeys(c for part in parts for c in part.bench.conditions))


def _score(model: zeroshot.QueryModel, folder: str, part: _Part, conditions: list[str]) -> pa.Table:
    uri = storage.join(folder, "scores", f"{part.data.name}.parquet")
    return zeroshot.cached(uri, part.data.shards, model, conditions, part.data.splits)


def _rounds(parts: list[_Part]) -> list[tuple[Benchmark, Benchmark]]:
    """Every data set, then all real ones pooled: labels, and labels taken literally."""
    real = [part for part in parts if part.data.kind != "simulated"]
    alone = [(part.bench, part.literal) for part in parts]
    if not real:
        return alone
    pooled = benchmarks.pool([part.bench for part in real], POOLED)
    return [*alone, (pooled, benchmarks.pool([part.literal for part in real], POOLED))]


def _keep_labels(folder: str, bench: Benchmark) -> None:
    ids = {"record_id": list(bench.record_ids), "patient_id": list(bench.patients)}
    labels = {condition: bench.labels[:, c] for c, condition in enumerate(bench.conditions)}
    zeroshot.write(storage.join(folder, "labels", f"{bench.dataset}.parquet"), pa.table(ids | labels))


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
    run = tracking.Run.attach(model.store, model.run_id)
    for dataset, part in found["datasets"].items():
        for group, macro in part["macro"].items():
            name = f"evaluation/{dataset}/macro_auroc_{group}"
            if macro["auroc"] is not None:
                run.log_metrics({name: macro["auroc"]}, run.last_step(name) + 1)
    run.log_file(uri, "evaluation")
