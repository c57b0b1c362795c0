"""What training asks of each record: labels, the embedded queries of the vocabulary, embedded reports."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from safetensors.torch import load, save

from supreme import log, manifest, storage
from supreme.config import ConfigError, Recipe
from supreme.objectives.task import PRESENT, UNCERTAIN
from supreme.reports import statements
from supreme.reports.vocabulary import Entity, Vocabulary, load_base, query_texts
from supreme.shards.read import Shards
from supreme.text import TextEncoder, Whitening, embed

#: Reports that are embedded between two writes of the cache: what a killed run can lose.
_REPORTS_AT_ONCE = 16_384

logger = log.get("pretrain")


@dataclass(frozen=True)
class Labels:
    """The label table as one code a record and entity: 0 not mentioned or absent, 1 present, 2 uncertain."""

    rows: dict[str, int] = field(repr=False)
    """Record id -> row of ``codes``."""
    codes: np.ndarray
    """int8 (records, entities), entities in the vocabulary's order."""
    unseen: np.ndarray
    """int8 (records, U): entities that are asked for in validation alone."""

    @classmethod
    def open(cls, folder: str, entity_ids: Sequence[str], unseen_ids: Sequence[str] = ()) -> Labels:
        """Read ``labels.parquet`` of a label stage.

        Raises:
            ConfigError: the stage is unfinished.
        """
        manifest.require(folder, "label")
        with storage.open_file(storage.join(folder, "labels.parquet")) as stream:
            table = pq.read_table(stream, columns=["record_id", "present", "uncertain"])
        asked = [*entity_ids, *unseen_ids]
        codes = np.zeros((len(table), len(asked)), np.int8)
        # Present is written last: a record that says both has the finding.
        for column, code in (("uncertain", UNCERTAIN), ("present", PRESENT)):
            lists = table.column(column).combine_chunks()
            entities = pc.index_in(lists.flatten(), pa.array(asked, pa.string()))
            known = entities.is_valid().to_numpy(zero_copy_only=False)
            records = pc.list_parent_indices(lists).to_numpy()
            codes[records[known], entities.drop_null().to_numpy()] = code
        rows = {r: i for i, r in enumerate(table.column("record_id").to_pylist())}
        return cls(rows, *np.split(codes, [len(entity_ids)], axis=1))

    def of(self, record_ids: Sequence[str]) -> np.ndarray:
        """Codes (len(record_ids), entities) of records.

        Raises:
            ConfigError: a record has no row.
        """
        return self.codes[self._places(record_ids)]

    def unseen_of(self, record_ids: Sequence[str]) -> np.ndarray:
        """Codes (len(record_ids), U) as in `of`."""
        return self.unseen[self._places(record_ids)]

    def _places(self, record_ids: Sequence[str]) -> list[int]:
        missing = [r for r in record_ids if r not in self.rows]
        if missing:
            raise ConfigError(
                f"{len(missing)} records have no labels, the first is {missing[0]}: the label table was "
                "made from other shards; rerun jobs/label.py"
            )
        return [self.rows[r] for r in record_ids]


@dataclass(frozen=True)
class Queries:
    """Embedded phrasings of a vocabulary; entity i owns the rows ``offsets[i]`` to ``offsets[i + 1]``."""

    embeddings: torch.Tensor
    """(phrasings, D) as the text encoder gives them."""
    mean: torch.Tensor
    matrix: torch.Tensor
    offsets: torch.Tensor
    """(entities + 1,) int64."""
    unseen: torch.Tensor | None = None
    """(U, D): names of entities that are asked for in validation alone, as the text encoder gives them."""

    @classmethod
    def embed(
        cls,
        vocabulary: Vocabulary,
        encoder: TextEncoder,
        shrinkage: float,
        cache_folder: str | None,
        unseen: Iterable[Entity] = (),
    ) -> Queries:
        """Embed all phrasings of all entities, and the names of unseen ones.

        The whitening is fitted over the base vocabulary as well: what separates findings that are not trained
        on is kept, for the queries that will ask for them. No label has a part in it.
        """
        texts = [query_texts(entity) for entity in vocabulary]
        asked = [text for phrasings in texts for text in phrasings]
        known = [text for entity in load_base() for text in query_texts(entity)]
        raw = embed(asked, encoder, cache_folder)
        white = Whitening.fit(embed(list(dict.fromkeys(asked + known)), encoder, cache_folder), shrinkage)
        names = [query_texts(entity)[0] for entity in unseen]
        counts = [0, *(len(phrasings) for phrasings in texts)]
        return cls(
            torch.from_numpy(raw),
            torch.from_numpy(white.mean),
            torch.from_numpy(white.matrix),
            torch.from_numpy(np.cumsum(counts)),
            torch.from_numpy(embed(names, encoder, cache_folder)) if names else None,
        )

    @property
    def whitening(self) -> Whitening:
        return Whitening(self.mean.numpy(), self.matrix.numpy())

    def whitened(self) -> torch.Tensor:
        """(phrasings, D), what the fusion network is asked with."""
        return torch.from_numpy(self.whitening.apply(self.embeddings.numpy()))

    def whitened_unseen(self) -> torch.Tensor | None:
        """(U, D) as in `whitened`."""
        return None if self.unseen is None else torch.from_numpy(self.whitening.apply(self.unseen.numpy()))

    def known(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(phrasings, D) as in `whitened`, and the entity of each (phrasings,)."""
        counts = self.offsets.diff()
        return self.whitened(), torch.arange(len(counts)).repeat_interleave(counts)

    def write(self, uri: str) -> None:
        tensors = {name: getattr(self, name) for name in self.__dataclass_fields__}
        storage.write_bytes(uri, save({name: value for name, value in tensors.items() if value is not None}))

    @classmethod
    def read(cls, uri: str) -> Queries:
        return cls(**load(storage.read_bytes(uri)))


@dataclass(frozen=True)
class Reports:
    """The embedded report of each record, for objectives that learn from reports themselves."""

    rows: dict[str, int] = field(repr=False)
    """Record id -> row of ``embeddings``."""
    embeddings: torch.Tensor
    """(different reports, D) float16, whitened as the queries are: a text is a text to the model."""

    @classmethod
    def embed(
        cls, folders: Sequence[str], encoder: TextEncoder, whitening: Whitening, cache_folder: str
    ) -> Reports:
        """Embed the reports of finished shards, without label leaks and each different one once.

        Raises:
            ConfigError: no record has a report.
        """
        plain = cache(lambda report: ". ".join(part.rstrip(". ") for part in statements.split(report or "")))
        rows: dict[str, int] = {}
        texts: dict[str, int] = {}
        for folder in folders:
            table = Shards.open(folder).table(["record_id", "report"], ("train", "validation"))
            for record_id, report in zip(*(column.to_pylist() for column in table.columns), strict=True):
                rows[record_id] = texts.setdefault(plain(report), len(texts))
        empty = sum(row == texts.get("") for row in rows.values())
        if empty == len(rows):
            raise ConfigError(
                "no record has a report to learn from: take training.objective=supreme, linear or simclr, or "
                "sources with reports"
            )
        logger.info("%d records, %d different reports, %d records without one", len(rows), len(texts), empty)
        every, parts = list(texts), []
        for first in range(0, len(every), _REPORTS_AT_ONCE):
            raw = embed(every[first : first + _REPORTS_AT_ONCE], encoder, cache_folder)
            parts.append(whitening.apply(raw).astype(np.float16))
            logger.info("reports embedded: %d of %d", sum(map(len, parts)), len(every))
        return cls(rows, torch.from_numpy(np.concatenate(parts)))

    def of(self, record_ids: Sequence[str]) -> torch.Tensor:
        """(len(record_ids), D) float32."""
        return self.embeddings[[self.rows[r] for r in record_ids]].float()

    def write(self, uri: str) -> None:
        ids = torch.frombuffer(bytearray("\n".join(self.rows).encode()), dtype=torch.uint8)
        rows = torch.tensor(list(self.rows.values()))
        storage.write_bytes(uri, save({"record_ids": ids, "rows": rows, "embeddings": self.embeddings}))

    @classmethod
    def read(cls, uri: str) -> Reports:
        tensors = load(storage.read_bytes(uri))
        ids = tensors["record_ids"].numpy().tobytes().decode().split("\n")
        return cls(dict(zip(ids, tensors["rows"].tolist(), strict=True)), tensors["embeddings"])


def shard_folders(recipe: Recipe) -> list[str]:
    """The shard folder of each source of a recipe."""
    return [recipe.folder(f"shards/{source.dataset}") for source in recipe.sources]
