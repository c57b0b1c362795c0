"""Which ECGs the report shows: clearest hit, worst miss and worst false alarm of a few conditions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from supreme.ecg import to_millivolts
from supreme.evaluation.benchmarks import NEGATIVE, POSITIVE, Benchmark
from supreme.evaluation.class_results import ClassResult
from supreme.shards.read import ShardDataset

Kind = Literal["hit", "miss", "false alarm"]
KINDS: tuple[Kind, ...] = ("hit", "miss", "false alarm")
TOP_QUERIES = 6


@dataclass(frozen=True)
class ScoredRecords:
    """Scores and labels of the same records."""

    record_ids: tuple[str, ...]
    scores: dict[str, np.ndarray]
    """Condition -> `(N,)` probabilities; every condition that was queried."""
    labels: dict[str, np.ndarray]
    """Condition -> `(N,)` 1, 0, -1; the conditions that are annotated here."""


@dataclass(frozen=True)
class Example:
    """One ECG to show."""

    kind: Kind
    condition: str
    record_id: str
    score: float
    above: float
    """Share of lower scores among the records without the condition (false alarm: with it)."""
    top: tuple[tuple[str, float, bool], ...]
    """Conditions with the highest probabilities, and whether the record is labelled with them."""
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Ecg:
    """A record as it stands in shards, without padding."""

    signal_mv: np.ndarray
    rate_hz: float
    codes: tuple[str, ...]


def align(scores: pa.Table, benchmark: Benchmark) -> ScoredRecords:
    """Scores in the order of the benchmark; records without labels are left out."""
    ids = pa.array(benchmark.record_ids, pa.string())
    rows = pc.index_in(ids, value_set=scores.column("record_id").combine_chunks())
    aligned = scores.take(rows)
    return ScoredRecords(
        benchmark.record_ids,
        {name: aligned.column(name).to_numpy() for name in scores.column_names if name != "record_id"},
        {name: benchmark.labels[:, c] for c, name in enumerate(benchmark.classes)},
    )


def conditions_to_show(conditions: Mapping[str, ClassResult], count: int) -> list[str]:
    """Seen headline conditions from the best to the worst AUROC, evenly spaced in rank."""
    rows = [
        (row.auroc, name)
        for name, row in conditions.items()
        if row.headline and row.seen and row.auroc is not None
    ]
    ranked = [name for _, name in sorted(rows, reverse=True)]
    places = np.linspace(0, len(ranked) - 1, min(count, len(ranked))).round().astype(int)
    return [ranked[place] for place in places]


def choose(scored: ScoredRecords, conditions: Sequence[str], count: int) -> list[Example]:
    """At most ``count`` examples, no record twice."""
    examples: list[Example] = []
    for condition in conditions:
        for kind in KINDS:
            example = _extreme(scored, condition, kind, {item.record_id for item in examples})
            if example and len(examples) < count:
                examples.append(example)
    return examples


def load(shards: ShardDataset, record_ids: Sequence[str]) -> dict[str, Ecg]:
    """The named records; only row groups that hold one are read with their signals."""
    names = pa.array(record_ids, pa.string())
    ecgs: dict[str, Ecg] = {}
    for group in shards.row_groups():
        mask = pc.is_in(shards.read_row_group(group, ["record_id"]).column("record_id"), names)
        if not pc.any(mask).as_py():
            continue
        columns = ["record_id", "signal", "n_valid", "source_rate_hz", "codes"]
        table = shards.read_row_group(group, columns).filter(mask)
        names_and_codes = zip(
            *(table.column(name).to_pylist() for name in ("record_id", "codes")), strict=True
        )
        for (record_id, codes), (signal_uv, rate_hz) in zip(
            names_and_codes, shards.records_uv(table), strict=True
        ):
            ecgs[record_id] = Ecg(to_millivolts(signal_uv), rate_hz, tuple(codes))
    return ecgs


def _extreme(scored: ScoredRecords, condition: str, kind: Kind, used: set[str]) -> Example | None:
    """The highest positive (hit), the lowest positive (miss) or the highest negative (false alarm)."""
    label, sign = (NEGATIVE if kind == "false alarm" else POSITIVE), (1 if kind == "miss" else -1)
    scores, truth = scored.scores[condition], scored.labels[condition]
    rows = [row for row in np.flatnonzero(truth == label) if scored.record_ids[row] not in used]
    if not rows:
        return None
    row = min(rows, key=lambda row: (sign * scores[row], scored.record_ids[row]))
    others = scores[truth == (POSITIVE if kind == "false alarm" else NEGATIVE)]
    probabilities = {name: float(values[row]) for name, values in scored.scores.items()}
    labels = tuple(name for name, values in scored.labels.items() if values[row] == POSITIVE)
    top = sorted(probabilities, key=lambda name: -probabilities[name])[:TOP_QUERIES]
    return Example(
        kind,
        condition,
        scored.record_ids[row],
        float(scores[row]),
        float((others < scores[row]).mean()) if len(others) else 0.0,
        tuple((name, probabilities[name], name in labels) for name in top),
        labels,
    )
