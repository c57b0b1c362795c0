"""A trial as a training run: its recipe and folder, and how far it came by the files that it left."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from supreme import storage
from supreme.config import Recipe
from supreme.storage.documents import read_document
from supreme.sweep import space
from supreme.sweep.summary import TrialRecord
from supreme.training.data.sources import absolute
from supreme.training.learner.validation import METRIC
from supreme.training.run import history, result

#: Reports of a short trial, evenly over its epochs: the points at which it may be stopped.
RUNGS = 4
FAILURE = "failure.json"


class TrialFailure(BaseModel):
    """``failure.json`` in a trial's folder: why training failed."""

    model_config = ConfigDict(frozen=True)

    reason: str
    of_storage: bool = False


@dataclass(frozen=True)
class Trial:
    """A training run of a sweep."""

    name: str
    recipe: Recipe
    folder: str


def trial(recipe: Recipe, record: TrialRecord) -> Trial:
    """The training run of a record.

    Raises:
        ConfigError: its changes do not go together.
    """
    result = space.changed(recipe, record.changes)
    training = result.training
    if not record.full:
        epochs = recipe.sweep.epochs
        training = training.model_copy(update={"epochs": epochs, "checkpoint_every": epochs / RUNGS})
    result = result.model_copy(update={"seed": record.seed, "training": training})
    return Trial(record.name, result, folder_of(recipe, record))


def folder_of(recipe: Recipe, record: TrialRecord) -> str:
    """Where a trial writes, absolute; also of one whose changes do not go together."""
    return absolute(storage.join(recipe.folder("sweep"), record.name))


def measured(record: TrialRecord, trial: Trial) -> TrialRecord:
    """The record with what the trial's history says."""
    reports = history.read(trial.folder)
    if not reports:
        return record
    is_trained = result.is_trained(trial.folder)
    report = result.released_report(trial.recipe.training, reports) if is_trained else reports[-1]
    value, samples = report.metrics.get(METRIC), reports[-1].samples_seen
    return record.model_copy(update={"value": value, "samples_seen": samples})


def is_finished(trial: Trial) -> bool:
    """Whether it has seen all its samples, and left its weights."""
    return result.is_trained(trial.folder)


def write_failure(trial: Trial, reason: str, *, of_storage: bool = False) -> None:
    """Note why training failed."""
    failure = TrialFailure(reason=reason, of_storage=of_storage)
    storage.write_json(storage.join(trial.folder, FAILURE), failure.model_dump(mode="json"))


def failure(trial: Trial) -> TrialFailure | None:
    """Why training failed; None where it did not."""
    uri = storage.join(trial.folder, FAILURE)
    remedy = "delete the file, and the same command tries the trial again"
    return read_document(uri, TrialFailure, remedy=remedy) if storage.exists(uri) else None
