"""The page that compares the measurements of data sets."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from supreme import manifest, storage
from supreme.config import ConfigError, Recipe
from supreme.evaluation import distributions
from supreme.evaluation.distributions import DistributionComparison
from supreme.records import all_sources
from supreme.records.simulated import SIMULATOR_VERSION
from supreme.reporting.html import template
from supreme.settings.data import Source

PAGE, NUMBERS = "distributions.html", "distributions.json"
#: Measurements of a condition that the page shows; the file has all of them.
SHOWN = 12


class DistributionSummary(BaseModel):
    """What a finished stage says of itself."""

    model_config = ConfigDict(frozen=True)

    mean_distance: dict[str, dict[str, float]]
    """Pair of data sets -> condition -> mean Kolmogorov-Smirnov distance of all measurements."""


MEASURE = manifest.Stage(name="measure", job="measure", result=DistributionSummary, files=(PAGE, NUMBERS))


def write(recipe: Recipe, *, new: bool = False) -> tuple[str, manifest.Manifest[DistributionSummary]]:
    """Compare the first source of a recipe with each other one and with those of `real`; folder and manifest.

    Raises:
        ConfigError: there is nothing to compare it with, or a data set is absent.
    """
    first, *others = all_sources(recipe)
    if not others:
        raise ConfigError(
            f"nothing to compare {first.dataset!r} with: give real=FOLDER, or a second [[sources]]"
        )
    folder = recipe.folder("measure")
    sections = {
        "sources": [source.model_dump(mode="json", exclude={"weight"}) for source in (first, *others)],
        "simulator": SIMULATOR_VERSION,
        "seed": recipe.seed,
        "rate_hz": recipe.shards.rate_hz,
    }
    request = manifest.Request(stage="measure", config=sections)
    with manifest.opened(folder, MEASURE, request, on_change="replace", new=new) as finished:
        return folder, finished or _publish(recipe, (first, *others), request, folder)


def _publish(
    recipe: Recipe, sources: Sequence[Source], request: manifest.Request, folder: str
) -> manifest.Manifest[DistributionSummary]:
    rate_hz = recipe.shards.rate_hz
    first, *others = (distributions.measure(source, recipe.seed, rate_hz) for source in sources)
    comparisons = [distributions.compare(first, other) for other in others]
    storage.write_json(storage.join(folder, NUMBERS), [one.model_dump(mode="json") for one in comparisons])
    storage.write_bytes(storage.join(folder, PAGE), render(recipe, comparisons).encode())
    result = DistributionSummary(mean_distance=distributions.summary(comparisons))
    return manifest.publish(folder, MEASURE, request, result)


def render(recipe: Recipe, comparisons: Sequence[DistributionComparison]) -> str:
    """The page."""
    return template("distributions.html").render(recipe=recipe.name, comparisons=comparisons, shown=SHOWN)
