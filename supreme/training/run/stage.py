"""The pre-training stage: recipe, folder and inputs, opened once; its request, checks and plan."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

from pydantic import BaseModel, ConfigDict

from supreme import manifest, storage
from supreme.config import ConfigError, Recipe
from supreme.ecg import N_LEADS
from supreme.manifest import Manifest, Request, Result, Stage
from supreme.text import open_encoder
from supreme.training.data.corpus import Corpus
from supreme.training.data.inputs import TrainingInputs
from supreme.training.data.order import Order
from supreme.training.data.sources import absolute, shard_folders
from supreme.training.run.start import FOLDER as START
from supreme.training.run.start import Start
from supreme.training.run.summary import PRETRAIN, PretrainManifest

#: Settings that may change at a restart; other workers keep the position in the data (`order.replay`).
MAY_CHANGE = {
    *("workers", "min_workers", "gpu", "gpu_share", "threads_per_worker", "max_failures"),
    *("micro_batch", "sharding", "compile"),
}
#: Files that the driver writes and the workers read, and the released weights.
QUERIES, REPORTS, WEIGHTS = "queries.safetensors", "reports.safetensors", "weights.safetensors"
_BYTES_PER_SAMPLE = 2


class TrainingPlan(BaseModel):
    """What a run would do."""

    model_config = ConfigDict(frozen=True)

    folder: str
    records: int
    """Of an epoch: those of a source count as often as it is weighted."""
    validation_records: int
    entities: int
    steps: int
    samples: int
    """Records seen by all workers, over all epochs."""
    bytes: int
    """Bytes of signal that are read."""


class Waiting(BaseModel):
    """Why a run cannot be planned: stages before it are unfinished."""

    model_config = ConfigDict(frozen=True)

    folder: str
    waits_for: list[str]


@dataclass(frozen=True)
class PretrainStage:
    """A run and its inputs; passed on as a whole, to other processes as well."""

    recipe: Recipe
    folder: str
    """Absolute."""
    inputs: TrainingInputs
    label: str = ""
    """Name of the run on every line of its log; empty for a run of its own."""
    start: Start | None = None
    """What training goes on from, instead of from nothing."""

    @classmethod
    def open(cls, recipe: Recipe) -> PretrainStage:
        """Open the inputs of a recipe. Raises as `TrainingInputs.open`."""
        return cls(recipe, absolute(recipe.folder("pretrain")), TrainingInputs.open(recipe))

    def trial(self, recipe: Recipe, folder: str, label: str = "") -> PretrainStage:
        """Another run on the same inputs."""
        return replace(self, recipe=recipe, folder=folder, label=label)

    @cached_property
    def corpus(self) -> Corpus:
        """The records that are trained on: ``training.fraction`` of those of the inputs."""
        return self.inputs.train.part(self.recipe.training.fraction, self.recipe.seed)

    @cached_property
    def request(self) -> Request:
        """The sections of the recipe that decide the result, and the digests of the inputs."""
        recipe = self.recipe
        sections = {
            "seed": recipe.seed,
            "shards": recipe.shards.model_dump(mode="json", include={"rate_hz", "duration_s"}),
            "text": recipe.text.model_dump(mode="json"),
            "model": recipe.model.model_dump(mode="json"),
            "training": recipe.training.model_dump(mode="json", exclude=MAY_CHANGE),
            "weights": {source.dataset: source.weight for source in recipe.sources},
        }
        start = {START: self.start.digest} if self.start else {}
        return Request(stage="pretrain", config=sections, inputs=self.inputs.digests() | start)

    def opened(self, *, new: bool = False) -> AbstractContextManager[PretrainManifest | None]:
        """Own the stage's folder; the manifest when it is finished. Raises as `opened_folder`."""
        return self.opened_folder(self.folder, PRETRAIN, self.request, new=new)

    @contextmanager
    def opened_folder(
        self, folder: str, stage: Stage[Result], request: Request, *, new: bool = False
    ) -> Iterator[Manifest[Result] | None]:
        """Own the folder of a stage that trains on these inputs, as `supreme.manifest.opened`.

        Raises:
            ConfigError: it belongs to another configuration, or labels, records or text encoder are not there
                to train with; in that case nothing is deleted or claimed.
        """
        if new or not storage.exists(storage.join(folder, manifest.MANIFEST)):
            self.inputs.verify()
            self.check()
            open_encoder(self.recipe.text)
        with manifest.opened(folder, stage, request, new=new) as finished:
            yield finished

    def check(self) -> TrainingPlan:
        """The plan of a run that has records to train and to validate on.

        Raises:
            ConfigError: it has not; the message names what to do.
        """
        plan, training = self.plan(), self.recipe.training
        if not plan.steps:
            raise ConfigError(
                f"{plan.records} training records give no step of {training.workers} workers x batch "
                f"{training.batch_size}: lower training.batch_size or training.workers, or add records"
            )
        if not plan.validation_records:
            raise ConfigError(
                "the shards hold no validation records: add records (one patient in ten is held out)"
            )
        return plan

    def plan(self) -> TrainingPlan:
        """What the run would do, without doing it."""
        corpus, training = self.corpus, self.recipe.training
        order = Order(corpus.sizes, self.recipe.seed, training.workers, training.batch_size)
        total = training.epochs * order.records
        steps = order.steps_until(total)
        return TrainingPlan(
            folder=self.folder,
            records=order.records,
            validation_records=int(self.inputs.validation.sizes.sum()),
            entities=len(self.inputs.vocabulary),
            steps=steps,
            samples=steps * order.global_batch,
            bytes=int(total) * N_LEADS * corpus.samples * _BYTES_PER_SAMPLE,
        )


def plan(recipe: Recipe) -> TrainingPlan | Waiting:
    """What a run would do; without counts while shards or labels are unfinished."""
    folders = [*shard_folders(recipe), recipe.folder("labels")]
    waits_for = [f for f in folders if not storage.exists(storage.join(f, manifest.MANIFEST))]
    if waits_for:
        return Waiting(folder=absolute(recipe.folder("pretrain")), waits_for=waits_for)
    return PretrainStage.open(recipe).plan()
