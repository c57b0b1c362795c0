"""The pre-training stage: its request, checks and plan."""

from __future__ import annotations

import os
from typing import Any

from supreme import config, manifest
from supreme.reports.label_table import read_vocabulary
from supreme.reports.result import LABELS
from supreme.shards.result import SHARDS
from supreme.text import open_encoder
from supreme.training.data.corpus import Corpus
from supreme.training.data.order import Order
from supreme.training.data.sources import shard_folders
from supreme.training.run.checks import check_labels
from supreme.training.run.summary import PRETRAIN, PretrainManifest

#: What may be another at a restart; with other workers the position in the data is kept (`order.replay`).
MAY_CHANGE = {
    *("workers", "min_workers", "gpu", "threads_per_worker", "max_failures"),
    *("micro_batch", "sharding", "compile"),
}


def stage_folder(recipe: config.Recipe) -> str:
    return absolute(recipe.folder("pretrain"))


def request(recipe: config.Recipe) -> manifest.Request:
    """What the stage is asked for.

    Raises:
        ConfigError: shards or labels are unfinished; the message names the job to run first.
    """
    manifests: dict[str, manifest.Manifest[Any]] = {
        folder: manifest.require(folder, SHARDS) for folder in shard_folders(recipe)
    }
    manifests[recipe.folder("labels")] = manifest.require(recipe.folder("labels"), LABELS)
    # Relative to the recipe's folder, so that a moved root is still the same stage.
    inputs = {recipe.stage_of(folder): each.digest() for folder, each in manifests.items()}
    training = recipe.training.model_dump(mode="json", exclude=MAY_CHANGE)
    sections = {
        "seed": recipe.seed,
        "shards": recipe.shards.model_dump(mode="json", include={"rate_hz", "duration_s"}),
        "text": recipe.text.model_dump(mode="json"),
        "model": recipe.model.model_dump(mode="json"),
        "training": training,
    }
    return manifest.Request(stage="pretrain", config=sections, inputs=inputs)


def begin(recipe: config.Recipe, *, new: bool = False) -> tuple[manifest.Request, PretrainManifest | None]:
    """Open the stage; the manifest when it is finished already. Raises as :func:`begin_in`."""
    asked = request(recipe)
    return asked, begin_in(stage_folder(recipe), PRETRAIN, recipe, asked, new=new)


def begin_in(
    folder: str,
    stage: manifest.Stage[manifest.Result],
    recipe: config.Recipe,
    asked: manifest.Request,
    *,
    new: bool = False,
) -> manifest.Manifest[manifest.Result] | None:
    """Open the folder of a stage that trains, as `supreme.manifest.begin`.

    Raises:
        ConfigError: it belongs to another configuration, or labels, records or text encoder are not there to
            train with: before anything is deleted or claimed.
    """
    if new or manifest.read(folder, stage) is None:
        check(recipe)
        open_encoder(recipe.text)
    return manifest.begin(folder, stage, asked, new=new)


def check(recipe: config.Recipe) -> dict[str, Any]:
    """The plan of a recipe whose labels and records are there to train with.

    Raises:
        ConfigError: they are not; the message names what to do.
    """
    check_labels(recipe)
    began = plan(recipe)
    if not began["steps"]:
        raise config.ConfigError(
            f"{began['records']} training records give no step of {recipe.training.workers} workers x batch "
            f"{recipe.training.batch_size}: lower training.batch_size or training.workers, or add records"
        )
    if not began["validation_records"]:
        raise config.ConfigError(
            "the shards hold no validation records: add records (one patient in ten is held out)"
        )
    return began


def plan(recipe: config.Recipe) -> dict[str, Any]:
    """What a run would do, without doing it; without counts while shards or labels are unfinished."""
    waiting = [folder for folder in shard_folders(recipe) if manifest.read(folder, SHARDS) is None]
    waiting += [folder for folder in [recipe.folder("labels")] if manifest.read(folder, LABELS) is None]
    if waiting:
        return {"folder": stage_folder(recipe), "waits_for": waiting}
    corpus = _corpus(recipe, "train")
    order = Order(corpus.sizes, recipe.seed, recipe.training.workers, recipe.training.batch_size)
    total = recipe.training.epochs * order.records
    return {
        "folder": stage_folder(recipe),
        "records": order.records,
        "validation_records": int(_corpus(recipe, "validation").sizes.sum()),
        "entities": len(read_vocabulary(recipe.folder("labels"))),
        "steps": order.steps_until(total),
        "samples": order.steps_until(total) * order.global_batch,
        "bytes": int(total) * 12 * corpus.samples * 2,
    }


def absolute(uri: str) -> str:
    """A URI that means the same in a worker, whose working directory is another one."""
    return uri if "://" in uri else os.path.abspath(os.path.expanduser(uri))


def _identity(asked: manifest.Request) -> dict[str, Any]:
    return asked.model_dump(mode="json")


def _corpus(recipe: config.Recipe, split: str) -> Corpus:
    return Corpus.open(shard_folders(recipe), split)
