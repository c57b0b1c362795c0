"""The end of a training run: released weights, the model read back, and the manifest over the files."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import load

from supreme import manifest, storage
from supreme.models.supreme import SupremeModel
from supreme.objectives.make import OBJECTIVES, make_task
from supreme.settings.training import Training
from supreme.text import TextEncoder, open_encoder
from supreme.training.data.queries import Queries
from supreme.training.learner.validation import LOSS, METRIC, score_of
from supreme.training.run import checkpoint as checkpoints
from supreme.training.run import history
from supreme.training.run.checkpoint import State
from supreme.training.run.checkpoint_writer import folder_of, latest
from supreme.training.run.history import Report
from supreme.training.run.stage import QUERIES, WEIGHTS, PretrainStage
from supreme.training.run.summary import PRETRAIN, PretrainManifest, PretrainResult, WeightSelection

RULE = "{which} EMA weights; the value is measured on held-out pre-training records"
#: Folder of a model that answers no queries, in place of a bundle.
ENCODER = "encoder"


@dataclass(frozen=True)
class TrainedModel:
    """The released model of a finished run, with what a bundle needs."""

    model: SupremeModel
    queries: Queries
    encoder: TextEncoder
    state: State
    result: PretrainResult


def is_trained(folder: str) -> bool:
    """Whether the run in this folder came to its end."""
    return storage.exists(storage.join(folder, checkpoints.STATE))


def latest_state(stage: PretrainStage) -> State | None:
    """The state of the last finished checkpoint."""
    folder = latest(stage.folder)
    return checkpoints.read_state(folder, stage.request) if folder else None


def released_report(training: Training, reports: Sequence[Report]) -> Report:
    """The report whose EMA weights are released: the last, or the first of the best."""
    if training.select == "best":
        return max(reports, key=lambda report: score_of(report.metrics))
    return reports[-1]


def release(stage: PretrainStage, state: State) -> None:
    """Write history, released weights and, last, the final state of a run that has ended."""
    best = state.best_checkpoint if stage.recipe.training.select == "best" else ""
    folder = folder_of(stage.folder, best) if best else latest(stage.folder)
    assert folder is not None
    weights = checkpoints.read_file(folder, checkpoints.EMA, checkpoints.read_state(folder, stage.request))
    history.write(stage.folder, state.reports)
    storage.write_bytes(storage.join(stage.folder, WEIGHTS), weights)
    checkpoints.write_state(stage.folder, state)


def load_trained(stage: PretrainStage) -> TrainedModel:
    """The model of a finished run.

    Raises:
        ConfigError: it was another configuration's run, or its files are damaged.
    """
    state = checkpoints.read_state(stage.folder, stage.request)
    queries = Queries.read(storage.join(stage.folder, QUERIES))
    samples, entities = stage.inputs.train.samples, len(queries.offsets) - 1
    task = make_task(stage.recipe, queries.known(), samples, torch.zeros(entities)).eval()
    task.load_state_dict(load(storage.read_bytes(storage.join(stage.folder, WEIGHTS))))
    model = cast(SupremeModel, task.model)
    return TrainedModel(model, queries, open_encoder(stage.recipe.text), state, _result(stage, state, model))


def write_encoder(trained: TrainedModel, folder: str) -> list[str]:
    """Write an encoder that answers no queries, for probes; its files, relative to ``folder``."""
    with tempfile.TemporaryDirectory() as local:
        trained.model.save_pretrained(local)
        files = {f"{ENCODER}/{path.name}": path.read_bytes() for path in Path(local).iterdir()}
    for name, content in files.items():
        storage.write_bytes(storage.join(folder, name), content)
    return sorted(files)


def publish(
    stage: PretrainStage, trained: TrainedModel, *, run_id: str, files: Sequence[str]
) -> PretrainManifest:
    """Write the manifest over ``files`` (relative names) and those that `release` wrote.

    Ray's own folder and the checkpoints are not part of the result.
    """
    names = [QUERIES, history.METRICS, WEIGHTS, checkpoints.STATE, *files]
    result = trained.result.model_copy(update={"run_id": run_id})
    entries = manifest.describe_all(stage.folder, names)
    return manifest.publish(stage.folder, PRETRAIN, stage.request, result, entries)


def _result(stage: PretrainStage, state: State, model: SupremeModel) -> PretrainResult:
    return PretrainResult(
        steps=state.steps,
        samples_seen=state.samples_seen,
        epochs=round(state.epoch, 4),
        seconds=round(state.seconds, 1),
        records_per_s=round(state.samples_seen / max(state.seconds, 1e-9), 1),
        parameters=sum(p.numel() for p in model.parameters()),
        weights_sha256=checkpoints.weights_digest(model),
        stopped_early=state.ended == "patience",
        selection=_selection(stage.recipe.training, state),
        validation_digest=stage.inputs.validation_digest(),
        start=f"{stage.start.uri} ({stage.start.digest[:12]})" if stage.start else "",
    )


def _selection(training: Training, state: State) -> WeightSelection:
    """Which weights are released, and the number by which models are compared."""
    metric = METRIC if OBJECTIVES[training.objective].answers_queries else LOSS
    value = released_report(training, state.reports).metrics.get(metric)
    return WeightSelection(metric=metric, value=value, rule=RULE.format(which=training.select))
