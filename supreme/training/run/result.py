"""What a finished training run leaves, and the manifest over it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load

from supreme import config, manifest, storage
from supreme.models.supreme import SupremeModel
from supreme.objectives.make import OBJECTIVES, make_task
from supreme.reports.label_table import read_vocabulary
from supreme.reports.vocabulary import Vocabulary, query_texts
from supreme.shards.result import SHARDS
from supreme.text import TextEncoder, open_encoder
from supreme.training.data.queries import Queries
from supreme.training.data.sources import shard_folders
from supreme.training.learner.validation import METRIC, score_of
from supreme.training.run import checkpoint as checkpoints
from supreme.training.run import checkpoint_writer as saving
from supreme.training.run import history
from supreme.training.run.stage import _corpus, _identity, absolute, stage_folder
from supreme.training.run.summary import PRETRAIN, PretrainManifest, PretrainResult, WeightSelection

RULE = "{which} averaged weights; the value is measured on held-out pre-training records"


QUERIES, REPORTS, WEIGHTS = "queries.safetensors", "reports.safetensors", "weights.safetensors"


#: Folder of a model that answers no queries, where others have a bundle.
ENCODER = "encoder"


@dataclass(frozen=True)
class Trained:
    """What a finished run leaves: enough to write a bundle and the manifest."""

    model: SupremeModel
    vocabulary: Vocabulary
    queries: Queries
    encoder: TextEncoder
    state: checkpoints.State
    result: PretrainResult

    def bundle_parts(self) -> dict[str, Any]:
        """The arguments of `supreme.inference.bundle.write_bundle` that come from training."""
        return {
            "model": self.model,
            "vocabulary": self.vocabulary,
            "query_texts": {entity.id: query_texts(entity) for entity in self.vocabulary},
            "query_embeddings": self.queries.embeddings.numpy(),
            "whitening": self.queries.whitening,
            "encoder": self.encoder,
            "card": self.result.model_dump(mode="json"),
        }


def is_trained(folder: str) -> bool:
    """Whether a run in this folder came to its end."""
    return storage.exists(storage.join(absolute(folder), checkpoints.STATE))


def load_trained(recipe: config.Recipe, asked: manifest.Request, folder: str) -> Trained:
    """What a finished run left in its folder.

    Raises:
        ConfigError: it was another configuration's run.
    """
    folder = absolute(folder)
    state = _state(asked, folder)
    queries = Queries.read(storage.join(folder, QUERIES))
    samples, entities = _corpus(recipe, "train").samples, len(queries.offsets) - 1
    task = make_task(recipe, queries.known(), samples, torch.zeros(entities)).eval()
    task.load_state_dict(load(storage.read_bytes(storage.join(folder, WEIGHTS))))
    vocabulary, encoder = read_vocabulary(recipe.folder("labels")), open_encoder(recipe.text)
    counts = _counts(recipe, state, task.model)
    return Trained(cast(SupremeModel, task.model), vocabulary, queries, encoder, state, counts)


def write_encoder(trained: Trained, folder: str) -> list[str]:
    """Write an encoder that answers no queries, for probes; its files, relative to ``folder``."""
    with tempfile.TemporaryDirectory() as local:
        trained.model.save_pretrained(local)
        names = {f"{ENCODER}/{path.name}": path.read_bytes() for path in Path(local).iterdir()}
    for name, content in names.items():
        storage.write_bytes(storage.join(folder, name), content)
    return sorted(names)


def publish(
    recipe: config.Recipe, asked: manifest.Request, trained: Trained, *, run_id: str, files: list[str]
) -> PretrainManifest:
    """Write the manifest over ``files`` (relative names) besides those that `train` wrote.

    Ray's own folder with the checkpoints is no part of the result.
    """
    folder = stage_folder(recipe)
    names = [QUERIES, history.METRICS, WEIGHTS, checkpoints.STATE, *files]
    result = trained.result.model_copy(update={"run_id": run_id})
    return manifest.publish(folder, PRETRAIN, asked, result, manifest.describe_all(folder, names))


def _latest(asked: manifest.Request, folder: str) -> checkpoints.State | None:
    """The state of the last finished checkpoint."""
    place = saving.latest(folder)
    return _state(asked, place) if place else None


def _state(asked: manifest.Request, folder: str) -> checkpoints.State:
    return checkpoints.read_state(storage.join(folder, checkpoints.STATE), _identity(asked))


def chosen(recipe: config.Recipe, reports: Sequence[history.Line]) -> history.Line:
    """The report whose averaged weights are released; of equally good ones the first."""
    return max(reports, key=score_of) if recipe.training.select == "best" else reports[-1]


def _released(recipe: config.Recipe, asked: manifest.Request, folder: str, state: checkpoints.State) -> bytes:
    place = saving.folder_of(folder, chosen(recipe, state.reports)["samples_seen"])
    return checkpoints.read_file(place, checkpoints.AVERAGED, _state(asked, place))


def _counts(recipe: config.Recipe, state: checkpoints.State, model: torch.nn.Module) -> PretrainResult:
    return PretrainResult(
        steps=state.steps,
        samples_seen=state.samples_seen,
        epochs=round(state.epoch, 4),
        seconds=round(state.seconds, 1),
        records_per_s=round(state.samples_seen / max(state.seconds, 1e-9), 1),
        parameters=sum(p.numel() for p in model.parameters()),
        weights_sha256=checkpoints.weights_digest(model),
        stopped_early=state.ended == "patience",
        selection=_selection(recipe, state),
        validation_digest=_validation_digest(recipe),
    )


def _selection(recipe: config.Recipe, state: checkpoints.State) -> WeightSelection:
    """Which weights are released, and the number by which models are compared."""
    rule = RULE.format(which=recipe.training.select)
    metric = METRIC if OBJECTIVES[recipe.training.objective].answers_queries else "validation_loss"
    return WeightSelection(metric=metric, value=chosen(recipe, state.reports).get(metric), rule=rule)


def _validation_digest(recipe: config.Recipe) -> str:
    """What two validation numbers must share to be compared: the same signals, the same entities."""
    files = {
        f"{source.dataset}/{name}": entry.sha256
        for source, folder in zip(recipe.sources, shard_folders(recipe), strict=True)
        for name, entry in manifest.require(folder, SHARDS).files.items()
        if name.startswith("validation-")
    }
    return config.digest(files, list(read_vocabulary(recipe.folder("labels")).ids))
