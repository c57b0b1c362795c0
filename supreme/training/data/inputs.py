"""Shards, labels and vocabulary of a training run, opened once and passed on, to other processes as well."""

from __future__ import annotations

from dataclasses import dataclass

from supreme import config, manifest, storage
from supreme.config import ConfigError, Recipe
from supreme.reports.label_table import LABELS, VOCABULARY, read_unseen, read_vocabulary
from supreme.reports.result import LABELS as LABEL_STAGE
from supreme.reports.result import LabelManifest
from supreme.reports.vocabulary import Vocabulary
from supreme.shards.read import ShardDataset
from supreme.training.data.corpus import Corpus
from supreme.training.data.labels import LabelMatrix
from supreme.training.data.sources import absolute, shard_folders


@dataclass(frozen=True)
class TrainingInputs:
    """Finished shard folders and the labels made from them."""

    names: tuple[str, ...]
    """Stage of each shard folder, such as ``shards/ptbxl``: stays the same when the root is moved."""
    train: Corpus
    validation: Corpus
    label_folder: str
    label_manifest: LabelManifest
    vocabulary: Vocabulary
    """Entities that are queries of training."""
    unseen: Vocabulary
    """Entities that the label stage holds out."""

    @classmethod
    def open(cls, recipe: Recipe) -> TrainingInputs:
        """Open the inputs of a recipe; every manifest is read once.

        Raises:
            ConfigError: shards or labels are unfinished (the message names the job to run first), a shard is
                missing, or two folders hold signals of different length or rate.
        """
        folders = shard_folders(recipe)
        shards = [ShardDataset.open(absolute(folder)) for folder in folders]
        labels = absolute(recipe.folder("labels"))
        label_manifest = manifest.require(labels, LABEL_STAGE)
        return cls(
            names=tuple(recipe.stage_of(folder) for folder in folders),
            train=Corpus.of(shards, "train", [source.weight for source in recipe.sources]),
            validation=Corpus.of(shards, "validation"),
            label_folder=labels,
            label_manifest=label_manifest,
            vocabulary=read_vocabulary(labels),
            unseen=read_unseen(labels, label_manifest),
        )

    def digests(self) -> dict[str, str]:
        """Stage -> digest of its manifest: shards, then labels."""
        shards = {name: s.manifest.digest() for name, s in zip(self.names, self.train.shards, strict=True)}
        return {**shards, "labels": self.label_manifest.digest()}

    def verify(self) -> None:
        """Check that the labels belong to the shards and are what the label stage wrote.

        Raises:
            ConfigError: they do not or are not; the message names what to do.
        """
        for name, shards in zip(self.names, self.train.shards, strict=True):
            if self.label_manifest.inputs.get(name) != shards.manifest.digest():
                raise ConfigError(
                    f"{self.label_folder}: these labels were not made from what {shards.folder} holds now: "
                    "run jobs/label.py again with --new"
                )
        for name in (LABELS, VOCABULARY):
            uri = storage.join(self.label_folder, name)
            if storage.sha256(storage.read_bytes(uri)) != self.label_manifest.files[name].sha256:
                raise ConfigError(
                    f"{uri} is not what the label stage wrote (its sha256 is not the manifest's): "
                    "run jobs/label.py again with --new"
                )

    def read_labels(self, *, with_unseen: bool) -> LabelMatrix:
        """The label table; with the columns of held-out entities where they are asked for in validation."""
        unseen = self.unseen.ids if with_unseen else ()
        return LabelMatrix.read(self.label_folder, self.vocabulary.ids, unseen)

    def validation_digest(self) -> str:
        """What two validation numbers must share to be comparable: the same signals, the same entities."""
        files = {
            f"{name.removeprefix('shards/')}/{file}": entry.sha256
            for name, shards in zip(self.names, self.train.shards, strict=True)
            for file, entry in shards.manifest.files.items()
            if file.startswith("validation-")
        }
        return config.digest(files, list(self.vocabulary.ids))
