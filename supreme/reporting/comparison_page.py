"""One self-contained HTML page from a comparison of models: verdicts, forest plots, leaderboards."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from supreme import config, manifest, storage
from supreme.evaluation import comparison_tables, model_comparison
from supreme.evaluation.leaderboard import Entrant
from supreme.evaluation.model_comparison import DatasetVerdict, ModelComparison
from supreme.reporting import forest, html
from supreme.reporting.page import title_of
from supreme.storage.documents import read_document

PAGE, NUMBERS = "comparison.html", "comparison.json"
#: The same numbers as one long table, and as tables benchmark by model.
CSV, LATEX = "comparison.csv", "comparison.tex"


class ComparisonSummary(BaseModel):
    """What a finished comparison says of itself."""

    model_config = ConfigDict(frozen=True)

    verdicts: dict[str, dict[str, str]]
    """Rival -> data set -> verdict about the first model."""


COMPARISON = manifest.Stage(
    name="compare", job="compare", result=ComparisonSummary, files=(PAGE, NUMBERS, CSV, LATEX)
)


@dataclass(frozen=True)
class ComparedDataset:
    """A data set on the page."""

    title: str
    judged: DatasetVerdict
    figure: str
    """SVG."""


def write(recipe: config.Recipe, *, new: bool = False) -> tuple[str, manifest.Manifest[ComparisonSummary]]:
    """Compare the models of `compare.models`; the folder of the page and its manifest.

    A model without an evaluation is evaluated first.

    Raises:
        ConfigError: as `model_comparison.entrants` and `model_comparison.compare_models`.
    """
    entrants = model_comparison.entrants(recipe)
    request = _request(recipe, entrants)
    folder = recipe.folder(f"compare/{config.digest(sorted(request.inputs))[:12]}")
    with manifest.opened(folder, COMPARISON, request, on_change="replace", new=new) as finished:
        return folder, finished or _publish(recipe, entrants, request, folder)


def _publish(
    recipe: config.Recipe, entrants: list[Entrant], request: manifest.Request, folder: str
) -> manifest.Manifest[ComparisonSummary]:
    result = model_comparison.compare_models(entrants, recipe.compare.margin)
    storage.write_json(storage.join(folder, NUMBERS), result.model_dump(mode="json"))
    pages = {
        PAGE: render(recipe.name, result),
        CSV: comparison_tables.csv_text(result),
        LATEX: comparison_tables.latex_text(result),
    }
    for name, text in pages.items():
        storage.write_bytes(storage.join(folder, name), text.encode())
    summary = ComparisonSummary(verdicts={rival: dict(row) for rival, row in result.verdicts().items()})
    return manifest.publish(folder, COMPARISON, request, summary)


def read(folder: str) -> ModelComparison:
    """The numbers in a comparison's folder.

    Raises:
        ConfigError: damaged or of another version; the message names file and remedy.
    """
    return read_document(storage.join(folder, NUMBERS), ModelComparison, remedy=COMPARISON.remedy)


def lines(result: ModelComparison) -> list[str]:
    """A comparison for the console, a line for each rival and data set."""
    return [
        f"{one.comparison.dataset}, A = {pair.a}, B = {pair.b}: {one.sentence}"
        for pair in result.pairs
        for one in pair.datasets
    ]


def render(name: str, result: ModelComparison) -> str:
    """The page."""
    return html.template("comparison.html").render(
        name=name,
        result=result,
        pairs=[
            (
                pair,
                [
                    ComparedDataset(
                        title_of(one.comparison.dataset), one, forest.forest(one.comparison, result.margin)
                    )
                    for one in pair.datasets
                ],
            )
            for pair in result.pairs
        ],
        boards=[(title_of(board.dataset), board) for board in result.leaderboards],
    )


def _request(recipe: config.Recipe, entrants: list[Entrant]) -> manifest.Request:
    inputs = {entrant.name: entrant.evaluation.manifest.digest() for entrant in entrants}
    settings = {"margin": recipe.compare.margin, "models": [entrant.name for entrant in entrants]}
    return manifest.Request(stage=COMPARISON.name, config=settings, inputs=inputs)
