"""What the scoring engine gave for the records of a data set, collected into one file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from supreme import storage
from supreme.evaluation.shard_reader import ShardReader
from supreme.inference import engine
from supreme.inference.engine import OUTPUTS, ScoringModel
from supreme.storage.parquet import read_table, writer


@dataclass(frozen=True)
class Outputs:
    """The outputs of a model for records."""

    record_ids: tuple[str, ...]
    values: np.ndarray
    """float32 ``(N, width)``."""

    def of(self, record_ids: Sequence[str]) -> np.ndarray:
        """``(M, width)`` of these records.

        Raises:
            ValueError: one was not scored, naming it.
        """
        row_of = {record: row for row, record in enumerate(self.record_ids)}
        missing = [record for record in record_ids if record not in row_of]
        if missing:
            raise ValueError(f"{len(missing)} records were not scored, first {missing[0]}")
        values: np.ndarray = self.values[np.array([row_of[record] for record in record_ids], int)]
        return values


def collect(reader: ShardReader, model: ScoringModel, uri: str, what: str) -> Outputs:
    """Score the records of a reader, or read what is at ``uri``; an interrupted call goes on."""
    if not storage.exists(uri):
        parts = f"{uri.removesuffix('.parquet')}.parts"
        engine.score(reader, model, parts, what)
        schema = pa.schema(
            [("record_id", pa.string()), (OUTPUTS, pa.list_(pa.float32(), max(model.width, 1)))]
        )
        with writer(uri, schema) as file:
            for part in engine.read_parts(reader, parts):
                file.write_table(part.cast(schema))
        engine.delete_parts(reader, parts)
    table = read_table(uri)
    return Outputs(tuple(table.column("record_id").to_pylist()), engine.outputs_of(table))
