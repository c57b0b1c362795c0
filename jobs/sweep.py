"""Try losses and encoders with Ray Tune, nested MLflow runs; the best becomes a registered candidate."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from supreme.config import Recipe
from supreme.runtime.cli import Options, main
from supreme.runtime.session import ray_session

if TYPE_CHECKING:
    from supreme.sweep.trials import Trial


def run(recipe: Recipe, options: Options) -> dict[str, Any]:
    """Run the trials, register the best; the result names its version and every trial's value."""
    from supreme import manifest, tracking
    from supreme.inference.bundle import files_of
    from supreme.sweep import trials, tuner
    from supreme.sweep.summary import SWEEP, SweepResult
    from supreme.training.run import stage

    planned = trials.trials(recipe)
    if options.dry_run:
        return {trial.name: stage.plan(trial.recipe) | {"folder": trial.folder} for trial in planned}
    folder, asked = stage.absolute(recipe.folder("sweep")), tuner.request(recipe)
    made = stage.begin_in(folder, SWEEP, recipe, asked, new=options.new)
    if made and not any(map(tracking.is_behind, [folder, *(t.folder for t in planned)])):
        return made.result.model_dump(mode="json")
    uri = tracking.open_store(recipe.tracking, recipe.root, folder)
    begin = partial(tracking.start_or_resume, uri, recipe.tracking.experiment)
    parent = begin(folder, f"{recipe.name} sweep", recipe.model_dump(mode="json"), asked.inputs)
    with tracking.closing(parent):
        runs = {t.name: begin(t.folder, t.name, t.values(), parent=parent) for t in planned}
        if made is None:
            with ray_session(), tracking.closing_early(parent, *runs.values()):
                tuner.run(recipe, {name: nested.report for name, nested in runs.items()})
        for trial in (ended := trials.ended(recipe)):
            runs[trial.name].finish("FINISHED" if trial.completed else "KILLED")
        if made is None:
            model_uri = _register(recipe, ended[0], runs[ended[0].name].run_id, uri)
            outcomes = {trial.name: trial.outcome() for trial in ended}
            result = SweepResult(
                model_uri=model_uri, best=ended[0].name, run_id=parent.run_id, trials=outcomes
            )
            files = manifest.describe_all(folder, [f"bundle/{n}" for n in files_of(f"{folder}/bundle")])
            made = manifest.publish(folder, SWEEP, asked, result, files)
    return made.result.model_dump(mode="json")


def _register(recipe: Recipe, best: Trial, run_id: str, uri: str) -> str:
    """Make the best trial a candidate; the URI of its version."""
    from supreme import storage
    from supreme.inference import bundle
    from supreme.inference.provenance import Provenance
    from supreme.registry import versions
    from supreme.training.run import result, stage

    trained = result.load_trained(best.recipe, stage.request(best.recipe), best.folder)
    place = storage.join(stage.absolute(recipe.folder("sweep")), "bundle")
    seen = Provenance.of_training(best.recipe)
    bundle.write_bundle(place, recipe=best.recipe, trained_on=seen, **trained.bundle_parts())
    tags = versions.Selection.of_training(trained.result).tags()
    version = versions.register(place, run_id, tracking_uri=uri, model=recipe.tracking.model, tags=tags)
    return f"models:/{version.name}/{version.version}"


if __name__ == "__main__":
    main(run, __doc__)
