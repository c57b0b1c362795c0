"""Evaluations side by side: models that cannot be told apart share a group; published numbers stand apart."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import combinations
from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from supreme.evaluation import compare, summary
from supreme.evaluation.benchmarks import Benchmark
from supreme.evaluation.compare_benchmarks import common_benchmarks, common_protocols
from supreme.evaluation.folder import EvaluationFolder
from supreme.evaluation.verdict import ALPHA
from supreme.metrics import clustered, intervals
from supreme.metrics.clustered import PatientAurocs
from supreme.metrics.multiplicity import holm, indistinguishable

#: Benchmark and scores of each model, and the fewest positive and negative patients of a class.
_Contest = tuple[Sequence[Benchmark], Sequence[pa.Table], int]
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


class LeaderboardRow(BaseModel):
    """One model on one data set."""

    model_config = ConfigDict(frozen=True)

    model: str
    auroc: float
    low: float | None
    high: float | None
    groups: tuple[int, ...]
    """Numbers of its groups, from 0: no two models of a group were told apart."""

    @property
    def letters(self) -> str:
        """The groups as letters, the best one first."""
        return "".join(_letter(group) for group in self.groups)


class Leaderboard(BaseModel):
    """Models on the same records and classes of one data set, the highest macro AUROC first."""

    model_config = ConfigDict(frozen=True)

    dataset: str
    records: int
    patients: int
    classes: int
    left_out: tuple[str, ...]
    """Classes for which a model has a constant score."""
    rows: tuple[LeaderboardRow, ...]


class PublishedNumber(BaseModel):
    """A number from the literature, which no comparison here includes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str
    benchmark: str
    metric: str
    protocol: str
    value: float
    """Percent."""
    confidence: Literal["confirmed", "digest", "recollection"]
    source: str
    note: str = ""


class _PublishedTable(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    numbers: tuple[PublishedNumber, ...]


@dataclass(frozen=True)
class Entrant:
    """An evaluated model under the name that it has on the board."""

    name: str
    evaluation: EvaluationFolder


@cache
def published() -> tuple[PublishedNumber, ...]:
    """Read `data/published.toml`."""
    text = (files("supreme.evaluation") / "data" / "published.toml").read_text(encoding="utf-8")
    return _PublishedTable.model_validate(tomllib.loads(text)).numbers


def leaderboards(entrants: Sequence[Entrant], min_positives: int) -> list[Leaderboard]:
    """A leaderboard for each data set that all models were evaluated on, then for each published label set.

    Args:
        min_positives: fewest positive and negative patients of a class, among the records that no model has
            seen; for a label set its protocol says it.
    """
    folders, names = [one.evaluation for one in entrants], [one.name for one in entrants]
    boards = [
        _board(names, scores, compare.unseen_by_all(benchmarks), max(1, least))
        for benchmarks, scores, least in (*_datasets(folders, min_positives), *_label_sets(folders))
    ]
    return [board for board in boards if board]


def rank(names: Sequence[str], aurocs: Sequence[PatientAurocs]) -> tuple[LeaderboardRow, ...]:
    """Models by macro AUROC, in groups of which no two members differ after Holm over all pairs.

    Args:
        aurocs: of the same patients and classes, all defined.
    """
    means = [float(one.values.mean()) for one in aurocs]
    order = sorted(range(len(names)), key=lambda m: (-means[m], names[m]))
    pairs = list(combinations(range(len(order)), 2))
    p_values = [
        clustered.macro_difference(aurocs[order[one]], aurocs[order[other]]).p_value for one, other in pairs
    ]
    different = dict(zip(pairs, holm(p_values) < ALPHA, strict=True))
    groups = indistinguishable(len(order), lambda one, other: bool(different[one, other]))
    rows = []
    for place, m in enumerate(order):
        low, high = intervals.macro_interval(aurocs[m])
        own = tuple(number for number, group in enumerate(groups) if place in group)
        rows.append(
            LeaderboardRow(
                model=names[m], auroc=means[m], low=summary.number(low), high=summary.number(high), groups=own
            )
        )
    return tuple(rows)


def _datasets(folders: Sequence[EvaluationFolder], min_positives: int) -> Iterator[_Contest]:
    datasets = compare.common_datasets(folders)
    scores = [folder.scores() for folder in folders] if datasets else []
    for dataset in datasets:
        yield [folder.benchmark(dataset) for folder in folders], scores, min_positives


def _label_sets(folders: Sequence[EvaluationFolder]) -> Iterator[_Contest]:
    for protocol in common_protocols(folders):
        for name in common_benchmarks(folders, protocol.name):
            parts = [part for folder in folders if (part := folder.published(protocol.name, name))]
            benchmarks, scores = zip(*parts, strict=True)
            yield benchmarks, scores, protocol.min_positive_patients


def _board(
    names: Sequence[str], scores: Sequence[pa.Table], shared: Benchmark, min_positives: int
) -> Leaderboard | None:
    """None where the models share no class."""
    aurocs = []
    for table in scores:
        values = summary.matrix([table], shared)
        scored = np.isfinite(np.where(shared.labels >= 0, values, 0.0)).all(axis=0)
        labels = np.where(scored, shared.labels, np.int8(-1))
        aurocs.append(clustered.patient_aurocs(values, labels, shared.patients))
    fewest = np.min([(one.positive_patients, one.negative_patients) for one in aurocs], axis=(0, 1))
    constant = np.any([one.constant for one in aurocs], axis=0)
    columns = np.flatnonzero((fewest >= min_positives) & ~constant)
    if not len(columns):
        return None
    return Leaderboard(
        dataset=shared.dataset,
        records=len(shared.record_ids),
        patients=len(set(shared.patients)),
        classes=len(columns),
        left_out=tuple(shared.classes[c] for c in np.flatnonzero((fewest >= min_positives) & constant)),
        rows=rank(names, [one.select(columns) for one in aurocs]),
    )


def _letter(group: int) -> str:
    return _LETTERS[group] if group < len(_LETTERS) else f"({group + 1})"
