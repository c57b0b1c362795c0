"""Pre-train the encoder on shards and labels; started again it goes on from the latest checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from supreme.config import Recipe
from supreme.runtime.cli import Options, main
from supreme.runtime.session import ray_session

if TYPE_CHECKING:
    from supreme.manifest import Request
    from supreme.tracking import StageRun
    from supreme.training.run.summary import PretrainManifest


def run(recipe: Recipe, options: Options) -> dict[str, Any]:
    """Train, write the bundle, record the MLflow run; the result names run and bundle."""
    from supreme import storage, tracking
    from supreme.training.run import stage

    if options.dry_run:
        return stage.plan(recipe)
    if options.profile:
        from supreme.training.profiling.profiler import profile

        with ray_session():
            return profile(recipe)
    folder = stage.stage_folder(recipe)
    asked, made = stage.begin(recipe, new=options.new)
    if made is None or tracking.is_behind(folder):
        uri = tracking.open_store(recipe.tracking, recipe.root, folder)
        run = tracking.start_or_resume(
            uri, recipe.tracking.experiment, folder, recipe.name, recipe.model_dump(mode="json"), asked.inputs
        )
        with tracking.closing(run):
            made = made or _train(recipe, asked, run)
    made_of = "encoder" if recipe.training.objective == "simclr" else "bundle"
    return {"folder": folder, made_of: storage.join(folder, made_of), **made.result.model_dump(mode="json")}


def _train(recipe: Recipe, asked: Request, run: StageRun) -> PretrainManifest:
    from supreme import storage
    from supreme.inference import bundle
    from supreme.inference.provenance import Provenance
    from supreme.training.run import driver, result

    with ray_session():
        trained = driver.train(recipe, asked, run.folder, report=run.report)
    if trained.model.answers_queries:
        place = storage.join(run.folder, "bundle")
        seen = Provenance.of_training(recipe)
        bundle.write_bundle(place, recipe=recipe, trained_on=seen, **trained.bundle_parts())
        files = [f"bundle/{name}" for name in bundle.files_of(place)]
    else:
        files = result.write_encoder(trained, run.folder)
    return result.publish(recipe, asked, trained, run_id=run.run_id, files=files)


if __name__ == "__main__":
    main(run, __doc__, switches={"profile": "time a few steps, tell where the time goes, and keep nothing"})
