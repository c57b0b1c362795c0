"""Pre-train the encoder on shards and labels; started again it goes on from the latest checkpoint."""

from __future__ import annotations

from typing import Any

from supreme.config import Recipe
from supreme.job import Options, main, ray_session


def run(recipe: Recipe, options: Options) -> dict[str, Any]:
    """Train, write the bundle, record the MLflow run; the result names run and bundle."""
    from supreme import bundle, storage, tracking
    from supreme.training import driver

    if options.dry_run:
        return driver.plan(recipe)
    folder = driver.stage_folder(recipe)
    asked, made = driver.begin(recipe, new=options.new)
    if made is None:
        uri = tracking.open_store(recipe.tracking, recipe.root)
        run = tracking.start_or_resume(
            uri, recipe.tracking.experiment, folder, recipe.name, recipe.model_dump(mode="json"), asked.inputs
        )
        with tracking.closing(run), ray_session():
            trained = driver.train(recipe, asked, folder, report=run.log_metrics)
            place = storage.join(folder, "bundle")
            bundle.write_bundle(place, recipe=recipe, **trained.bundle_parts())
            run.log_dict(recipe.model_dump(mode="json"), "recipe.json")
            for name in (driver.METRICS, "stage.json"):
                run.log_file(storage.join(folder, name))
            files = [f"bundle/{name}" for name in bundle.FILES]
            made = driver.publish(recipe, asked, trained, run_id=run.run_id, files=files)
    return {"folder": folder, "bundle": storage.join(folder, "bundle"), **made.counts}


if __name__ == "__main__":
    main(run, __doc__)
