"""One self-contained HTML page from an evaluation: numbers, figures, plates and where they come from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from supreme import config, manifest, storage, tracking
from supreme.evaluation import datasets, targets
from supreme.evaluation.benchmarks import POOLED
from supreme.evaluation.class_results import ClassResult, ProtocolResult
from supreme.evaluation.folder import EvaluationFolder
from supreme.evaluation.results import DatasetResult, EvaluationResult
from supreme.evaluation.summary import display_name
from supreme.evaluation.targets import Target
from supreme.metrics import rankings
from supreme.reporting import benchmarks_page, examples, figures, html, plates
from supreme.reporting.examples import Example, ScoredRecords
from supreme.reporting.figures import PaperImage, RocCurve
from supreme.training.run import history

PAGE = "report.html"
_TITLES = {
    POOLED: "All real data sets, pooled",
    "simulated": "Simulated ECGs",
    "ptbxl": "PTB-XL",
    "csn": "CSN (Chapman-Shaoxing, Ningbo)",
    "cpsc2018": "CPSC2018",
    "cpsc_2018": "CinC 2021: CPSC2018",
    "cpsc_2018_extra": "CinC 2021: CPSC-Extra",
    "georgia": "CinC 2021: Georgia",
    "ptb": "CinC 2021: PTB",
    "ptb-xl": "CinC 2021: PTB-XL",
    "chapman_shaoxing": "CinC 2021: Chapman-Shaoxing",
    "ningbo": "CinC 2021: Ningbo",
}
_MAX_ROC_CURVES = 36


@dataclass(frozen=True)
class PageSection:
    """A data set on the page."""

    title: str
    part: DatasetResult
    protocol: ProtocolResult
    rows: tuple[ClassResult, ...]
    """Headline classes first, then by AUROC."""


@dataclass(frozen=True)
class Plate:
    """An ECG on the page with what the model answers about it."""

    example: Example
    condition: str
    labels: tuple[str, ...]
    codes: tuple[str, ...]
    answers: tuple[tuple[str, float, bool], ...]
    """Name, probability and whether the record is labelled with it, highest first."""
    paper: PaperImage


class Axis:
    """Where an AUROC stands in the interval column, in a viewBox 100 wide."""

    def __init__(self, lowest: float) -> None:
        self.low = max(0.0, int(lowest * 10) / 10)
        self.ticks = [tenth / 10 for tenth in range(round(self.low * 10), 11)]

    def x(self, value: float) -> float:
        return round(2 + 96 * (max(value, self.low) - self.low) / (1 - self.low), 2)


class ReportResult(BaseModel):
    """What a finished report says of itself."""

    model_config = ConfigDict(frozen=True)

    bytes: int


REPORT = manifest.Stage(name="report", job="report", result=ReportResult, files=(PAGE,))


def write(
    recipe: config.Recipe, model_uri: str = "", *, new: bool = False
) -> tuple[str, manifest.Manifest[ReportResult]]:
    """Write `report/report.html` for the evaluation of a model; URI of the page and its manifest.

    A page of another evaluation is replaced: it can be made again at any time.

    Raises:
        ConfigError: the model was not evaluated yet.
    """
    model = targets.target(recipe, model_uri)
    evaluation = EvaluationFolder.open(recipe, model)
    lines = _training_lines(model)
    folder = recipe.folder("report")
    request = manifest.Request(
        stage=REPORT.name,
        config={"plates": recipe.evaluation.plates, "model_uri": model.uri},
        inputs={"evaluation": evaluation.manifest.digest(), "metrics": storage.sha256(lines)},
    )
    uri = storage.join(folder, PAGE)
    with manifest.opened(folder, REPORT, request, on_change="replace", new=new) as finished:
        if finished is None:
            text = _text(recipe, model, evaluation, lines)
            storage.write_bytes(uri, text.encode())
            if model.run_id and model.store:
                run = tracking.TrackingRun.attach(model.store, model.run_id)
                run.log_file(uri, "report")
                if lines.strip():
                    run.log_text(figures.training(_points(lines)), "figures/training.svg")
            finished = manifest.publish(folder, REPORT, request, ReportResult(bytes=len(text.encode())))
        return uri, finished


def _points(lines: bytes) -> list[Any]:
    return [json.loads(line) for line in lines.splitlines()]


def _text(recipe: config.Recipe, model: Target, evaluation: EvaluationFolder, lines: bytes) -> str:
    scored = _scored_records(evaluation)
    return render(
        evaluation.result.named(model.uri),
        curves=_roc_curves(evaluation.result, scored),
        training=_points(lines),
        plates=_plates(recipe, evaluation.result, scored),
        origin={"evaluated": evaluation.manifest.created, "code_version": evaluation.manifest.code_version},
    )


def render(
    result: EvaluationResult,
    *,
    curves: Mapping[str, Sequence[RocCurve]],
    training: Sequence[Mapping[str, Any]],
    plates: Sequence[Plate],
    origin: Mapping[str, str],
) -> str:
    """The page.

    Args:
        curves: data set -> ROC curves.
        training: history of the run that made the model; empty leaves the figure out.
        origin: what else stands under provenance.
    """
    order = sorted(result.datasets, key=lambda name: (name != POOLED, name != "simulated"))
    protocols = {name: result.datasets[name].zero_shot for name in order}
    headline = [row for p in protocols.values() for row in p.classes.values() if row.headline]
    lowest = min((row.low for row in headline if row.low is not None), default=1.0)
    calibrated = [name for name in ("simulated", POOLED) if name in protocols] or order[:1]
    curves_of = [(title_of(name), curve) for name in calibrated if (curve := protocols[name].calibration)]
    return html.template("page.html").render(
        result=result,
        model=result.model,
        sections=[_section(name, result.datasets[name]) for name in order],
        axis=Axis(min(0.4, lowest)),
        protocols=benchmarks_page.sections(result),
        distances=benchmarks_page.distances(result),
        invariance=result.invariance,
        roc=[(title_of(name), figures.roc_rows(curves[name])) for name in order if curves.get(name)],
        calibration=figures.calibration(curves_of) if curves_of else "",
        calibration_notes=[(title_of(name), protocols[name].calibration_note) for name in calibrated],
        training=figures.training(training) if training else "",
        plates=plates,
        shards={name: part.shards_digest for name, part in result.datasets.items() if part.shards_digest},
        origin=origin,
    )


def _training_lines(model: Target) -> bytes:
    """`metrics.jsonl` of the run that made the model; empty where there is no such run."""
    if not (model.run_id and model.store):
        return b""
    return tracking.TrackingRun.attach(model.store, model.run_id).read_file(history.METRICS) or b""


def _section(name: str, part: DatasetResult) -> PageSection:
    protocol = part.zero_shot
    rows = sorted(
        protocol.classes.values(),
        key=lambda row: (not row.headline, -(row.auroc if row.auroc is not None else -1)),
    )
    return PageSection(title_of(name), part, protocol, tuple(rows))


def title_of(name: str) -> str:
    """What a data set is called on pages."""
    return _TITLES.get(name, name)


def _scored_records(evaluation: EvaluationFolder) -> dict[str, ScoredRecords]:
    """Scores and labels by data set, the pool included."""
    scores = evaluation.scores()
    return {name: examples.align(scores, evaluation.benchmark(name)) for name in evaluation.result.datasets}


def _roc_curves(result: EvaluationResult, scored: Mapping[str, ScoredRecords]) -> dict[str, list[RocCurve]]:
    """ROC curves of the headline classes, most positives first, of the pool and of the simulated ECGs."""
    curves = {}
    for name in (POOLED, "simulated"):
        if name in scored:
            conditions = result.datasets[name].zero_shot.classes
            ranked = sorted(
                ((row.positives, c) for c, row in conditions.items() if row.headline), reverse=True
            )
            ids = [condition for _, condition in ranked][:_MAX_ROC_CURVES]
            curves[name] = [_roc_curve(conditions[c], scored[name], c) for c in ids]
    return curves


def _roc_curve(row: ClassResult, scored: ScoredRecords, condition: str) -> RocCurve:
    false, true = rankings.roc_curve(rankings.rank(scored.scores[condition], scored.labels[condition]))
    return RocCurve(row.name, false, true, float("nan") if row.auroc is None else row.auroc, row.seen)


def _plates(
    recipe: config.Recipe, result: EvaluationResult, scored: Mapping[str, ScoredRecords]
) -> list[Plate]:
    """Plates of real ECGs, or of simulated ones where nothing else was evaluated."""
    count, name = recipe.evaluation.plates, POOLED if POOLED in scored else next(iter(scored))
    rows = result.datasets[name].zero_shot.classes
    conditions = examples.conditions_to_show(rows, -(-count // len(examples.KINDS)))
    shards = {data.name: data.shards for data in datasets.datasets(recipe)}
    pictures = []
    for example in examples.choose(scored[name], conditions, count):
        folder = shards[example.record_id.partition("/")[0]]
        ecg = examples.load(folder, [example.record_id])[example.record_id]
        figure = plates.plate(ecg.signal_mv, ecg.rate_hz)
        pictures.append(
            Plate(
                example,
                display_name(example.condition),
                tuple(display_name(label) for label in example.labels),
                ecg.codes,
                tuple((display_name(c), p, labelled) for c, p, labelled in example.top),
                figures.on_paper(figure),
            )
        )
    return pictures
