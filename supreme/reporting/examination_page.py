"""The stage that examines a model, and its page: curves, explained plates, suspect labels."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from matplotlib.figure import Figure
from pydantic import BaseModel, ConfigDict

from supreme import config, manifest, storage
from supreme.evaluation import datasets, targets
from supreme.evaluation.datasets import DataSet, UnseenPart
from supreme.evaluation.examination import OUTPUTS, Examination, ExaminedDataset, Examiner
from supreme.evaluation.explanation_stage import Explanations, QueriedEcg
from supreme.evaluation.robustness import RobustnessCurve
from supreme.evaluation.summary import display_name
from supreme.inference.engine import FEW_RECORDS
from supreme.registry import versions
from supreme.reporting import explained_plates, figures, html
from supreme.reporting.figures import PaperImage
from supreme.runtime.session import ray_session

PAGE, NUMBERS, SUSPECTS = "examination.html", "examination.json", "suspects"
_COLUMNS = 3


class ExaminationSummary(BaseModel):
    """What a finished examination says of itself."""

    model_config = ConfigDict(frozen=True)

    suspects: dict[str, int]
    """Data set -> labels in its sheet."""
    explains: dict[str, bool]
    """Method -> whether its maps pass deletion and insertion."""


EXAMINATION = manifest.Stage(
    name="examine",
    job="examine",
    result=ExaminationSummary,
    files=(
        *(PAGE, NUMBERS, f"{OUTPUTS}/*.parquet", f"{OUTPUTS}/*.parts/*.parquet"),
        *(f"{SUSPECTS}/*/{explained_plates.SHEET}", f"{SUSPECTS}/*/plates/*.png"),
    ),
)


@dataclass(frozen=True)
class ExplainedPlate:
    """One ECG on the page."""

    title: str
    method: str
    paper: PaperImage


def write(recipe: config.Recipe, *, new: bool = False) -> tuple[str, manifest.Manifest[ExaminationSummary]]:
    """Examine the model of `evaluation.model_uri`; the folder and its manifest.

    Raises:
        ConfigError: no such model, it is no bundle, or shards are unfinished.
    """
    target = targets.target(recipe)
    if target.kind != "bundle":
        raise config.ConfigError(
            f"{target.uri}: only a bundle can be asked again: give its folder or version"
        )
    labelled = datasets.datasets(recipe)
    folder = recipe.folder(f"examination/{target.sha256[:12]}")
    request = _request(recipe, target.sha256, labelled)
    with manifest.opened(folder, EXAMINATION, request, on_change="follow", new=new) as finished:
        return folder, finished or _publish(recipe, target, labelled, request, folder)


def _publish(
    recipe: config.Recipe,
    target: targets.Target,
    labelled: list[DataSet],
    request: manifest.Request,
    folder: str,
) -> manifest.Manifest[ExaminationSummary]:
    model = versions.load(target.uri, target.store, quality_checked=True)
    parts = [part for part in datasets.unseen_parts(labelled, model.trained_on) if part.benchmark.classes]
    if not parts:
        raise datasets.NothingToEvaluate(
            "no record with labels that the model has not seen: give real=FOLDER"
        )
    evaluation = recipe.evaluation
    examiner = Examiner(
        *(model, target.uri, target.store, recipe.examine, folder),
        *(evaluation.min_positives, evaluation.bootstrap, recipe.seed),
    )
    # Real ECGs where there are any: what a model does on simulated ones says little about patients.
    real = [part for part in parts if part.data.kind != "simulated"] or parts
    records = sum(len(part.benchmark.record_ids) for part in real)
    with ray_session() if records >= FEW_RECORDS else nullcontext():
        examined = {part.data.name: _examine(examiner, part, folder) for part in real}
        largest = max(real, key=lambda part: len(part.benchmark.record_ids))
        ecgs, explanations = examiner.explain(largest)
    tests = tuple(explanations.tests.values()) if explanations else ()
    result = Examination(recipe=recipe.name, model_uri=target.uri, datasets=examined, explanations=tests)
    storage.write_json(storage.join(folder, NUMBERS), result.model_dump(mode="json"))
    page = render(result, _plates(ecgs, explanations), largest.data.name)
    storage.write_bytes(storage.join(folder, PAGE), page.encode())
    summary = ExaminationSummary(
        suspects={name: one.suspects for name, one in examined.items()},
        explains={one.method: one.is_explanation for one in tests},
    )
    return manifest.publish(folder, EXAMINATION, request, summary)


def _request(recipe: config.Recipe, sha256: str, labelled: Sequence[DataSet]) -> manifest.Request:
    settings = {
        "examine": recipe.examine.model_dump(mode="json"),
        "min_positives": recipe.evaluation.min_positives,
        "bootstrap": recipe.evaluation.bootstrap,
        "seed": recipe.seed,
    }
    inputs = {"model": sha256} | {data.name: data.shards.manifest.digest() for data in labelled}
    return manifest.Request(stage=EXAMINATION.name, config=settings, inputs=inputs)


def render(result: Examination, plates: Sequence[ExplainedPlate], explained_on: str) -> str:
    """The page.

    Args:
        explained_on: data set of the plates.
    """
    return html.template("examination.html").render(
        result=result,
        curves={name: curves_figure(one.robustness) for name, one in result.datasets.items()},
        plates=plates,
        explained_on=explained_on,
        display_name=display_name,
    )


def curves_figure(curves: Sequence[RobustnessCurve]) -> str:
    """Difference of the macro AUROC over the strength of each perturbation, as SVG; empty without curves."""
    if not curves:
        return ""
    rows = -(-len(curves) // _COLUMNS)
    figure = Figure(figsize=(9, 2.1 * rows), layout="constrained")
    axes = figure.subplots(rows, _COLUMNS, sharey=True, squeeze=False).ravel()
    for axis, curve in zip(axes, curves, strict=False):
        places = range(len(curve.steps))
        values = [step.difference for step in curve.steps]
        axis.axhline(0, color="#999", lw=0.6)
        axis.plot(places, values, color=figures.SEEN, marker="o", ms=3, lw=1.2)
        if all(step.low is not None and step.high is not None for step in curve.steps):
            lows, highs = ([getattr(step, end) for step in curve.steps] for end in ("low", "high"))
            axis.fill_between(places, lows, highs, color=figures.SEEN, alpha=0.18, lw=0)
        axis.set_xticks(list(places), [f"{step.strength:g}" for step in curve.steps], fontsize=6)
        title = curve.perturbation.replace("_", " ")
        axis.set_title(f"{title} ({curve.unit})" if curve.unit else title, fontsize=8)
        axis.tick_params(labelsize=6)
    for axis in axes[len(curves) :]:
        axis.set_visible(False)
    return figures.svg(figure)


def _examine(examiner: Examiner, part: UnseenPart, folder: str) -> ExaminedDataset:
    curves, not_robust = examiner.robustness(part)
    audit, not_audited = examiner.audit(part)
    if audit is not None:
        place = storage.join(folder, SUSPECTS, part.data.name)
        explained_plates.write_suspects(place, part.benchmark.name, audit.first, part.data.shards)
    return ExaminedDataset(
        robustness=curves,
        not_robust=not_robust,
        audited=audit.classes if audit else {},
        suspects=len(audit.first) if audit else 0,
        not_audited=not_audited,
    )


def _plates(ecgs: Sequence[QueriedEcg], explanations: Explanations | None) -> list[ExplainedPlate]:
    if explanations is None:
        return []
    return [
        ExplainedPlate(
            display_name(ecg.query),
            method,
            figures.on_paper(explained_plates.shaded(ecg.signal_mv, ecg.rate_hz, maps[number])),
        )
        for number, ecg in enumerate(ecgs)
        for method, maps in explanations.maps.items()
    ]
