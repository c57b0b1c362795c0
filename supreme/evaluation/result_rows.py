"""An evaluation as one long table: a row a class, mean, method and prompt set; `results.csv`."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass, fields, replace

from supreme.evaluation.benchmark_results import BenchmarkResult, ProbeComparison, ProtocolEvaluation
from supreme.evaluation.benchmarks import CONDITIONS, CONDITIONS_VERSION
from supreme.evaluation.class_results import ClassResult, ProtocolResult
from supreme.evaluation.probes import ProbeResult
from supreme.evaluation.prompts import PromptSpread
from supreme.evaluation.results import ZERO_SHOT, EvaluationResult
from supreme.evaluation.seen import ClassSeen

METHOD, PROBE = "zero-shot", "probe"
RANDOM, HANDMADE = "random encoder + probe", "hand-made features + probe"


@dataclass(frozen=True)
class ResultRow:
    """One number with all that it depends on; its fields are the columns of the CSV."""

    model: str
    dataset: str
    benchmark: str
    version: str
    protocol: str
    split: str
    method: str = METHOD
    prompts: str = ""
    fraction: float | None = None
    """Of the training patients, for a probe."""
    group: str = ""
    """Classes of a mean; empty for one class."""
    class_: str = ""
    name: str = ""
    classes: int | None = None
    """In a mean."""
    records: float | None = None
    """Evaluated ones; for a probe, training records."""
    patients: int | None = None
    positives: int | None = None
    positive_patients: int | None = None
    negative_patients: int | None = None
    auroc: float | None = None
    low: float | None = None
    high: float | None = None
    draws: int | None = None
    """Of training records, or random encoders."""
    auprc: float | None = None
    prevalence: float | None = None
    sensitivity_at_90: float | None = None
    sensitivity_at_95: float | None = None
    top_5_percent: float | None = None
    brier: float | None = None
    ece: float | None = None
    in_the_large: float | None = None
    f1: float | None = None
    f1_name: str = ""
    seen_by_name: str = ""
    seen_by_relation: str = ""
    nearest: str = ""
    cosine: float | None = None
    note: str = ""


def rows(result: EvaluationResult) -> Iterator[ResultRow]:
    """Every number of an evaluation: data sets first, then each protocol with its means."""
    for dataset, part in result.datasets.items():
        split = " ".join(part.splits)
        start = ResultRow(result.model.uri, dataset, CONDITIONS, CONDITIONS_VERSION, ZERO_SHOT, split)
        yield from _zero_shot(start, part.zero_shot, {})
    for name, protocol in result.protocols.items():
        yield from _protocol(result.model.uri, name, protocol)


def csv_text(table: Iterable[ResultRow]) -> str:
    """The table as CSV; a cell without a value is empty."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([field.name.rstrip("_") for field in fields(ResultRow)])
    writer.writerows([_cell(value) for value in astuple(row)] for row in table)
    return text.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return ""
    return "" if value is None else value


def _protocol(model: str, name: str, protocol: ProtocolEvaluation) -> Iterator[ResultRow]:
    protocol_id = f"{name} {protocol.version}"
    for benchmark, one in protocol.benchmarks.items():
        start = ResultRow(model, one.dataset, benchmark, one.version, protocol_id, one.split)
        yield from _benchmark(start, one)
    for mean in protocol.means:
        note = f"no number of: {', '.join(mean.missing)}" if mean.missing else ""
        row = ResultRow(model, "", " ".join(mean.benchmarks), "", protocol_id, "")
        yield replace(row, group=f"mean of {mean.name}", auroc=mean.value, note=note)


def _benchmark(start: ResultRow, one: BenchmarkResult) -> Iterator[ResultRow]:
    start = replace(start, prompts=one.prompts)
    if one.zero_shot is None:
        yield replace(start, group="headline", note=one.available)
    else:
        yield from _zero_shot(start, one.zero_shot, one.seen)
    if one.f1 is not None:
        yield replace(start, group="f1", classes=one.f1.classes, f1=one.f1.value, f1_name=one.f1.name)
    if one.spread is not None:
        yield from _prompts(start, one.spread)
    if one.probes is not None:
        yield from _probes(replace(start, prompts=""), one.probes)


def _zero_shot(start: ResultRow, result: ProtocolResult, seen: dict[str, ClassSeen]) -> Iterator[ResultRow]:
    for group, mean in result.macro.items():
        note = f"left out, constant or without a score: {', '.join(mean.left_out)}" if mean.left_out else ""
        yield replace(
            start,
            group=group,
            classes=mean.classes,
            records=result.records,
            patients=result.patients,
            auroc=mean.auroc,
            low=mean.low,
            high=mean.high,
            note=note,
        )
    for key, row in result.classes.items():
        yield _with_seen(_class(replace(start, class_=key), row), seen.get(key))


#: Columns that are named as in the result of a class.
_SHARED = tuple(
    name for name in ClassResult.model_fields if name in {field.name for field in fields(ResultRow)}
)


def _class(start: ResultRow, row: ClassResult) -> ResultRow:
    return replace(start, **{name: getattr(row, name) for name in _SHARED})


def _with_seen(row: ResultRow, seen: ClassSeen | None) -> ResultRow:
    if seen is None:
        return row
    relatives = " ".join(seen.ancestors + seen.descendants)
    return replace(
        row, seen_by_name=seen.by_name, seen_by_relation=relatives, nearest=seen.nearest, cosine=seen.cosine
    )


def _prompts(start: ResultRow, spread: PromptSpread) -> Iterator[ResultRow]:
    """The other prompt sets, and the mean of every one over the classes that all of them have."""
    for prompts, value in spread.macro.items():
        yield replace(start, prompts=prompts, group="common", classes=spread.classes_in_common, auroc=value)
        for key, one in spread.classes.items():
            if prompts != start.prompts:
                yield replace(start, prompts=prompts, class_=key, auroc=one.values.get(prompts))


def _probes(start: ResultRow, probes: ProbeComparison) -> Iterator[ResultRow]:
    yield from _probe(replace(start, method=PROBE), probes.model)
    for part in probes.random_encoders:
        row = replace(start, method=RANDOM, fraction=part.fraction, group="all")
        yield replace(
            row, auroc=part.macro.auroc, low=part.macro.low, high=part.macro.high, draws=part.macro.draws
        )
    yield from _probe(replace(start, method=HANDMADE), probes.handmade)


def _probe(start: ResultRow, probe: ProbeResult) -> Iterator[ResultRow]:
    for part in probe.fractions:
        row = replace(start, fraction=part.fraction, records=part.records)
        defined = sum(one.auroc is not None for one in part.classes.values())
        of_group = (("all", part.macro, defined), ("shared", part.shared_macro, len(probe.shared_classes)))
        for group, mean, classes in of_group:
            yield replace(
                row,
                group=group,
                classes=classes,
                auroc=mean.auroc,
                low=mean.low,
                high=mean.high,
                draws=mean.draws,
            )
        for key, one in part.classes.items():
            yield replace(row, class_=key, auroc=one.auroc, low=one.low, high=one.high, draws=one.draws)
