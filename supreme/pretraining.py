"""The pre-training stage from end to end: training, its MLflow run, and the bundle of the model."""

from __future__ import annotations

from supreme import starting, storage, tracking
from supreme.config import Recipe
from supreme.inference import bundle
from supreme.inference.provenance import Provenance
from supreme.objectives.make import OBJECTIVES
from supreme.reports.vocabulary import query_texts
from supreme.runtime.session import ray_session
from supreme.starting import StartingPoint
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
    point = starting.open_start(stage, new=new)
    stage = starting.attach(stage, point)
    with stage.opened(new=new) as manifest:
        if manifest and not tracking.is_behind(stage.folder):
            return manifest
        return _run(stage, manifest, point)


def _run(
    stage: PretrainStage, manifest: PretrainManifest | None, point: starting.StartingPoint | None
) -> PretrainManifest:
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
        return manifest or _train(stage, mlflow_run, point)


def places(recipe: Recipe) -> dict[str, str]:
    """Where the stage writes: its ``folder``, and ``bundle``, or ``encoder`` without text queries."""
    folder = absolute(recipe.folder("pretrain"))
    name = BUNDLE if OBJECTIVES[recipe.training.objective].answers_queries else result.ENCODER
    return {"folder": folder, name: storage.join(folder, name)}


def _train(stage: PretrainStage, mlflow_run: StageRun, point: StartingPoint | None) -> PretrainManifest:
    if point:
        point.copy()
    with ray_session():
        trained = driver.train(stage, report=mlflow_run.report)
    if trained.model.answers_queries:
        files = write_bundle_of(stage, trained, stage.folder, point)
    else:
        files = result.write_encoder(trained, stage.folder)
    return result.publish(stage, trained, run_id=mlflow_run.run_id, files=files)


def write_bundle_of(
    stage: PretrainStage, trained: TrainedModel, folder: str, point: StartingPoint | None = None
) -> list[str]:
    """Write the bundle of a trained model below ``folder``; its files, relative to that.

    What the model that training went on from had seen, recordings and entities, this one has seen as well.
    """
    vocabulary, place = stage.inputs.vocabulary, storage.join(folder, BUNDLE)
    texts = {entity.id: query_texts(entity) for entity in vocabulary}
    embeddings = trained.queries.embeddings.numpy()
    trained_on = Provenance.collect(stage.recipe.sources, stage.inputs.train.shards)
    if point:
        earlier = point.load()
        assert earlier.trained_on is not None
        trained_on = trained_on.joined(earlier.trained_on)
        vocabulary, texts, embeddings = starting.with_earlier(vocabulary, texts, embeddings, earlier)
    bundle.write_bundle(
        place,
        recipe=stage.recipe,
        model=trained.model,
        vocabulary=vocabulary,
        query_texts=texts,
        query_embeddings=embeddings,
        whitening=trained.queries.whitening,
        encoder=trained.encoder,
        card=trained.result.model_dump(mode="json"),
        trained_on=trained_on,
    )
    return [f"{BUNDLE}/{name}" for name in bundle.files_of(place)]
