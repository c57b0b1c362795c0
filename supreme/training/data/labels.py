"""The label table as a matrix: one code per record and entity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from supreme import storage
from supreme.config import ConfigError
from supreme.objectives.task import PRESENT, UNCERTAIN
from supreme.reports.label_table import LABEL_SCHEMA, LABELS
from supreme.storage.parquet import read_table


@dataclass(frozen=True)
class LabelMatrix:
    """One code per record and entity: 0 not mentioned or absent, 1 present, 2 uncertain."""

    rows: dict[str, int] = field(repr=False)
    """Record id -> row of ``codes``."""
    codes: np.ndarray
    """int8 (records, Q), entities in the vocabulary's order."""
    unseen: np.ndarray
    """int8 (records, U): held-out entities, which only validation asks for."""

    @classmethod
    def read(cls, folder: str, entity_ids: Sequence[str], unseen_ids: Sequence[str] = ()) -> LabelMatrix:
        """Read ``labels.parquet`` of a finished label stage."""
        table = read_table(
            storage.join(folder, LABELS), ["record_id", "present", "uncertain"], schema=LABEL_SCHEMA
        )
        columns = [*entity_ids, *unseen_ids]
        codes = np.zeros((len(table), len(columns)), np.int8)
        # Present is written last: a record that is in both lists has the finding.
        for name, code in (("uncertain", UNCERTAIN), ("present", PRESENT)):
            lists = table.column(name).combine_chunks()
            entities = pc.index_in(lists.flatten(), pa.array(columns, pa.string()))
            known = entities.is_valid().to_numpy(zero_copy_only=False)
            records = pc.list_parent_indices(lists).to_numpy()
            codes[records[known], entities.drop_null().to_numpy()] = code
        rows = {r: i for i, r in enumerate(table.column("record_id").to_pylist())}
        return cls(rows, *np.split(codes, [len(entity_ids)], axis=1))

    def of(self, record_ids: Sequence[str]) -> np.ndarray:
        """Codes (len(record_ids), Q) of records.

        Raises:
            ConfigError: a record has no row.
        """
        return self.codes[self._indices(record_ids)]

    def unseen_of(self, record_ids: Sequence[str]) -> np.ndarray:
        """Codes (len(record_ids), U) as in `of`."""
        return self.unseen[self._indices(record_ids)]

    def _indices(self, record_ids: Sequence[str]) -> list[int]:
        missing = [r for r in record_ids if r not in self.rows]
        if missing:
            raise ConfigError(
                f"{len(missing)} records have no labels, the first is {missing[0]}: the label table was "
                "made from other shards; rerun jobs/label.py"
            )
        return [self.rows[r] for r in record_ids]


def positive_rate(codes: np.ndarray) -> torch.Tensor:
    """Share of the records with each entity, uncertain ones left out, shape (Q,)."""
    certain = np.maximum((codes != UNCERTAIN).sum(0), 1)
    return torch.from_numpy(((codes == PRESENT).sum(0) / certain).astype(np.float32))
