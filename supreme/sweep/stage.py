"""The sweep stage from end to end: trials with nested MLflow runs, and the best one as a candidate."""

from __future__ import annotations

from functools import partial

from supreme import manifest, pretraining, storage, tracking
from supreme.config import Recipe
from supreme.manifest import Request
from supreme.registry import versions
from supreme.runtime.session import ray_session
from supreme.sweep import tuner
from supreme.sweep.summary import SWEEP, SweepManifest, SweepResult
from supreme.sweep.trials import Trial, ranked, trials
from supreme.training.data.sources import absolute
from supreme.training.run import result
from supreme.training.run.stage import PretrainStage, TrainingPlan, Waiting, plan


def plans(recipe: Recipe) -> dict[str, TrainingPlan | Waiting]:
    """What each trial would do, by name."""
    return {
        trial.name: plan(trial.recipe).model_copy(update={"folder": trial.folder}) for trial in trials(recipe)
    }


def request(stage: PretrainStage) -> Request:
    """Pre-training's request with the section of the sweep."""
    sections = stage.request.config | {"sweep": stage.recipe.sweep.model_dump(mode="json")}
    return Request(stage="sweep", config=sections, inputs=stage.request.inputs)


def run(recipe: Recipe, *, new: bool = False) -> SweepManifest:
    """Run the trials and register the best; a finished sweep is skipped, an interrupted one goes on.

    Raises:
        ConfigError: shards or labels are not there to train with, the folder belongs to another
            configuration, or an objective cannot be compared.
        RuntimeError: no trial came to its end.
    """
    planned, folder, stage = trials(recipe), absolute(recipe.folder("sweep")), PretrainStage.open(recipe)
    with stage.opened_folder(folder, SWEEP, request(stage), new=new) as finished:
        if finished and not any(map(tracking.is_behind, [folder, *(trial.folder for trial in planned)])):
            return finished
        return _run(stage, folder, planned, finished)


def _run(
    stage: PretrainStage, folder: str, planned: list[Trial], finished: SweepManifest | None
) -> SweepManifest:
    recipe = stage.recipe
    uri = tracking.open_store(recipe.tracking, recipe.root, folder)
    begin_run = partial(tracking.start_or_resume, uri, recipe.tracking.experiment)
    values = recipe.model_dump(mode="json")
    parent = begin_run(folder, f"{recipe.name} sweep", values, stage.request.inputs)
    with tracking.closing(parent):
        runs = {
            trial.name: begin_run(
                trial.folder, trial.name, trial.recipe.model_dump(mode="json"), parent=parent
            )
            for trial in planned
        }
        if finished is None:
            with ray_session(), tracking.closing_early(parent, *runs.values()):
                tuner.run(stage, folder, planned, {name: nested.report for name, nested in runs.items()})
        ranking = ranked(planned)
        for trial, outcome in ranking:
            runs[trial.name].finish("FINISHED" if outcome.completed else "KILLED")
        if finished is None:
            best = ranking[0][0]
            model_uri = _register(stage, folder, best, runs[best.name].run_id, uri)
            summary = SweepResult(
                model_uri=model_uri,
                best=best.name,
                run_id=parent.run_id,
                trials={trial.name: outcome for trial, outcome in ranking},
            )
            finished = _publish(stage, folder, summary)
    return finished


def _register(stage: PretrainStage, folder: str, best: Trial, run_id: str, uri: str) -> str:
    """Register the best trial's bundle as a candidate; the URI of its version."""
    trial = stage.trial(best.recipe, best.folder)
    trained = result.load_trained(trial)
    pretraining.write_bundle_of(trial, trained, folder)
    version = versions.register(
        storage.join(folder, pretraining.BUNDLE),
        run_id,
        tracking_uri=uri,
        model=stage.recipe.tracking.model,
        tags=versions.Selection.of_training(trained.result).tags(),
    )
    return f"models:/{version.name}/{version.version}"


def _publish(stage: PretrainStage, folder: str, summary: SweepResult) -> SweepManifest:
    names = [name for name in storage.list_files(folder) if name.startswith(f"{pretraining.BUNDLE}/")]
    return manifest.publish(folder, SWEEP, request(stage), summary, manifest.describe_all(folder, names))
