"""The sharded data sets that a model is evaluated on, and which part of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from supreme import config, log
from supreme.evaluation import benchmarks
from supreme.evaluation.benchmarks import POOLED, Benchmark
from supreme.records import all_sources
from supreme.shards.read import Shards

logger = log.get("evaluation")


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


def _splits(recipe: config.Recipe, source: config.Source) -> tuple[str, ...] | None:
    return ("test",) if source.dataset in {part.dataset for part in recipe.sources} else None


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


def _rounds(parts: list[_Part]) -> list[tuple[Benchmark, Benchmark]]:
    """Every data set, then all real ones pooled: labels, and labels taken literally."""
    real = [part for part in parts if part.data.kind != "simulated"]
    alone = [(part.bench, part.literal) for part in parts]
    if not real:
        return alone
    pooled = benchmarks.pool([part.bench for part in real], POOLED)
    return [*alone, (pooled, benchmarks.pool([part.literal for part in real], POOLED))]
