"""Embedded reports, for objectives that learn from reports themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import torch
from safetensors.torch import load, save

from supreme import log, storage
from supreme.config import ConfigError
from supreme.reports import statements
from supreme.shards.read import ShardDataset
from supreme.text import TextEncoder, Whitening, embed

#: Reports that are embedded between two writes of the cache: the most that a killed run loses.
_CHUNK = 16_384

logger = log.get("pretrain")


@dataclass(frozen=True)
class Reports:
    """The embedded report of each record, for objectives that learn from reports themselves."""

    rows: dict[str, int] = field(repr=False)
    """Record id -> row of ``embeddings``."""
    embeddings: torch.Tensor
    """(unique reports, D) float16, whitened as the queries are."""

    @classmethod
    def embed(
        cls, shards: Sequence[ShardDataset], encoder: TextEncoder, whitening: Whitening, cache_folder: str
    ) -> Reports:
        """Embed the reports of finished shards, without label leaks and each unique text once.

        Raises:
            ConfigError: no record has a report.
        """
        plain = cache(lambda report: ". ".join(part.rstrip(". ") for part in statements.split(report or "")))
        rows: dict[str, int] = {}
        texts: dict[str, int] = {}
        for source in shards:
            table = source.table(["record_id", "report"], ("train", "validation"))
            for record_id, report in zip(*(column.to_pylist() for column in table.columns), strict=True):
                rows[record_id] = texts.setdefault(plain(report), len(texts))
        empty = sum(row == texts.get("") for row in rows.values())
        if empty == len(rows):
            raise ConfigError(
                "no record has a report to learn from: set training.objective to supreme, linear or simclr, "
                "or add sources with reports"
            )
        logger.info("%d records, %d unique reports, %d records without one", len(rows), len(texts), empty)
        unique, parts = list(texts), []
        for first in range(0, len(unique), _CHUNK):
            raw = embed(unique[first : first + _CHUNK], encoder, cache_folder)
            parts.append(whitening.apply(raw).astype(np.float16))
            logger.info("reports embedded: %d of %d", sum(map(len, parts)), len(unique))
        return cls(rows, torch.from_numpy(np.concatenate(parts)))

    def of(self, record_ids: Sequence[str]) -> torch.Tensor:
        """(len(record_ids), D) float32."""
        return self.embeddings[[self.rows[r] for r in record_ids]].float()

    def write(self, uri: str) -> None:
        """Write as safetensors."""
        ids = torch.frombuffer(bytearray("\n".join(self.rows).encode()), dtype=torch.uint8)
        rows = torch.tensor(list(self.rows.values()))
        storage.write_bytes(uri, save({"record_ids": ids, "rows": rows, "embeddings": self.embeddings}))

    @classmethod
    def read(cls, uri: str) -> Reports:
        """Read what `write` wrote."""
        tensors = load(storage.read_bytes(uri))
        ids = tensors["record_ids"].numpy().tobytes().decode().split("\n")
        return cls(dict(zip(ids, tensors["rows"].tolist(), strict=True)), tensors["embeddings"])
