"""What the scoring engine gave for the records of a data set, collected into one file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from supreme import storage
from supreme.evaluation.score_files import rows_of
from supreme.evaluation.shard_reader import ShardReader
from supreme.inference import engine
from supreme.inference.engine import OUTPUTS, ScoringModel
from supreme.storage.parquet import read_table, writer


@dataclass(frozen=True)
class Outputs:
    """What a model gives for records."""

    uri: str
    """Where they are, for messages."""
    record_ids: tuple[str, ...]
    values: np.ndarray
    """float ``(N, width)``."""

    def covers(self, record_ids: Sequence[str]) -> bool:
        """Whether any of these records has outputs."""
        return not set(record_ids).isdisjoint(self.record_ids)

    def of(self, record_ids: Sequence[str], benchmark: str) -> np.ndarray:
        """``(M, width)`` of these records.

        Raises:
            ConfigError: some of them have none; the message names the first and the remedy.
        """
        of_benchmark = set(record_ids)
        row_of = {record: row for row, record in enumerate(self.record_ids) if record in of_benchmark}
        values: np.ndarray = self.values[rows_of(self.uri, row_of, record_ids, benchmark)]
        return values


def collect(reader: ShardReader, model: ScoringModel, uri: str, what: str) -> Outputs:
    """Score the records of a reader, or read what is at ``uri``; an interrupted call goes on."""
    if not storage.exists(uri):
        parts = storage.with_ending(uri, ".parquet", ".parts")
        engine.score(reader, model, parts, what)
        schema = pa.schema(
            [("record_id", pa.string()), (OUTPUTS, pa.list_(pa.float32(), max(model.width, 1)))]
        )
        with writer(uri, schema) as file:
            for part in engine.read_parts(reader, parts):
                file.write_table(part.cast(schema))
        engine.delete_parts(reader, parts)
    table = read_table(uri)
    return Outputs(uri, tuple(table.column("record_id").to_pylist()), engine.outputs_of(table))
