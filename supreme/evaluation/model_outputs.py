"""Outputs of models for data sets, as protocols crop their records: each combination is scored once."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from supreme import storage
from supreme.evaluation import protocols
from supreme.evaluation.datasets import DataSet, UnseenPart
from supreme.evaluation.outputs import Outputs, collect
from supreme.evaluation.protocols import Protocol
from supreme.evaluation.shard_reader import ShardReader
from supreme.inference.engine import ScoringModel

#: Shorter differences are no reason to score a record twice.
_TOLERANCE_S = 0.1


@dataclass(frozen=True)
class CroppedRecords:
    """Records of a data set as a protocol crops them."""

    data: DataSet
    selected: np.ndarray
    """bool ``(N,)``, of the rows of its shards."""
    label: str
    """Equal labels mean the same samples."""
    protocol: Protocol

    @classmethod
    def of(cls, part: UnseenPart, protocol: Protocol) -> CroppedRecords:
        """All records of a real data set, which probes are trained on too; of a simulated one the unseen."""
        table = part.data.shards.table(("n_valid", "rate_hz", "source_rate_hz"))
        rate_hz = part.data.shards.rate_hz or table.column("source_rate_hz")
        seconds = pc.divide(pc.cast(table.column("n_valid"), pa.float64()), rate_hz).to_numpy()
        first_s = protocol.first_s_of.get(part.data.kind, protocol.first_s)
        label = "whole"
        if len(seconds) and seconds.max() > first_s + _TOLERANCE_S:
            label = f"first-{first_s:g}s"
        if len(seconds) and min(seconds.min(), first_s) < protocol.padded_s - _TOLERANCE_S:
            label += f"-padded-{protocol.padded_s:g}s"
        simulated = part.data.kind == "simulated"
        selected = part.rows if simulated else np.ones(len(part.rows), bool)
        return cls(part.data, selected, label, protocol)

    @property
    def reader(self) -> ShardReader:
        """For the scoring engine."""
        crop = None
        if self.label != "whole":
            crop = partial(protocols.crop, self.protocol, self.data.kind)
        return ShardReader.of(self.data.shards, self.selected, crop)

    def digest(self) -> str:
        """Of the records and their samples."""
        return storage.sha256(
            json.dumps([self.data.shards.manifest.digest(), self.label]).encode() + self.selected.tobytes()
        )[:16]


@dataclass(frozen=True)
class ModelOutputs:
    """The outputs of one model, scored when they are first under for."""

    model: ScoringModel
    folder: str
    by_content: bool = False
    """Whether files are named by what they hold, in a folder that several evaluations share."""
    cache: dict[tuple[str, str], Outputs] = field(default_factory=dict)
    crops: dict[tuple[str, str], CroppedRecords] = field(default_factory=dict)
    """By data set and protocol: to tell what a protocol crops takes a look at every record."""

    def of(self, part: UnseenPart, protocol: Protocol) -> Outputs:
        """The outputs for a data set under a protocol."""
        under = (part.data.name, protocol.name)
        if under not in self.crops:
            self.crops[under] = CroppedRecords.of(part, protocol)
        records = self.crops[under]
        key = (records.data.name, records.label)
        if key not in self.cache:
            name = records.digest() if self.by_content else "-".join(key)
            uri = storage.join(self.folder, f"{name}.parquet")
            self.cache[key] = collect(records.reader, self.model, uri, f"{key[0]} ({key[1]})")
        return self.cache[key]
