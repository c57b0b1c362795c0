"""The label table as one code a record and entity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from supreme import manifest, storage
from supreme.config import ConfigError
from supreme.objectives.task import PRESENT, UNCERTAIN
from supreme.reports.result import LABELS
from supreme.storage.parquet import read_table


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
        manifest.require(folder, LABELS)
        uri = storage.join(folder, "labels.parquet")
        table = read_table(uri, ["record_id", "present", "uncertain"])
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
