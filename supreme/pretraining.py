"""The pre-training stage from end to end: training, its MLflow run, and the bundle of the model."""

from __future__ import annotations

from supreme import storage, tracking
from supreme.config import Recipe
from supreme.inference import bundle
from supreme.inference.provenance import Provenance
from supreme.objectives.make import OBJECTIVES
from supreme.reports.vocabulary import query_texts
from supreme.runtime.session import ray_session
from supreme.tracking import StageRun
from supreme.training.data.sources import absolute
from supreme.training.run import driver, result
from supreme.training.run.result import TrainedModel
from supreme.training.run.stage import PretrainStage
from supreme.training.run.summary import PretrainManifest

BUNDLE = "bundle"


def run(recipe: Recipe, *, new: bool = False) -> PretrainManifest:
    """Train, write the bundle (or the encoder that answers no queries), and record the MLflow run.

    A finished stage is skipped, an interrupted one goes on from its latest checkpoint.

    Raises:
        ConfigError: shards or labels are not there to train with, or the folder belongs to another
            configuration.
        TrainingStopped: a loss or gradient is not finite.
    """
    stage = PretrainStage.open(recipe)
    with stage.opened(new=new) as manifest:
        if manifest and not tracking.is_behind(stage.folder):
            return manifest
        return _run(stage, manifest)


def _run(stage: PretrainStage, manifest: PretrainManifest | None) -> PretrainManifest:
    recipe = stage.recipe
    uri = tracking.open_store(recipe.tracking, recipe.root, stage.folder)
    mlflow_run = tracking.start_or_resume(
        uri,
        recipe.tracking.experiment,
        stage.folder,
        recipe.name,
        recipe.model_dump(mode="json"),
        stage.request.inputs,
    )
    with tracking.closing(mlflow_run):
        return manifest or _train(stage, mlflow_run)


def places(recipe: Recipe) -> dict[str, str]:
    """Where the stage writes: its ``folder``, and ``bundle``, or ``encoder`` without text queries."""
    folder = absolute(recipe.folder("pretrain"))
    name = BUNDLE if OBJECTIVES[recipe.training.objective].answers_queries else result.ENCODER
    return {"folder": folder, name: storage.join(folder, name)}


def _train(stage: PretrainStage, mlflow_run: StageRun) -> PretrainManifest:
    with ray_session():
        trained = driver.train(stage, report=mlflow_run.report)
    if trained.model.answers_queries:
        files = write_bundle_of(stage, trained, stage.folder)
    else:
        files = result.write_encoder(trained, stage.folder)
    return result.publish(stage, trained, run_id=mlflow_run.run_id, files=files)


def write_bundle_of(stage: PretrainStage, trained: TrainedModel, folder: str) -> list[str]:
    """Write the bundle of a trained model below ``folder``; its files, relative to that."""
    vocabulary, place = stage.inputs.vocabulary, storage.join(folder, BUNDLE)
    bundle.write_bundle(
        place,
        recipe=stage.recipe,
        model=trained.model,
        vocabulary=vocabulary,
        query_texts={entity.id: query_texts(entity) for entity in vocabulary},
        query_embeddings=trained.queries.embeddings.numpy(),
        whitening=trained.queries.whitening,
        encoder=trained.encoder,
        card=trained.result.model_dump(mode="json"),
        trained_on=Provenance.collect(stage.recipe.sources, stage.inputs.train.shards),
    )
    return [f"{BUNDLE}/{name}" for name in bundle.files_of(place)]
