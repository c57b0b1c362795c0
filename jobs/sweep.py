"""Try losses and encoders with Ray Tune, nested MLflow runs; the best becomes a registered candidate."""

from __future__ import annotations

from typing import Any

from supreme.config import Recipe
from supreme.job import Options, main, ray_session


def run(recipe: Recipe, options: Options) -> dict[str, Any]:
    """Run the trials, register the best; the result names its version and every trial's value."""
    from supreme import bundle, manifest, registry, storage, tracking
    from supreme.training import driver, sweep

    planned = sweep.trials(recipe)
    if options.dry_run:
        return {trial.name: driver.plan(trial.recipe) for trial in planned}
    folder, asked = driver.absolute(recipe.folder("sweep")), sweep.request(recipe)
    made = manifest.begin(folder, asked, new=options.new)
    if made is not None:
        return made.counts
    uri, experiment = tracking.open_store(recipe.tracking, recipe.root), recipe.tracking.experiment
    values = recipe.model_dump(mode="json")
    parent = tracking.start_or_resume(uri, experiment, folder, f"{recipe.name} sweep", values, asked.inputs)
    with tracking.closing(parent), ray_session():
        runs = {
            trial.name: tracking.start_or_resume(
                uri, experiment, trial.folder, trial.name, trial.values(), parent=parent.run_id
            )
            for trial in planned
        }
        ended = sweep.run(recipe, {name: nested.log_metrics for name, nested in runs.items()})
        for trial in ended:
            runs[trial.name].finish("FINISHED" if trial.completed else "KILLED")
        best = ended[0]
        trained = driver.load_trained(best.recipe, driver.request(best.recipe), best.folder)
        place = storage.join(folder, "bundle")
        bundle.write_bundle(place, recipe=best.recipe, **trained.bundle_parts())
        data = trained.counts["validation_digest"]
        tags = registry.Selection(validation_digest=data, **trained.counts["selection"]).tags()
        version = registry.register(
            place, runs[best.name].run_id, tracking_uri=uri, model=recipe.tracking.model, tags=tags
        )
        counts = {
            "model_uri": f"models:/{version.name}/{version.version}",
            "run_id": parent.run_id,
            "best": best.name,
            "trials": {trial.name: trial.outcome() for trial in ended},
        }
        files = {f"bundle/{n}": manifest.describe(storage.join(place, n)) for n in bundle.FILES}
        return manifest.publish(folder, asked, counts, files).counts


if __name__ == "__main__":
    main(run, __doc__)
