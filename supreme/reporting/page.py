"""One self-contained HTML page from an evaluation: numbers, figures, plates and where they come from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from supreme import config, manifest, storage, tracking
from supreme.evaluation import datasets, stage, targets
from supreme.evaluation.benchmarks import POOLED
from supreme.evaluation.results import display_name
from supreme.metrics import rankings
from supreme.reporting import examples, figures, html, plates
from supreme.storage.parquet import read_table

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
_MOST_ROC_CURVES = 36


def write(recipe: config.Recipe, model_uri: str = "", *, new: bool = False) -> tuple[str, manifest.Manifest]:
    """Write `report/report.html` for the evaluation of a model; URI of the page and its manifest.

    A page of another evaluation is replaced: it can be made again at any time.

    Raises:
        ConfigError: the model was not evaluated yet.
    """
    model = targets.target(recipe, model_uri)
    evaluated = targets.folder_of(recipe, model)
    made = manifest.require(evaluated, "evaluate")
    course = storage.join(recipe.folder("pretrain"), "metrics.jsonl")
    lines = storage.read_bytes(course) if storage.exists(course) else b""
    folder = recipe.folder("report")
    request = manifest.Request(
        stage="report",
        config={"plates": recipe.evaluation.plates},
        inputs={"evaluation": made.digest(), "metrics": storage.sha256(lines)},
    )
    finished = manifest.begin_or_replace(folder, request, new=new)
    uri = storage.join(folder, PAGE)
    if finished is None:
        found = storage.read_json(storage.join(evaluated, stage.RESULTS))
        scored = _scored(evaluated, found)
        points = [json.loads(line) for line in lines.splitlines()]
        text = render(
            found,
            curves=_curves(found, scored),
            course=points,
            shown=_plates(recipe, found, scored),
            origin={"evaluated": made.created, "code_version": made.code_version},
        )
        storage.write_bytes(uri, text.encode())
        if model.run_id and model.store:
            run = tracking.TrackingRun.attach(model.store, model.run_id)
            run.log_file(uri, "report")
            if points:
                run.log_text(figures.training(points), "figures/training.svg")
        finished = manifest.publish(folder, request, {"bytes": len(text.encode())})
    return uri, finished


def render(
    found: Mapping[str, Any],
    *,
    curves: Mapping[str, Sequence[Mapping[str, Any]]],
    course: Sequence[Mapping[str, Any]],
    shown: Sequence[Mapping[str, Any]],
    origin: Mapping[str, str],
) -> str:
    """The page.

    Args:
        found: `results.json`.
        curves: data set -> ROC curves for `figures.roc_rows`.
        course: lines of pre-training's `metrics.jsonl`; empty leaves the section out.
        shown: plates, from `_plates`.
        origin: what else stands under provenance.
    """
    parts = found["datasets"]
    order = sorted(parts, key=lambda name: (name != POOLED, name != "simulated"))
    rows = [row for part in parts.values() for row in part["conditions"].values() if row["headline"]]
    lowest = min((row["low"] for row in rows if row["low"] is not None), default=1.0)
    calibrated = [name for name in ("simulated", POOLED) if name in parts] or order[:1]
    return html.template("page.html").render(
        found=found,
        model=found["model"],
        datasets=[_dataset(name, parts[name], found) for name in order],
        axis=_axis(min(0.4, lowest)),
        roc={_title(name): figures.roc_rows(curves[name]) for name in order if curves.get(name)},
        calibration=figures.calibration({_title(name): parts[name]["calibration"] for name in calibrated}),
        training=figures.training(course) if course else "",
        plates=shown,
        origin=origin,
    )


def _dataset(name: str, part: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    rows = sorted(
        part["conditions"].values(),
        key=lambda row: (not row["headline"], -(row["auroc"] if row["auroc"] is not None else -1)),
    )
    splits = found["data"].get(name, {}).get("splits", [])
    return {**part, "id": name, "title": _title(name), "rows": rows, "splits": splits}


def _title(name: str) -> str:
    return _TITLES.get(name, name)


class _Axis:
    """Where an AUROC stands in the interval column, in a viewBox 100 wide."""

    def __init__(self, low: float) -> None:
        self.low = low
        tenths = range(round(low * 10), 11)
        self.ticks = [tenth / 10 for tenth in tenths]

    def x(self, value: float) -> float:
        return round(2 + 96 * (max(value, self.low) - self.low) / (1 - self.low), 2)


def _axis(lowest: float) -> _Axis:
    return _Axis(max(0.0, int(lowest * 10) / 10))


def _scored(folder: str, found: Mapping[str, Any]) -> dict[str, examples.Scored]:
    """Scores and labels by data set, the pool included."""
    tables = [read_table(storage.join(folder, "scores", f"{name}.parquet")) for name in found["data"]]
    scores = pa.concat_tables(tables)
    return {
        name: examples.align(scores, read_table(storage.join(folder, "labels", f"{name}.parquet")))
        for name in found["datasets"]
    }


def _curves(
    found: Mapping[str, Any], scored: Mapping[str, examples.Scored]
) -> dict[str, list[dict[str, Any]]]:
    """ROC curves of the headline classes, most positives first, of the pool and of the simulated ECGs."""
    curves = {}
    for name in (POOLED, "simulated"):
        if name in scored:
            rows = [
                (row["positives"], c)
                for c, row in found["datasets"][name]["conditions"].items()
                if row["headline"]
            ]
            chosen = [condition for _, condition in sorted(rows, reverse=True)][:_MOST_ROC_CURVES]
            curves[name] = [_roc(found["datasets"][name]["conditions"][c], scored[name], c) for c in chosen]
    return curves


def _roc(row: Mapping[str, Any], scored: examples.Scored, condition: str) -> dict[str, Any]:
    false, true = rankings.roc_curve(rankings.rank(scored.scores[condition], scored.labels[condition]))
    return {**row, "false": false, "true": true}


def _plates(
    recipe: config.Recipe, found: Mapping[str, Any], scored: Mapping[str, examples.Scored]
) -> list[dict[str, Any]]:
    """Plates of real ECGs, or of simulated ones where nothing else was evaluated."""
    count, name = recipe.evaluation.plates, POOLED if POOLED in scored else next(iter(scored))
    conditions = examples.conditions_to_show(
        found["datasets"][name]["conditions"], -(-count // len(examples.KINDS))
    )
    chosen = examples.choose(scored[name], conditions, count)
    shards = {data.name: data.shards for data in datasets.datasets(recipe)}
    shown = []
    for item in chosen:
        folder = shards[item.record_id.partition("/")[0]]
        ecg = examples.load(folder, [item.record_id])[item.record_id]
        figure = plates.plate(ecg.signal_mv, folder.rate_hz, ecg.n_valid)
        shown.append(
            {
                "example": item,
                "condition": display_name(item.condition),
                "labels": [display_name(label) for label in item.labels],
                "codes": ecg.codes,
                "top": [(display_name(c), p, true) for c, p, true in item.top],
                **figures.on_paper(figure),
            }
        )
    return shown
