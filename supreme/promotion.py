"""The gate: whether a registered candidate becomes the champion.

It decides on results of the evaluation stage: candidate and champion on the same records, seen by neither.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from supreme import config, log, tracking
from supreme.evaluation import stage, targets, verdict
from supreme.evaluation.benchmarks import POOLED
from supreme.evaluation.compare import Comparison, compare
from supreme.evaluation.datasets import NothingToEvaluate
from supreme.evaluation.folder import EvaluationFolder
from supreme.registry import versions
from supreme.registry.versions import ModelVersion, Selection

logger = log.get("promote")


@dataclass(frozen=True)
class Contender:
    """A registered model at the gate."""

    version: int
    knows_its_data: bool
    """Whether its bundle says what it was trained on."""
    selection: Selection | None
    evaluation: EvaluationFolder | None
    """None where no data set of the recipe has a record with labels that the model has not seen."""


@dataclass(frozen=True)
class Decision:
    """What the gate decided, and why in one line."""

    promoted: bool
    reason: str
    comparisons: tuple[Comparison, ...] = ()
    """Candidate minus champion; the first one decided."""


class Difference(BaseModel):
    """Macro AUROC of the candidate minus the champion's, with its 95 % interval by patient."""

    model_config = ConfigDict(frozen=True)

    difference: float
    low: float
    high: float


class PromotionResult(BaseModel):
    """What `jobs/promote.py` prints."""

    model_config = ConfigDict(frozen=True)

    model_uri: str
    version: int
    alias: str
    promoted: bool
    reason: str
    comparisons: dict[str, Difference]


def candidate_uri(recipe: config.Recipe) -> str:
    """`evaluation.model_uri`, or the newest registered candidate."""
    return recipe.evaluation.model_uri or f"models:/{recipe.tracking.model}@{versions.CANDIDATE}"


def run(recipe: config.Recipe, *, new_data: bool = False) -> tuple[ModelVersion, Decision]:
    """Decide about the candidate and, if it passes, make it the champion.

    Whichever of the two has no result on the recipe's data sets is evaluated first.

    Raises:
        ConfigError: no registered candidate, or the data sets cannot be evaluated on.
    """
    uri = candidate_uri(recipe)
    if not uri.startswith("models:"):
        raise config.ConfigError(f"{uri} is not registered: run jobs/register.py first")
    store = tracking.open_store(recipe.tracking, recipe.root)
    candidate = versions.resolve(uri, store)
    # Whenever another process has promoted a model meanwhile, that one is the champion to compare with.
    while True:
        champion = versions.find(f"models:/{candidate.name}@{versions.CHAMPION}", store)
        if champion is not None and versions.same(champion, candidate):
            reason = champion.tags.get(versions.REASON, "it is the champion already")
            return champion, Decision(True, reason)
        contender = _contender(recipe, candidate, store)
        rival = None
        if champion is not None and contender.knows_its_data:
            rival = _contender(recipe, champion, store)
        decision = decide(contender, rival, recipe.promote.margin, new_data=new_data)
        if not decision.promoted:
            logger.info(
                "version %s of %s stays a candidate: %s", candidate.version, candidate.name, decision.reason
            )
            return candidate, decision
        if versions.replace_champion(candidate, champion, tracking_uri=store, reason=decision.reason):
            return candidate, decision
        logger.info("another model was promoted meanwhile: compared again")


def decide(
    candidate: Contender, champion: Contender | None, margin: float, *, new_data: bool = False
) -> Decision:
    """Whether a candidate is to replace the champion.

    It must not be worse than the champion by more than ``margin``: the 95 % interval of the paired difference
    by patient stays above minus the margin, on the pool of real data sets, else on simulated ECGs. Without
    any data with labels the validation numbers are compared, if they were measured on the same records.

    Args:
        new_data: promote a candidate whose numbers cannot be compared with the champion's.
    """
    if not candidate.knows_its_data:
        return Decision(
            False, "its bundle does not say what it was trained on: pre-train it again with this version"
        )
    if champion is None:
        return Decision(True, f"first champion; {_own_numbers(candidate)}")
    if candidate.evaluation is None or champion.evaluation is None:
        return _by_validation(candidate, champion, margin, new_data)
    comparisons = tuple(compare(candidate.evaluation, champion.evaluation))
    if not comparisons:
        decision = _by_validation(candidate, champion, margin, new_data)
        return Decision(decision.promoted, f"no class has enough positives to compare; {decision.reason}")
    return _by_comparison(comparisons, champion, margin)


def result(version: ModelVersion, decision: Decision) -> PromotionResult:
    """The job's result."""
    return PromotionResult(
        model_uri=f"models:/{version.name}/{version.version}",
        version=int(version.version),
        alias=versions.CHAMPION if decision.promoted else versions.CANDIDATE,
        promoted=decision.promoted,
        reason=decision.reason,
        comparisons={
            one.dataset: Difference(difference=one.difference, low=one.low, high=one.high)
            for one in decision.comparisons
        },
    )


def _contender(recipe: config.Recipe, version: ModelVersion, store: str) -> Contender:
    uri, selection = f"models:/{version.name}/{version.version}", Selection.of(version)
    try:
        # Both must be evaluated alike: results of the champion that were made with other settings give way.
        stage.run(recipe, uri, on_change="replace")
    except NothingToEvaluate:
        known = versions.load(uri, store).trained_on is not None
        return Contender(int(version.version), known, selection, None)
    evaluation = EvaluationFolder.open(recipe, targets.target(recipe, uri))
    known = evaluation.result.model.trained_on is not None
    return Contender(int(version.version), known, selection, evaluation)


def _by_comparison(comparisons: tuple[Comparison, ...], champion: Contender, margin: float) -> Decision:
    first = comparisons[0]
    where = "all real data sets pooled" if first.dataset == POOLED else first.dataset
    numbers = (
        f"macro AUROC {first.auroc_a:.3f} against {first.auroc_b:.3f} of the champion (version "
        f"{champion.version}) on {where} ({first.records:,} records, {first.classes} classes)"
    )
    if first.dataset != POOLED:
        numbers += ", no real data to compare on"
    if not champion.knows_its_data:
        numbers += "; what the champion was trained on is unknown, which may flatter it"
    interval = verdict.interval_text(first)
    if verdict.is_within(first, margin):
        return Decision(True, f"not worse by more than {margin:g}: {interval}; {numbers}", comparisons)
    return Decision(
        False, f"may be worse by more than the margin of {margin:g}: {interval}; {numbers}", comparisons
    )


def _by_validation(candidate: Contender, champion: Contender, margin: float, new_data: bool) -> Decision:
    """For want of data with labels: the numbers by which the weights were selected."""
    mine, other = candidate.selection, champion.selection
    name = f"champion (version {champion.version})"
    why = ""
    if mine is None or other is None or mine.metric != other.metric:
        why = f"candidate and {name} were not selected by the same metric"
    elif mine.validation_digest != other.validation_digest:
        why = f"the {name} was validated on other data"
    elif math.isnan(mine.value) or mine.metric == "validation_loss":
        why = f"{mine.metric} of the candidate is no number to compare by"
    if why:
        consequence = "promoted because of --new" if new_data else "it stays, --new replaces it all the same"
        return Decision(new_data, f"not comparable without labels: {why}; {consequence}")
    assert mine is not None
    assert other is not None
    numbers = f"{mine.metric} {mine.value:.4f} against {other.value:.4f} of the {name}"
    if math.isnan(other.value) or mine.value >= other.value - margin:
        return Decision(True, f"not worse by more than {margin:g} in validation alone: {numbers}")
    return Decision(False, f"worse by more than {margin:g} in validation alone: {numbers}")


def _own_numbers(candidate: Contender) -> str:
    if candidate.evaluation is None:
        selection = candidate.selection
        number = f"{selection.metric} {selection.value:.4f}" if selection else "no number"
        return f"{number} in validation alone: no data set with labels"
    aurocs = candidate.evaluation.result.macro("headline")
    name = POOLED if POOLED in aurocs else next(iter(aurocs))
    value = aurocs[name]
    number = "undefined" if value is None else f"{value:.3f}"
    return f"macro AUROC {number} on {'all real data sets pooled' if name == POOLED else name}"
