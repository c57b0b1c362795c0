"""`training.start_from`: the registered model or bundle that training goes on from, checked against a recipe.

An alias such as champion is resolved once, when the run begins: a run that is resumed, or asked for again
after another model became champion, belongs to the model that it began with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from supreme import manifest, storage, tracking
from supreme.config import ConfigError, Recipe
from supreme.ecg import LEADS
from supreme.inference.bundle import BundleError, files, loader
from supreme.inference.bundle.files import BundleFiles
from supreme.inference.bundle.loader import LoadedBundle
from supreme.registry import versions
from supreme.reports.vocabulary import Vocabulary
from supreme.settings.model import ENCODER_SIZES, Model
from supreme.text import open_encoder
from supreme.training.run.stage import PretrainStage
from supreme.training.run.start import FOLDER, Start
from supreme.training.run.summary import PRETRAIN

#: Of a model: they change how it is trained, and not what its weights mean.
_FREE = {"dropout", "temperature"}
_HEADS = {"supreme": "fusion", "ked": "fusion", "merl": "common_space", "linear": "entities"}


@dataclass(frozen=True)
class StartingPoint:
    """The bundle of `training.start_from`, read and checked."""

    start: Start
    content: BundleFiles

    def copy(self) -> None:
        """Write the bundle beside the run, for its workers and for whoever resumes it."""
        for name, content in self.content.contents.items():
            storage.write_bytes(storage.join(self.start.folder, name), content)

    def load(self) -> LoadedBundle:
        """The model, its vocabulary and its provenance."""
        return loader.load(self.content)


def check(recipe: Recipe) -> None:
    """What can be wrong with a recipe's `training.start_from`, seen before any work.

    Raises:
        ConfigError: as of :func:`open_start`.
    """
    copy = storage.join(recipe.folder("pretrain"), FOLDER)
    if recipe.training.start_from and not storage.list_files(copy):
        _read(recipe)


def open_start(stage: PretrainStage, *, new: bool = False) -> StartingPoint | None:
    """The model that a stage's recipe names to go on from; None where it names none.

    Args:
        new: the stage is to be made again, so that an alias is resolved again.

    Raises:
        ConfigError: there is no such model, or it does not fit the recipe; the message says in what.
    """
    recipe, folder = stage.recipe, storage.join(stage.folder, FOLDER)
    uri = recipe.training.start_from
    if not uri:
        return None
    content = None if new else _pinned(stage, uri, folder)
    if content is None:
        content, loaded = _read(recipe)
        _check_entities(stage, loaded)
    sha256 = {name: storage.sha256(part) for name, part in content.contents.items()}
    return StartingPoint(Start(uri, content.digest, sha256, folder), content)


def attach(stage: PretrainStage, point: StartingPoint | None) -> PretrainStage:
    """The stage with the identity of its start."""
    return replace(stage, start=point.start) if point else stage


def with_earlier(
    vocabulary: Vocabulary, texts: Mapping[str, Sequence[str]], embeddings: np.ndarray, earlier: LoadedBundle
) -> tuple[Vocabulary, dict[str, list[str]], np.ndarray]:
    """Vocabulary, phrasings and their embeddings, and after them those that only the start knew."""
    joined, rows = {name: list(group) for name, group in texts.items()}, [embeddings]
    ends = np.cumsum([len(group) for group in earlier.query_texts])
    new = [at for at, entity in enumerate(earlier.vocabulary) if entity.id not in vocabulary]
    for at in new:
        group = earlier.query_texts[at]
        joined[earlier.vocabulary.ids[at]] = group
        rows.append(earlier.query_embeddings[ends[at] - len(group) : ends[at]])
    entities = [*vocabulary, *(earlier.vocabulary.entities[at] for at in new)]
    return Vocabulary(entities), joined, np.concatenate(rows)


def _pinned(stage: PretrainStage, uri: str, folder: str) -> BundleFiles | None:
    """The copy that a run with this alias began with; None where there is none to go on with."""
    if not (uri.startswith("models:") and "@" in uri):
        return None
    earlier = manifest.read_request(stage.folder, PRETRAIN.remedy)
    if earlier is None or earlier.config["training"].get("start_from") != uri:
        return None
    try:
        return files.read(folder, earlier.inputs[FOLDER])
    except BundleError:
        return None  # the copy was not finished


def _read(recipe: Recipe) -> tuple[BundleFiles, LoadedBundle]:
    """The model that a recipe names, if its weights mean the same there."""
    uri, objective = recipe.training.start_from, recipe.training.objective
    if objective not in _HEADS:
        raise ConfigError(f"training.start_from: {objective} trains an encoder alone: leave it out")
    store = tracking.open_store(recipe.tracking, recipe.root) if uri.startswith("models:") else None
    content = versions.read_bundle(uri, store)
    loaded = loader.load(content)
    there = loaded.config
    problems = [
        _different("shards.rate_hz", there.input.rate_hz, recipe.shards.rate_hz),
        _different("samples of an ECG", there.samples, recipe.shards.samples),
        _different("order of the leads", ", ".join(there.input.leads), ", ".join(LEADS)),
        _different("kind of head", there.head, _HEADS[objective]),
        *_architecture(there.model, recipe),
    ]
    if there.text.digest != open_encoder(recipe.text).digest:
        problems.append(f"text.encoder is {there.text.encoder} there and {recipe.text.encoder} here")
    if problems := [problem for problem in problems if problem]:
        raise ConfigError(f"training.start_from={uri} is another model: {'; '.join(problems)}")
    if loaded.trained_on is None:
        raise ConfigError(
            f"training.start_from={uri} does not say what it was trained on, so nobody could say it of what "
            "comes of it: train it again, or go on from another model"
        )
    return content, loaded


def _check_entities(stage: PretrainStage, bundle: LoadedBundle) -> None:
    """Refuse a model of other entities where they decide the meaning of weights or results."""
    uri, inputs = stage.recipe.training.start_from, stage.inputs
    if bundle.config.head == "entities" and bundle.vocabulary.ids != inputs.vocabulary.ids:
        raise ConfigError(
            f"training.start_from={uri} has a linear head with an output for each of its entities, and the "
            "labels name others: use training.objective=supreme, or the labels that it was trained on"
        )
    if known := sorted(set(inputs.unseen.ids) & set(bundle.vocabulary.ids)):
        raise ConfigError(
            f"labels.held_out names {', '.join(known)}, which training.start_from={uri} was trained on, so "
            "that they would not be unseen: leave them out of labels.held_out, or go on from another model"
        )


def _architecture(there: Model, recipe: Recipe) -> list[str]:
    own = recipe.model
    if recipe.training.objective == "ked":
        own = own.model_copy(update={"query_self_attention": True})
    one, other = (_sized(model) for model in (there, own))
    return [_different(f"model.{name}", one[name], other[name]) for name in sorted(one.keys() - _FREE)]


def _sized(model: Model) -> Mapping[str, object]:
    """The values of a model, with its encoder's own sizes where none are set."""
    sizes = ENCODER_SIZES.get(model.encoder, {})
    return {name: sizes.get(name) if value is None else value for name, value in model.model_dump().items()}


def _different(name: str, there: object, here: object) -> str:
    return "" if there == here else f"{name} is {there} there and {here} here"
