"""Published and own label sets on the page of an evaluation: a section for each protocol."""

from __future__ import annotations

from dataclasses import dataclass

from supreme.evaluation.benchmark_results import BenchmarkResult, ProtocolEvaluation
from supreme.evaluation.class_names import class_names
from supreme.evaluation.class_results import ClassResult
from supreme.evaluation.prompts import ClassSpread
from supreme.evaluation.results import EvaluationResult
from supreme.evaluation.seen import ClassSeen
from supreme.evaluation.summary import display_name
from supreme.records import label_sets
from supreme.reporting import distance_figure
from supreme.reporting.distance_figure import ClassPoint, SeenBy


@dataclass(frozen=True)
class ClassRow:
    """One class of a benchmark."""

    key: str
    words: str
    """What the class is called, where that is not its key."""
    result: ClassResult
    seen: ClassSeen | None
    spread: ClassSpread | None

    @property
    def nearest(self) -> str:
        """The nearest query of training in words; empty where that is not known."""
        return display_name(self.seen.nearest) if self.seen else ""


@dataclass(frozen=True)
class BenchmarkSection:
    """One benchmark on the page."""

    name: str
    result: BenchmarkResult
    rows: tuple[ClassRow, ...]
    """Those that count in the mean first, then by AUROC."""

    @property
    def has_details(self) -> bool:
        """Whether there is more to say than a line of the protocol's table holds."""
        one = self.result
        counted = one.unannotated or one.other_labels or one.unknown_codes or one.not_probed
        return bool(self.rows or one.probes or counted)


@dataclass(frozen=True)
class ProtocolSection:
    """All benchmarks under one protocol on the page."""

    name: str
    evaluation: ProtocolEvaluation
    benchmarks: tuple[BenchmarkSection, ...]


def sections(result: EvaluationResult) -> list[ProtocolSection]:
    """A section for each protocol of an evaluation."""
    return [
        ProtocolSection(name, protocol, tuple(_section(key, one) for key, one in protocol.benchmarks.items()))
        for name, protocol in result.protocols.items()
    ]


def distances(result: EvaluationResult) -> str:
    """SVG of AUROC over the distance to the nearest query of pre-training, a panel a protocol; or empty."""
    panels = {}
    for name, protocol in result.protocols.items():
        points = [point for one in protocol.benchmarks.values() for point in _points(one)]
        if points:
            panels[name] = points
    return distance_figure.distances(panels) if panels else ""


def _points(one: BenchmarkResult) -> list[ClassPoint]:
    """Classes that count in the mean and have both an AUROC and a cosine."""
    points = []
    for key, row in one.zero_shot.classes.items() if one.zero_shot else ():
        seen = one.seen.get(key)
        if row.headline and row.auroc is not None and seen is not None and seen.cosine is not None:
            kind: SeenBy = "name" if seen.by_name else "relation" if seen.by_relation else "neither"
            points.append(ClassPoint(1 - seen.cosine, row.auroc, kind))
    return points


def _section(name: str, one: BenchmarkResult) -> BenchmarkSection:
    classes = one.zero_shot.classes if one.zero_shot else {}
    words = _words(name, one, list(classes))
    rows = [
        ClassRow(
            key,
            words.get(key, "" if row.name == key else row.name),
            row,
            one.seen.get(key),
            one.spread.classes.get(key) if one.spread else None,
        )
        for key, row in classes.items()
    ]
    rows.sort(
        key=lambda row: (not row.result.headline, -1 if row.result.auroc is None else -row.result.auroc)
    )
    return BenchmarkSection(name, one, tuple(rows))


def _words(name: str, one: BenchmarkResult, classes: list[str]) -> dict[str, str]:
    """The classes of a published label set in words; of others the result says all that there is."""
    label_set = name.removesuffix(f" ({one.dataset})")
    published = {labels.name: labels for labels in label_sets.published()}
    if label_set not in published or not set(classes) <= set(published[label_set].columns):
        return {}
    return {key: named.name for key, named in class_names(label_set, classes).items() if named.name != key}
