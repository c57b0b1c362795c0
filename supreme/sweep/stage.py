"""The sweep stage from end to end: trials with nested MLflow runs, and the best one as a candidate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial

from supreme import log, manifest, owner, pretraining, storage, tracking
from supreme.config import ConfigError, Recipe
from supreme.manifest import Request
from supreme.registry import candidates, versions
from supreme.runtime.session import ray_session
from supreme.sweep import failures, ledger, table, tuner
from supreme.sweep.check import ModelCheck
from supreme.sweep.queue import TrialQueue
from supreme.sweep.runs import TrialRuns
from supreme.sweep.summary import PAGE, SWEEP, SweepManifest, SweepResult
from supreme.sweep.trials import Trial, folder_of, trial
from supreme.training.data.sources import absolute
from supreme.training.run import result
from supreme.training.run.stage import PretrainStage

#: Writes the page about a sweep into its folder.
Draw = Callable[[Recipe, str, SweepResult], None]

logger = log.get("sweep")


def request(stage: PretrainStage) -> Request:
    """Pre-training's request with the length of a trial.

    Space, search and number of trials are no part of it: a sweep may grow.
    """
    sections = stage.request.config | {"sweep": {"epochs": stage.recipe.sweep.epochs}}
    return Request(stage="sweep", config=sections, inputs=stage.request.inputs)


def run(recipe: Recipe, *, draw: Draw, new: bool = False) -> SweepManifest:
    """Run the trials and register the best; a sweep with nothing left to do is skipped, any other goes on.

    Raises:
        ConfigError: shards or labels are not there to train with, the folder belongs to another
            configuration, or the space cannot be searched; nothing is begun then.
        StorageError: the storage failed all trials.
        RuntimeError: no trial came to its end.
    """
    if recipe.training.start_from:
        raise ConfigError(
            "training.start_from: a sweep compares encoders and objectives from nothing: leave it out"
        )
    folder, stage = absolute(recipe.folder("sweep")), PretrainStage.open(recipe)
    ledger.plan(recipe, [] if new else ledger.read(folder))  # what is wrong is said before anything begins
    with (
        stage.opened_folder(folder, SWEEP, request(stage), new=new) as finished,
        # A finished sweep may have to grow.
        owner.owned(folder) if finished else nullcontext(),
    ):
        return _run(stage, folder, finished, draw)


def _run(stage: PretrainStage, folder: str, finished: SweepManifest | None, draw: Draw) -> SweepManifest:
    recipe = stage.recipe
    records = ledger.plan(recipe, ledger.read(folder))
    if left_out := ledger.left_out(recipe, records):
        logger.warning("sweep.trials=%s leaves out %d of the combinations", recipe.sweep.trials, left_out)
    runs = TrialRuns(recipe)
    queue = TrialQueue(recipe, folder, records, runs, ModelCheck(stage.inputs).problem)
    is_done = finished is not None and queue.is_done()
    behind = [record for record in records if tracking.is_behind(folder_of(recipe, record))]
    if finished and is_done and not behind and not tracking.is_behind(folder):
        return finished
    uri = tracking.open_store(recipe.tracking, recipe.root, folder)
    values = recipe.model_dump(mode="json")
    begin_run = partial(tracking.start_or_resume, uri, recipe.tracking.experiment)
    parent = begin_run(folder, f"{recipe.name} sweep", values, stage.request.inputs)
    runs.open(uri, parent, stage.request.inputs)
    with _closing(parent, runs):
        if finished is None or not is_done:
            with ray_session():
                tuner.run(stage, folder, queue, partial(_reporter, uri))
            summary = _summary(stage, folder, queue, finished, parent, uri)
            draw(recipe, folder, summary)
            logger.info("trials of %s:\n%s", folder, table.text(recipe, summary))
            finished = _publish(stage, folder, summary)
        assert finished is not None
        runs.complete(finished.result)
    parent.finish(**table.tracked(finished.result), files=(ledger.TRIALS, PAGE))
    return finished


@contextmanager
def _closing(parent: tracking.StageRun, runs: TrialRuns) -> Iterator[None]:
    """Close the sweep's run and those of unfinished trials where the block does not come to its end."""
    try:
        with tracking.closing_early(parent):
            yield
    except BaseException as error:
        runs.abort("FAILED" if isinstance(error, Exception) else "KILLED")
        raise


def _reporter(uri: str, folder: str) -> tuner.driver.Reporter:
    return tracking.follow(uri, folder).report


def _summary(
    stage: PretrainStage,
    folder: str,
    queue: TrialQueue,
    before: SweepManifest | None,
    parent: tracking.StageRun,
    uri: str,
) -> SweepResult:
    """The result; a winner that is not registered yet becomes a candidate.

    Raises:
        RuntimeError: no trial came to its end.
    """
    full, records = stage.recipe.sweep.finalists > 0, list(queue.records.values())
    ranking = ledger.ranking(records, full=full)
    if not ranking:
        raise failures.explain(records, queue.storage_failures)
    value, group = ranking[0]
    best = max(group, key=lambda record: record.value or 0.0)
    bundle, model_uri = "", ""
    if full:
        bundle = storage.join(folder, pretraining.BUNDLE)
        if before and before.result.best == best.name and before.result.model_uri:
            model_uri = before.result.model_uri
        else:
            model_uri = _register(stage, folder, trial(stage.recipe, best), uri)
    recipe_values = [value for value, group in ledger.ranking(records, full=False) if group[0].number == 0]
    return SweepResult(
        model_uri=model_uri,
        bundle=bundle,
        best=best.name,
        changes=best.changes,
        value=value,
        recipe_value=recipe_values[0] if recipe_values else None,
        run_id=parent.run_id,
        trials={outcome.name: outcome for outcome in ledger.outcomes(records)},
    )


def _register(stage: PretrainStage, folder: str, best: Trial, uri: str) -> str:
    """Register the best trial's bundle as a candidate; the URI of its version."""
    opened = stage.trial(best.recipe, best.folder, best.name)
    trained = result.load_trained(opened)
    pretraining.write_bundle_of(opened, trained, folder)
    version = versions.register(
        storage.join(folder, pretraining.BUNDLE),
        tracking.follow(uri, best.folder).run_id,
        tracking_uri=uri,
        model=stage.recipe.tracking.model,
        tags=candidates.tags_of(best.recipe) | versions.Selection.of_training(trained.result).tags(),
    )
    return f"models:/{version.name}/{version.version}"


def _publish(stage: PretrainStage, folder: str, summary: SweepResult) -> SweepManifest:
    names = [name for name in storage.list_files(folder) if name.startswith(f"{pretraining.BUNDLE}/")]
    files = manifest.describe_all(folder, [*names, PAGE])
    return manifest.publish(folder, SWEEP, request(stage), summary, files)
