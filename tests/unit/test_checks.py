"""Labels that do not belong to the shards, or are not what was written, are refused before training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import training_data

from supreme import config, manifest
from supreme.shards.result import SHARDS
from supreme.training.data.corpus import Corpus
from supreme.training.data.inputs import TrainingInputs
from supreme.training.data.labels import LabelMatrix
from supreme.training.data.order import Order
from supreme.training.data.sources import shard_folders

pytestmark = pytest.mark.unit


@pytest.fixture
def recipe(tmp_path: Path) -> config.Recipe:
    made = training_data.recipe(tmp_path)
    training_data.write(made)
    return made


def test_what_belongs_together_passes(recipe: config.Recipe) -> None:
    TrainingInputs.open(recipe).verify()


def test_labels_of_other_shards_are_refused(recipe: config.Recipe) -> None:
    [shards] = shard_folders(recipe)
    made = manifest.require(shards, SHARDS)
    other = manifest.Request(stage="shard", config=made.config | {"more": 1})
    manifest.publish(shards, SHARDS, other, made.result, made.files)
    with pytest.raises(config.ConfigError, match=r"not made from what .*shards/simulated.*jobs/label\.py"):
        TrainingInputs.open(recipe).verify()


@pytest.mark.parametrize("name", ["labels.parquet", "vocabulary.json"])
def test_a_changed_label_file_is_refused(recipe: config.Recipe, name: str) -> None:
    file = Path(recipe.folder("labels"), name)
    file.write_bytes(file.read_bytes().replace(b"sinus_rhythm", b"sinus_rhytmm"))
    with pytest.raises(config.ConfigError, match=rf"{name} is not what .*jobs/label\.py again with --new"):
        TrainingInputs.open(recipe).verify()


def test_a_record_without_labels_is_named(recipe: config.Recipe) -> None:
    file = Path(recipe.folder("labels"), "labels.parquet")
    pq.write_table(pq.read_table(file).slice(40), file)
    labels = LabelMatrix.read(recipe.folder("labels"), training_data.ENTITIES)
    with pytest.raises(config.ConfigError, match=r"1 records have no labels.*train0000.*jobs/label\.py"):
        labels.of(["planted/train0000", "planted/train0100"])


def test_more_workers_than_row_groups_share_them(recipe: config.Recipe) -> None:
    corpus = Corpus.open(shard_folders(recipe), "train")
    order = Order(corpus.sizes[:2], 0, world=8, batch_size=2)
    last = order.steps_until(order.records)
    windows = [order.window(step, rank) for step in order.rounds(0, last) for rank in range(8)]
    read = np.concatenate([np.stack([w.groups, w.rows], 1) for w in windows])
    assert len(np.unique(read, axis=0)) == len(read) == order.records == 32


def test_a_damaged_row_group_is_an_error_that_names_the_file(recipe: config.Recipe) -> None:
    [folder] = shard_folders(recipe)
    file = Path(folder, "train-00000.parquet")
    corpus = Corpus.open([folder], "train")
    group = pq.ParquetFile(file).metadata.row_group(3)
    [signal] = [c for c in map(group.column, range(group.num_columns)) if c.path_in_schema == "signal"]
    content = bytearray(file.read_bytes())
    begin, size = signal.data_page_offset, signal.total_compressed_size
    content[begin : begin + size] = bytes(size)
    file.write_bytes(content)
    with pytest.raises(Exception, match=r"train-00000\.parquet"):
        corpus.read(3)
