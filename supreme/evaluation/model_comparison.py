"""Evaluated models side by side: the first one against each of the others, and a leaderboard of all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from supreme import config, log
from supreme.evaluation import leaderboard, stage, targets
from supreme.evaluation.compare import Comparison, compare
from supreme.evaluation.compare_benchmarks import compare_benchmarks
from supreme.evaluation.folder import EvaluationFolder
from supreme.evaluation.leaderboard import Entrant, Leaderboard, PublishedNumber
from supreme.evaluation.verdict import Verdict, sentence, verdict
from supreme.metrics.multiplicity import holm

logger = log.get("compare")


class _Compared(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DatasetVerdict(_Compared):
    """Model A against model B on one data set."""

    verdict: Verdict
    sentence: str
    comparison: Comparison
    """Its p-value is adjusted after Holm, over the models that A is compared with."""


class ModelPair(_Compared):
    """Two models, on every data set that both were evaluated on, the most telling one first."""

    a: str
    b: str
    datasets: tuple[DatasetVerdict, ...]


class ModelComparison(_Compared):
    """What `jobs/compare.py` finds; written as `comparison.json`."""

    schema_version: Literal[1] = 1
    models: tuple[str, ...]
    margin: float
    min_positives: int
    bootstrap: int
    pairs: tuple[ModelPair, ...]
    leaderboards: tuple[Leaderboard, ...]
    published: tuple[PublishedNumber, ...]

    def verdicts(self) -> dict[str, dict[str, Verdict]]:
        """Verdict about the first model by rival and data set."""
        return {pair.b: {one.comparison.dataset: one.verdict for one in pair.datasets} for pair in self.pairs}


def entrants(recipe: config.Recipe) -> list[Entrant]:
    """The models of `compare.models`, each evaluated with this recipe's settings, now or before.

    Raises:
        ConfigError: fewer than two models, the same one twice, or one that cannot be evaluated.
    """
    uris = recipe.compare.models
    if len(uris) < 2:
        raise config.ConfigError('compare.models names fewer than two models: \'compare.models=["A", "B"]\'')
    models = [targets.target(recipe, uri) for uri in uris]
    uri_of: dict[str, str] = {}
    for model in models:
        if model.sha256 in uri_of:
            same = f"{uri_of[model.sha256]} and {model.uri}"
            raise config.ConfigError(f"compare.models: {same} are the same model: leave one out")
        uri_of[model.sha256] = model.uri
    for model in models:
        stage.run(recipe, model.uri, on_change="replace")
    return [Entrant(model.uri, EvaluationFolder.open(recipe, model)) for model in models]


def compare_models(entered: Sequence[Entrant], margin: float) -> ModelComparison:
    """Compare the first model with each of the others.

    Raises:
        ConfigError: two models have no data set, record or class in common.
    """
    first, *others = entered
    compared = []
    for other in others:
        pair = first.evaluation, other.evaluation
        comparisons = [*compare(*pair), *compare_benchmarks(*pair)]
        if not comparisons:
            raise config.ConfigError(
                f"{first.name} and {other.name} have no data set with a class to compare on: evaluate both "
                "on the same data sets, or lower evaluation.min_positives"
            )
        compared.append(comparisons)
    adjusted = _adjusted(compared)
    result = first.evaluation.result
    return ModelComparison(
        models=tuple(one.name for one in entered),
        margin=margin,
        min_positives=result.min_positives,
        bootstrap=result.bootstrap,
        pairs=tuple(
            ModelPair(a=first.name, b=other.name, datasets=tuple(judge(one, margin) for one in comparisons))
            for other, comparisons in zip(others, adjusted, strict=True)
        ),
        leaderboards=tuple(leaderboard.leaderboards(entered, result.min_positives)),
        published=leaderboard.published(),
    )


def judge(comparison: Comparison, margin: float) -> DatasetVerdict:
    """A comparison with its verdict, in one word and in a sentence."""
    return DatasetVerdict(
        verdict=verdict(comparison, margin), sentence=sentence(comparison, margin), comparison=comparison
    )


def _adjusted(compared: Sequence[Sequence[Comparison]]) -> list[list[Comparison]]:
    """The same comparisons, their p-values adjusted over the models, data set by data set."""
    places = defaultdict(list)
    for model, comparisons in enumerate(compared):
        for place, one in enumerate(comparisons):
            places[one.dataset].append((model, place))
    adjusted = [list(comparisons) for comparisons in compared]
    for same in places.values():
        p_values = holm([compared[model][place].p_value for model, place in same])
        for (model, place), p_value in zip(same, p_values, strict=True):
            changed = compared[model][place].model_copy(update={"p_value": float(p_value)})
            adjusted[model][place] = changed
    return adjusted
