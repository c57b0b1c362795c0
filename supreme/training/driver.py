"""The pre-training stage: from shards and labels to averaged weights, in one resumable Ray Train run.

The tracking store and the bundle come later in the order of the package, so the job hands them in: a reporter
that is called with (metrics, samples seen), and what it does with the `Trained` that comes back.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import ray.train
import torch
from safetensors.torch import load

from supreme import config, log, manifest, storage
from supreme.models.supreme import SupremeModel
from supreme.objectives.make import OBJECTIVES, make_task
from supreme.reports.label_table import read_unseen, read_vocabulary
from supreme.reports.vocabulary import Vocabulary, query_texts
from supreme.text import TextEncoder, open_encoder
from supreme.training import history, saving
from supreme.training import state as checkpoints
from supreme.training.checks import check_labels
from supreme.training.corpus import Corpus
from supreme.training.data import Queries, Reports, shard_folders
from supreme.training.loop import train_loop
from supreme.training.order import Order
from supreme.training.step import TrainingStopped
from supreme.training.trainer import Trainer, fitted, scaling
from supreme.training.validate import METRIC, score_of

RULE = "{which} averaged weights; the value is measured on held-out pre-training records"
QUERIES, REPORTS, WEIGHTS = "queries.safetensors", "reports.safetensors", "weights.safetensors"
RAY_FOLDER, RUN_NAME = "ray", "run"
#: Folder of a model that answers no queries, where others have a bundle.
ENCODER = "encoder"
#: What may be another at a restart; with other workers the position in the data is kept (`order.replay`).
MAY_CHANGE = {
    *("workers", "min_workers", "gpu", "threads_per_worker", "max_failures"),
    *("micro_batch", "sharding", "compile"),
}

#: Called at every report with the whole history so far; is sent to the controller process and must not wait.
Reporter = Callable[[Sequence[history.Line]], None]

logger = log.get("pretrain")


@dataclass(frozen=True)
class Trained:
    """What a finished run leaves: enough to write a bundle and the manifest."""

    model: SupremeModel
    vocabulary: Vocabulary
    queries: Queries
    encoder: TextEncoder
    state: checkpoints.State
    counts: dict[str, Any]

    def bundle_parts(self) -> dict[str, Any]:
        """The arguments of `supreme.bundle.write_bundle` that come from training."""
        return {
            "model": self.model,
            "vocabulary": self.vocabulary,
            "query_texts": {entity.id: query_texts(entity) for entity in self.vocabulary},
            "query_embeddings": self.queries.embeddings.numpy(),
            "whitening": self.queries.whitening,
            "encoder": self.encoder,
            "card": self.counts,
        }


def stage_folder(recipe: config.Recipe) -> str:
    return absolute(recipe.folder("pretrain"))


def request(recipe: config.Recipe) -> manifest.Request:
    """What the stage is asked for.

    Raises:
        ConfigError: shards or labels are unfinished; the message names the job to run first.
    """
    folders = [*shard_folders(recipe), recipe.folder("labels")]
    inputs = {}
    for folder in folders:
        job = "label" if folder == folders[-1] else "shard"
        # Relative to the recipe's folder, so that a moved root is still the same stage.
        inputs[recipe.stage_of(folder)] = manifest.require(folder, job).digest()
    training = recipe.training.model_dump(mode="json", exclude=MAY_CHANGE)
    sections = {
        "seed": recipe.seed,
        "shards": recipe.shards.model_dump(mode="json", include={"rate_hz", "duration_s"}),
        "text": recipe.text.model_dump(mode="json"),
        "model": recipe.model.model_dump(mode="json"),
        "training": training,
    }
    return manifest.Request(stage="pretrain", config=sections, inputs=inputs)


def begin(recipe: config.Recipe, *, new: bool = False) -> tuple[manifest.Request, manifest.Manifest | None]:
    """Open the stage; the manifest when it is finished already. Raises as :func:`begin_in`."""
    asked = request(recipe)
    return asked, begin_in(stage_folder(recipe), recipe, asked, new=new)


def begin_in(
    folder: str, recipe: config.Recipe, asked: manifest.Request, *, new: bool = False
) -> manifest.Manifest | None:
    """Open the folder of a stage that trains, as `supreme.manifest.begin`.

    Raises:
        ConfigError: it belongs to another configuration, or labels, records or text encoder are not there to
            train with: before anything is deleted or claimed.
    """
    if new or manifest.read(folder) is None:
        check(recipe)
        open_encoder(recipe.text)
    return manifest.begin(folder, asked, new=new)


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
    inputs = [*shard_folders(recipe), recipe.folder("labels")]
    waiting = [folder for folder in inputs if manifest.read(folder) is None]
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


def train(
    recipe: config.Recipe,
    asked: manifest.Request,
    folder: str,
    *,
    report: Reporter,
    callbacks: list[ray.train.UserCallback] | None = None,
    name: str = RUN_NAME,
) -> Trained:
    """Train into ``folder``, going on from the latest checkpoint there; needs a Ray session.

    A driver that is killed, or told to end (SIGTERM), leaves that checkpoint: run again, at most
    ``training.checkpoint_every`` is done anew.

    Raises:
        ConfigError: too few records, no validation records, or a checkpoint of another configuration.
        TrainingStopped: a loss or gradient is not finite.
    """
    folder = absolute(folder)
    if is_trained(folder):
        return load_trained(recipe, asked, folder)
    began = check(recipe)
    embed_queries(recipe, folder)
    logger.info("training: %s", ", ".join(f"{k} {v:,}" for k, v in began.items() if k != "folder"))
    state = _latest(asked, folder)
    if state is None or not state.ended:
        recorder = _Recorder(report, folder, state.reports if state else [])
        _fit(recipe, asked, folder, name, [recorder, *(callbacks or [])])
        state = _latest(asked, folder)
        assert state is not None
    history.write(folder, state.reports)
    storage.write_bytes(storage.join(folder, WEIGHTS), _released(recipe, asked, folder, state))
    storage.write_bytes(storage.join(folder, checkpoints.STATE), state.model_dump_json(indent=1).encode())
    return load_trained(recipe, asked, folder)


def embed_queries(recipe: config.Recipe, folder: str) -> None:
    """Write what the workers read into ``folder``: the embedded queries of the vocabulary, the names of
    held-out entities for a zero-shot objective, and for one that learns from reports those of all records.
    """
    cache, labels = absolute(storage.join(recipe.root, "embeddings")), recipe.folder("labels")
    objective = OBJECTIVES[recipe.training.objective]
    vocabulary, encoder = read_vocabulary(labels), open_encoder(recipe.text)
    unseen = read_unseen(labels) if objective.zero_shot else ()
    queries = Queries.embed(vocabulary, encoder, recipe.text.whitening_shrinkage, cache, unseen)
    queries.write(storage.join(folder, QUERIES))
    if objective.reads_reports:
        # Apart from the queries' cache: every run reads that one, and reports may be many.
        own = storage.join(cache, "reports")
        reports = Reports.embed(shard_folders(recipe), encoder, queries.whitening, own)
        reports.write(storage.join(folder, REPORTS))


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
) -> manifest.Manifest:
    """Write the manifest over ``files`` (relative names) besides those that `train` wrote.

    Ray's own folder with the checkpoints is no part of the result.
    """
    folder = stage_folder(recipe)
    names = sorted({QUERIES, history.METRICS, WEIGHTS, checkpoints.STATE, *files})
    entries = {name: manifest.describe(storage.join(folder, name)) for name in names}
    return manifest.publish(folder, asked, trained.counts | {"run_id": run_id}, entries)


def absolute(uri: str) -> str:
    """A URI that means the same in a worker, whose working directory is another one."""
    return uri if "://" in uri else os.path.abspath(os.path.expanduser(uri))


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


class _Recorder(ray.train.UserCallback):
    """In the controller: hand every report on and keep ``metrics.jsonl`` whole, also across restarts."""

    def __init__(self, report: Reporter, folder: str, lines: Sequence[history.Line]) -> None:
        self.report, self.folder, self.lines = report, folder, list(lines)

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        log.configure()  # this process is Ray's
        mine = metrics[0]
        self.lines = [line for line in self.lines if line["samples_seen"] < mine["samples_seen"]] + [mine]
        history.write(self.folder, self.lines)
        self.report(self.lines)

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        # An exception from here ends the run; otherwise Ray would retry what is bound to fail again.
        for error in worker_exceptions.values():
            cause = getattr(error, "_base_exc", error)
            if isinstance(cause, TrainingStopped | config.ConfigError):
                raise cause


def _fit(
    recipe: config.Recipe,
    asked: manifest.Request,
    folder: str,
    name: str,
    callbacks: list[ray.train.UserCallback],
) -> None:
    training = recipe.training
    system, path = storage.filesystem(storage.join(folder, RAY_FOLDER))
    trainer = Trainer(
        train_loop,
        train_loop_config=loop_config(recipe, asked, folder),
        scaling_config=scaling(training),
        run_config=ray.train.RunConfig(
            name=name,
            storage_path=path,
            storage_filesystem=system,
            failure_config=ray.train.FailureConfig(max_failures=training.max_failures),
            callbacks=callbacks,  # type: ignore[arg-type]
            logging_config=ray.train.LoggingConfig(log_level="WARNING"),  # type: ignore[call-arg]
        ),
    )
    fitted(trainer)


def loop_config(recipe: config.Recipe, asked: manifest.Request, folder: str) -> dict[str, Any]:
    """What `supreme.training.loop.open_run` is told on every worker."""
    return {
        "recipe": recipe.model_dump(mode="json"),
        "request": _identity(asked),
        "shards": [absolute(shards) for shards in shard_folders(recipe)],
        "labels": absolute(recipe.folder("labels")),
        "queries": storage.join(folder, QUERIES),
        "reports": storage.join(folder, REPORTS),
        "folder": folder,
    }


def _identity(asked: manifest.Request) -> dict[str, Any]:
    return asked.model_dump(mode="json")


def _corpus(recipe: config.Recipe, split: str) -> Corpus:
    return Corpus.open(shard_folders(recipe), split)


def _counts(recipe: config.Recipe, state: checkpoints.State, model: torch.nn.Module) -> dict[str, Any]:
    return {
        "steps": state.steps,
        "samples_seen": state.samples_seen,
        "epochs": round(state.epoch, 4),
        "seconds": round(state.seconds, 1),
        "records_per_s": round(state.samples_seen / max(state.seconds, 1e-9), 1),
        "parameters": sum(p.numel() for p in model.parameters()),
        "weights_sha256": checkpoints.weights_digest(model),
        "stopped_early": state.ended == "patience",
        "selection": _selection(recipe, state),
        "validation_digest": _validation_digest(recipe),
    }


def _selection(recipe: config.Recipe, state: checkpoints.State) -> dict[str, Any]:
    """Which weights are released, and the number by which models are compared."""
    rule = RULE.format(which=recipe.training.select)
    metric = METRIC if OBJECTIVES[recipe.training.objective].answers_queries else "validation_loss"
    return {"metric": metric, "value": chosen(recipe, state.reports).get(metric), "rule": rule}


def _validation_digest(recipe: config.Recipe) -> str:
    """What two validation numbers must share to be compared: the same signals, the same entities."""
    files = {
        f"{source.dataset}/{name}": entry.sha256
        for source, folder in zip(recipe.sources, shard_folders(recipe), strict=True)
        for name, entry in manifest.require(folder, "shard").files.items()
        if name.startswith("validation-")
    }
    return config.digest(files, list(read_vocabulary(recipe.folder("labels")).ids))
