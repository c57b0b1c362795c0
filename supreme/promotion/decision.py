"""Whether a candidate is to become the champion, from what is known about both; nothing is changed here."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from supreme.evaluation import verdict
from supreme.evaluation.benchmarks import POOLED
from supreme.evaluation.compare import Comparison, compare
from supreme.evaluation.compare_benchmarks import compare_benchmarks
from supreme.evaluation.folder import EvaluationFolder
from supreme.promotion import guards
from supreme.registry.versions import Selection
from supreme.settings.promote import Promote


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
    """Candidate minus champion, the most telling one first."""


def decide(
    candidate: Contender, champion: Contender | None, settings: Promote, *, new_data: bool = False
) -> Decision:
    """Whether a candidate is to replace the champion.

    It must not be worse than the champion by more than the margin: the 95 % interval of the paired difference
    by patient stays above minus the margin, on the pool of real data sets and on the mean over the benchmarks
    of each protocol, as far as all of them are there; without real data on simulated ECGs. No guarded class
    may have lost more than its limit. Without any data with labels the validation numbers are compared, if
    they were measured on the same records.

    Args:
        new_data: promote a candidate whose numbers cannot be compared with the champion's.

    Raises:
        ConfigError: a guarded class is in no result.
    """
    if not candidate.knows_its_data:
        return Decision(
            False, "its bundle does not say what it was trained on: pre-train it again with this version"
        )
    if champion is None:
        return Decision(True, f"first champion; {_own_numbers(candidate)}")
    comparisons: tuple[Comparison, ...] = ()
    if candidate.evaluation is not None and champion.evaluation is not None:
        pair = candidate.evaluation, champion.evaluation
        guards.check_names(settings.guarded, pair)
        comparisons = (*compare(*pair), *compare_benchmarks(*pair))
    if not comparisons:
        decision = _by_validation(candidate, champion, settings.margin, new_data)
        if candidate.evaluation is not None and champion.evaluation is not None:
            decision = replace(
                decision, reason=f"no class has enough positives to compare; {decision.reason}"
            )
    else:
        decision = _by_comparison(comparisons, champion, settings.margin)
    objection = guards.objection(settings.guarded, settings.class_limit, comparisons)
    if decision.promoted and objection:
        return replace(decision, promoted=False, reason=f"{objection}; {decision.reason}")
    return decision


def _deciding(comparisons: tuple[Comparison, ...]) -> list[Comparison]:
    """The pool of real data sets and every mean over several benchmarks, else the most telling data set."""
    real = [one for one in comparisons if one.dataset == POOLED or not one.by_class]
    return real or [comparisons[0]]


def _by_comparison(comparisons: tuple[Comparison, ...], champion: Contender, margin: float) -> Decision:
    deciding = _deciding(comparisons)
    # The one that speaks most against the candidate.
    shown = min(deciding, key=lambda one: one.low)
    where = "all real data sets pooled" if shown.dataset == POOLED else shown.dataset
    numbers = (
        f"macro AUROC {shown.auroc_a:.3f} against {shown.auroc_b:.3f} of the champion (version "
        f"{champion.version}) on {where} ({shown.records:,} records, {shown.classes} classes)"
    )
    if len(deciding) > 1:
        numbers += f", the least favourable of {len(deciding)}"
    if shown.dataset != POOLED and shown.by_class:
        numbers += ", no real data to compare on"
    if not champion.knows_its_data:
        numbers += "; what the champion was trained on is unknown, which may flatter it"
    interval = verdict.interval_text(shown)
    if verdict.is_within(shown, margin):
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
