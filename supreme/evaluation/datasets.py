"""The sharded data sets that a model is evaluated on, without the recordings that it has seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from supreme import config, log
from supreme.evaluation import benchmarks
from supreme.evaluation.benchmarks import POOLED, Benchmark
from supreme.evaluation.class_results import LeftOut
from supreme.evaluation.label_benchmarks import has_benchmarks
from supreme.inference import provenance
from supreme.inference.provenance import Provenance
from supreme.records import all_sources
from supreme.settings.data import Source
from supreme.shards import plan
from supreme.shards.read import ShardDataset

logger = log.get("evaluation")

_COLUMNS = tuple(dict.fromkeys((*benchmarks.COLUMNS, *provenance.COLUMNS, "split")))


class NothingToEvaluate(config.ConfigError):
    """No data set holds a record with labels that the model has not seen."""


@dataclass(frozen=True)
class DataSet:
    """One sharded data set with labels."""

    name: str
    kind: str
    shards: ShardDataset
    """Evaluation shards of a real data set; the shards of a simulated one, which has no other rate."""


@dataclass(frozen=True)
class UnseenPart:
    """The records of a data set that a model has not seen."""

    data: DataSet
    rows: np.ndarray
    """bool ``(N,)``: which rows of the shards these are."""
    splits: tuple[str, ...]
    """Splits in which there are any."""
    left_out: LeftOut
    benchmark: Benchmark
    literal: Benchmark
    """The same records where every one without a code counts as negative."""


@dataclass(frozen=True)
class EvaluationSet:
    """What one block of numbers is about: a data set, or all real ones pooled."""

    benchmark: Benchmark
    literal: Benchmark
    parts: tuple[UnseenPart, ...]

    @property
    def left_out(self) -> LeftOut:
        return LeftOut(
            by_key=sum(part.left_out.by_key for part in self.parts),
            by_signal=sum(part.left_out.by_signal for part in self.parts),
        )


def datasets(recipe: config.Recipe) -> list[DataSet]:
    """The data sets with labels: pre-training sources, then the real ones.

    Raises:
        ConfigError: the shards of one are not finished, or one has the name of the pool.
    """
    labelled = []
    for source in evaluated_sources(recipe):
        if source.dataset == POOLED:
            raise config.ConfigError(
                f"a data set is called {POOLED!r}, as the pool of all real ones is: give it another name=..."
            )
        shards = ShardDataset.open(shard_folder(recipe, source))
        labelled.append(DataSet(source.dataset, source.kind, shards))
    # Original data sets before their copies in CinC form: the pool takes a recording from the first.
    return sorted(labelled, key=lambda data: (data.kind != "simulated", data.kind == "cinc2021"))


def evaluated_sources(recipe: config.Recipe) -> list[Source]:
    """The sources with codes that labels can be made from: those of pre-training, then the real ones."""
    return [source for source in all_sources(recipe) if is_evaluated(recipe, source)]


def is_evaluated(recipe: config.Recipe, source: Source) -> bool:
    """Whether some benchmark may know the codes of a source."""
    return has_benchmarks(source.kind, source.dataset) or bool(recipe.evaluation.benchmarks)


def has_evaluation_shards(recipe: config.Recipe, source: Source) -> bool:
    """Whether a source is evaluated on shards of its own, with the rate and length of its records."""
    return is_evaluated(recipe, source) and source.kind != "simulated"


def shard_folder(recipe: config.Recipe, source: Source) -> str:
    """The shards that a source is evaluated on."""
    return plan.folder_of(recipe, source, whole=has_evaluation_shards(recipe, source))


def unseen_parts(labelled: Sequence[DataSet], seen: Provenance | None) -> list[UnseenPart]:
    """Each data set without the recordings that a model has seen; data sets with nothing left are dropped.

    Args:
        seen: from the model's bundle; None where it does not say, and nothing can be left out.
    """
    parts = [unseen_part(data, seen) for data in labelled]
    return [part for part in parts if part.benchmark.record_ids]


def unseen_part(data: DataSet, seen: Provenance | None) -> UnseenPart:
    """The records of one data set that a model has not seen."""
    table = data.shards.table(_COLUMNS)
    left_out, rows = LeftOut(), np.ones(len(table), bool)
    if seen is not None:
        matches = seen.seen(data.kind, table)
        left_out = LeftOut(by_key=int(matches.by_key.sum()), by_signal=int(matches.by_signal.sum()))
        rows = ~matches.mask
        table = table.filter(pa.array(rows))
    if left_out.records:
        logger.info(
            f"{data.name}: {left_out.records:,} records are left out, the model was trained on them "
            f"({left_out.by_signal:,} recognised by their signal alone); {len(table):,} remain"
        )
    return UnseenPart(
        data,
        rows,
        tuple(sorted(set(table.column("split").to_pylist()))),
        left_out,
        benchmarks.benchmark(data.name, data.kind, table),
        benchmarks.benchmark(data.name, data.kind, table, literal=True),
    )


def conditions_of(parts: Sequence[UnseenPart]) -> list[str]:
    """Every data set is queried for every condition, so that plates can show what else the model sees."""
    return list(dict.fromkeys(c for part in parts for c in part.benchmark.classes))


def evaluation_sets(parts: Sequence[UnseenPart]) -> list[EvaluationSet]:
    """Every data set, then all real ones pooled."""
    parts = [part for part in parts if part.benchmark.classes]
    alone = [EvaluationSet(part.benchmark, part.literal, (part,)) for part in parts]
    real = tuple(part for part in parts if part.data.kind != "simulated")
    if not real:
        return alone
    pooled = benchmarks.pool([part.benchmark for part in real], POOLED)
    literal = benchmarks.pool([part.literal for part in real], POOLED)
    return [*alone, EvaluationSet(pooled, literal, real)]
