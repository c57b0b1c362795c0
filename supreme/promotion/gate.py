"""Judge a candidate and move the alias, or move it back; every decision goes into the history."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from supreme import config, log, manifest, tracking
from supreme.evaluation import stage, targets
from supreme.evaluation.datasets import NothingToEvaluate
from supreme.evaluation.folder import EvaluationFolder
from supreme.evaluation.model_comparison import DatasetVerdict, judge
from supreme.promotion.decision import Contender, Decision, decide
from supreme.promotion.result import PromotionHistory, PromotionResult
from supreme.registry import candidates, champion, history, versions
from supreme.registry.history import DecisionNote, HistoryEntry
from supreme.registry.versions import ModelVersion, Selection
from supreme.settings import promote
from supreme.sweep.summary import SWEEP

logger = log.get("promote")


class DecisionEvidence(BaseModel):
    """The artifact `decision.json`: what a decision was based on."""

    model_config = ConfigDict(frozen=True)

    candidate: str
    candidate_sha256: str
    champion: str
    """Empty where there was none."""
    promoted: bool
    reason: str
    margin: float
    guarded: tuple[str, ...]
    class_limit: float
    comparisons: tuple[DatasetVerdict, ...]
    """Candidate minus champion, with the verdicts of `jobs/compare.py`."""


def candidate_uri(recipe: config.Recipe) -> str:
    """The version that `promote.model` names, the stage's version, or the newest registered candidate.

    Raises:
        ConfigError: the named stage of the recipe is not finished, or a folder is named.
    """
    named = recipe.promote.model
    if named == promote.SWEEP:
        winner = manifest.require(recipe.folder("sweep"), SWEEP).result
        if not winner.model_uri:
            raise config.ConfigError(
                f"the sweep has registered nothing, its winner {winner.best} is only a short trial: run "
                "jobs/sweep.py with sweep.finalists=1"
            )
        return winner.model_uri
    if named == promote.PRETRAIN:
        return candidates.uri_of_pretrained(recipe)
    default = f"models:/{recipe.tracking.model}@{versions.CANDIDATE}"
    uri = named or recipe.evaluation.model_uri or default
    if not uri.startswith("models:"):
        raise config.ConfigError(f"{uri} is not registered: run jobs/register.py first")
    return uri


def run(recipe: config.Recipe, *, new_data: bool = False) -> PromotionResult:
    """Decide about the candidate and, if it passes, make it the champion.

    Whichever of the two has no result on the recipe's data sets is evaluated first.

    Raises:
        ConfigError: no registered candidate, or the data sets cannot be evaluated on.
        BundleError: the candidate's files are not those that were registered.
    """
    store = tracking.open_store(recipe.tracking, recipe.root)
    candidate = versions.resolve(candidate_uri(recipe), store)
    # Whenever another process has promoted a model meanwhile, that one is the champion to compare with.
    while True:
        current = versions.find(f"models:/{candidate.name}@{versions.CHAMPION}", store)
        entries = history.read(candidate.name, store)
        if by_hand := champion.moved_by_hand(entries, current):
            logger.warning(by_hand)
        if current is not None and versions.same(current, candidate):
            return _already(candidate, entries)
        decision = _rolled_back(recipe, candidate, entries)
        decision = decision or _judge(recipe, candidate, current, store, new_data=new_data)
        note = _note(recipe, candidate, current, decision, by_hand)
        if not decision.promoted:
            entry = champion.refuse(candidate, current, tracking_uri=store, note=note)
            return PromotionResult.of(candidate, decision, entry)
        if moved := champion.replace_champion(candidate, current, tracking_uri=store, note=note):
            return PromotionResult.of(candidate, decision, moved)
        logger.info("another model was promoted meanwhile: compared again")


def go_back(recipe: config.Recipe) -> PromotionResult:
    """Make the version with the alias `previous` the champion again.

    Raises:
        ConfigError: there is no version to go back to.
    """
    store, model = tracking.open_store(recipe.tracking, recipe.root), _model(recipe)
    reason = recipe.promote.reason or "no reason given"
    note = DecisionNote(reason, recipe.name, experiment=recipe.tracking.experiment)
    entry = champion.rollback(model, tracking_uri=store, note=note)
    version = versions.resolve(f"models:/{model}/{entry.version}", store)
    return PromotionResult.of(version, Decision(True, entry.reason), entry)


def read_history(recipe: config.Recipe) -> PromotionHistory:
    """All decisions about the recipe's model, oldest first; nothing is changed.

    Raises:
        ConfigError: no such registered model.
    """
    store, model = tracking.open_store(recipe.tracking, recipe.root), _model(recipe)
    entries = history.read(model, store)
    current, previous = (
        versions.find(f"models:/{model}@{alias}", store) for alias in (versions.CHAMPION, versions.PREVIOUS)
    )
    return PromotionHistory(
        model=model,
        champion=int(current.version) if current else None,
        previous=int(previous.version) if previous else None,
        note=champion.moved_by_hand(entries, current),
        decisions=tuple(entries),
    )


def _model(recipe: config.Recipe) -> str:
    """The registered model that is asked about."""
    named = recipe.promote.model
    if named.startswith("models:/"):
        return named.removeprefix("models:/").partition("/")[0].partition("@")[0]
    return recipe.tracking.model


def _already(candidate: ModelVersion, entries: list[HistoryEntry]) -> PromotionResult:
    """The candidate is the champion: what was decided then."""
    own = [entry for entry in entries if entry.moved and entry.version == int(candidate.version)]
    reason = own[-1].reason if own else "it is the champion already"
    return PromotionResult.of(candidate, Decision(True, reason), own[-1] if own else None)


def _rolled_back(
    recipe: config.Recipe, candidate: ModelVersion, entries: list[HistoryEntry]
) -> Decision | None:
    """A version that was rolled back is promoted again only where somebody names it."""
    if recipe.promote.model.startswith("models:/"):
        return None
    number = int(candidate.version)
    about = [one for one in entries if one.moved and number in (one.version, one.champion)]
    if not about or about[-1].action != "rollback" or about[-1].champion != number:
        return None
    last = about[-1]
    return Decision(
        False,
        f"{last.by} rolled it back at {last.at} ({last.reason}): to promote it all the same, name it as "
        f"promote.model=models:/{candidate.name}/{number}",
    )


def _judge(
    recipe: config.Recipe,
    candidate: ModelVersion,
    current: ModelVersion | None,
    store: str,
    *,
    new_data: bool,
) -> Decision:
    contender, rival = _contender(recipe, candidate, store), None
    if current is not None and contender.knows_its_data:
        rival = _contender(recipe, current, store)
    return decide(contender, rival, recipe.promote, new_data=new_data)


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


def _note(
    recipe: config.Recipe,
    candidate: ModelVersion,
    current: ModelVersion | None,
    decision: Decision,
    by_hand: str,
) -> DecisionNote:
    gate = recipe.promote
    parts = [gate.reason, decision.reason, f"before, {by_hand}" if by_hand else ""]
    evidence = DecisionEvidence(
        candidate=f"models:/{candidate.name}/{candidate.version}",
        candidate_sha256=candidate.tags.get(versions.SHA256, ""),
        champion=f"models:/{current.name}/{current.version}" if current else "",
        promoted=decision.promoted,
        reason=decision.reason,
        margin=gate.margin,
        guarded=gate.guarded,
        class_limit=gate.class_limit,
        comparisons=tuple(judge(one, gate.margin) for one in decision.comparisons),
    )
    return DecisionNote(
        reason="; ".join(part for part in parts if part),
        recipe=recipe.name,
        evidence=evidence.model_dump_json(indent=2),
        experiment=recipe.tracking.experiment,
    )
