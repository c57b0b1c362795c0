"""What training reads: rows of shards in the order of training, their labels, the embedded queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from safetensors.torch import load, save

from supreme import manifest, storage
from supreme.config import ConfigError, Recipe
from supreme.reports.vocabulary import Vocabulary, query_texts
from supreme.shards.read import RowGroup, Shards
from supreme.text import TextEncoder, Whitening, embed
from supreme.training.order import Window

COLUMNS = ("record_id", "signal")
PRESENT, UNCERTAIN = 1, 2


@dataclass(frozen=True)
class Corpus:
    """The row groups of one split over all sources, as one numbered list."""

    shards: tuple[Shards, ...]
    groups: tuple[tuple[int, RowGroup], ...]
    """Position in ``shards``, and the row group there."""

    @classmethod
    def open(cls, folders: Sequence[str], split: str) -> Corpus:
        """Open finished shard folders.

        Raises:
            ConfigError: a folder is unfinished, or two hold signals of another length or rate.
        """
        shards = tuple(Shards.open(folder) for folder in folders)
        shapes = {(s.rate_hz, s.samples): s.folder for s in shards}
        if len(shapes) != 1:
            raise ConfigError(
                f"shards differ in (rate_hz, samples): {shapes}; build them with one [shards] section"
            )
        return cls(shards, tuple((i, group) for i, s in enumerate(shards) for group in s.row_groups(split)))

    @property
    def sizes(self) -> np.ndarray:
        """Rows of each row group."""
        return np.array([group.rows for _, group in self.groups], np.int64)

    @property
    def samples(self) -> int:
        """Samples of a lead."""
        return self.shards[0].samples

    def read(self, group: int) -> pa.Table:
        """Record ids and signals of one row group, in shard order."""
        source, row_group = self.groups[group]
        return self.shards[source].read_row_group(row_group, columns=COLUMNS)

    def read_rows(self, groups: np.ndarray, rows: np.ndarray) -> pa.Table:
        """Record ids and signals of chosen rows, in the order asked for; each row group is read once."""
        parts, places = [], np.empty(len(rows), np.int64)
        done = 0
        for group in np.unique(groups):
            here = groups == group
            wanted, inverse = np.unique(rows[here], return_inverse=True)
            parts.append(self.read(int(group)).take(pa.array(wanted)))
            places[here] = done + inverse
            done += len(wanted)
        return pa.concat_tables(parts).combine_chunks().take(pa.array(places))

    def read_window(self, window: Window, skip_steps: int) -> pa.Table:
        """The rows of a window in training order, without its first ``skip_steps`` steps."""
        first = skip_steps * (len(window.rows) // window.steps)
        return self.read_rows(window.groups[first:], window.rows[first:])

    def record_ids(self, split: str) -> list[str]:
        return [i for s in self.shards for i in s.table(["record_id"], split).column("record_id").to_pylist()]


@dataclass(frozen=True)
class Labels:
    """The label table as one code a record and entity: 0 not mentioned or absent, 1 present, 2 uncertain."""

    rows: dict[str, int] = field(repr=False)
    """Record id -> row of ``codes``."""
    codes: np.ndarray
    """int8 (records, entities), entities in the vocabulary's order."""

    @classmethod
    def open(cls, folder: str, entity_ids: Sequence[str]) -> Labels:
        """Read ``labels.parquet`` of a label stage.

        Raises:
            ConfigError: the stage is unfinished.
        """
        manifest.require(folder, "label")
        system, path = storage.filesystem(storage.join(folder, "labels.parquet"))
        table = pq.read_table(path, filesystem=system, columns=["record_id", "present", "uncertain"])
        codes = np.zeros((len(table), len(entity_ids)), np.int8)
        # Present is written last: a record that says both has the finding.
        for column, code in (("uncertain", UNCERTAIN), ("present", PRESENT)):
            lists = table.column(column).combine_chunks()
            entities = pc.index_in(lists.flatten(), pa.array(list(entity_ids), pa.string()))
            known = entities.is_valid().to_numpy(zero_copy_only=False)
            records = pc.list_parent_indices(lists).to_numpy()
            codes[records[known], entities.drop_null().to_numpy()] = code
        return cls({r: i for i, r in enumerate(table.column("record_id").to_pylist())}, codes)

    def of(self, record_ids: Sequence[str]) -> np.ndarray:
        """Codes (len(record_ids), entities) of records.

        Raises:
            ConfigError: a record has no row.
        """
        missing = [r for r in record_ids if r not in self.rows]
        if missing:
            raise ConfigError(
                f"{len(missing)} records have no labels, the first is {missing[0]}: the label table was "
                "made from other shards; rerun jobs/label.py"
            )
        return self.codes[[self.rows[r] for r in record_ids]]


@dataclass(frozen=True)
class Queries:
    """Embedded phrasings of a vocabulary; entity i owns the rows ``offsets[i]`` to ``offsets[i + 1]``."""

    embeddings: torch.Tensor
    """(phrasings, D) as the text encoder gives them."""
    mean: torch.Tensor
    matrix: torch.Tensor
    offsets: torch.Tensor
    """(entities + 1,) int64."""

    @classmethod
    def embed(
        cls, vocabulary: Vocabulary, encoder: TextEncoder, shrinkage: float, cache_folder: str | None
    ) -> Queries:
        """Embed all phrasings of all entities and fit the whitening over them."""
        texts = [query_texts(entity) for entity in vocabulary]
        raw = embed([text for phrasings in texts for text in phrasings], encoder, cache_folder)
        white = Whitening.fit(raw, shrinkage)
        counts = [0, *(len(phrasings) for phrasings in texts)]
        return cls(
            torch.from_numpy(raw),
            torch.from_numpy(white.mean),
            torch.from_numpy(white.matrix),
            torch.from_numpy(np.cumsum(counts)),
        )

    @property
    def whitening(self) -> Whitening:
        return Whitening(self.mean.numpy(), self.matrix.numpy())

    def whitened(self) -> torch.Tensor:
        """(phrasings, D), what the fusion network is asked with."""
        return torch.from_numpy(self.whitening.apply(self.embeddings.numpy()))

    def write(self, uri: str) -> None:
        storage.write_bytes(uri, save({name: getattr(self, name) for name in self.__dataclass_fields__}))

    @classmethod
    def read(cls, uri: str) -> Queries:
        return cls(**load(storage.read_bytes(uri)))


def shard_folders(recipe: Recipe) -> list[str]:
    """The shard folder of each source of a recipe."""
    return [recipe.folder(f"shards/{source.dataset}") for source in recipe.sources]


def read_vocabulary(labels_folder: str) -> Vocabulary:
    """The training queries that the label stage chose."""
    values: Any = storage.read_json(storage.join(labels_folder, "vocabulary.json"))
    return Vocabulary.from_json(values)
