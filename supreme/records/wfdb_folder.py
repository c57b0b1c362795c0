"""Anyone's own data: WFDB records at any depth of a folder, and one CSV or Parquet table with a row for each.

Columns, in any order; all but `id` may be absent or have empty cells, and any others are ignored:

    id          name of the record, or its path from the folder; without extension
    patient_id  records of one patient share a split; without it every record is a patient
    report      free text
    labels      separated by ";" (in Parquet also a list)
    age         in years
    sex         starts with F or M
    split       train, validation or test; else 80/10/10 by patient

The table is `table=...` (a file in the folder, or any path or URI), or else the only .csv or .parquet file
directly in the folder. A row without a file is refused (`missing_file`); files without a row are counted.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from supreme import config, log, storage
from supreme.config import ConfigError
from supreme.ecg import BadRecord
from supreme.records import SPLITS, Entry, Record, in_order, tables
from supreme.records.wfdb_files import parse_age, parse_sex, read_record

COLUMNS = ("id", "patient_id", "report", "labels", "age", "sex", "split")


def open_folder(source: config.Source) -> WfdbFolder:
    return WfdbFolder(source.dataset, source.uri, source.table)


@dataclass(frozen=True)
class WfdbFolder:
    """The rows of the table."""

    dataset: str
    uri: str
    table: str = ""

    def index(self) -> list[Entry]:
        names = storage.list_files(self.uri)
        where = self._table(names)
        table = tables.read(where, COLUMNS[:1], COLUMNS[1:])
        tables.check(where, table, "id")
        stems = [name.removesuffix(".hea") for name in names if name.endswith(".hea")]
        alone = Counter(stem.rpartition("/")[2] for stem in stems)
        paths = {name: stem for stem in stems if alone[name := stem.rpartition("/")[2]] == 1}
        paths |= {stem: stem for stem in stems}
        rows = table.to_pylist()
        found = [paths.get(row["id"], "") for row in rows]
        used = Counter(filter(None, found))
        twice = [path for path, count in used.items() if count > 1]
        if twice:
            raise ConfigError(f"{where}: record {twice[0]} has two rows, one by its path: keep one")
        if left := len(stems) - len(used):
            log.get(__name__).warning(f"{self.uri}: {left:,} records have no row in {where} and are left out")
        entries = [self._entry(where, row, path) for row, path in zip(rows, found, strict=True)]
        return in_order(entries, where)

    def read(self, entry: Entry) -> Record:
        """One record. Raises BadRecord: `missing_file`, and as `wfdb_files.read_record`."""
        if not entry.source_uri:
            raise BadRecord("missing_file", f"no record, or more than one, of this name in {self.uri}")
        return read_record(entry)[0]

    def _table(self, names: list[str]) -> str:
        if self.table:
            where = self.table if "/" in self.table else storage.join(self.uri, self.table)
            if not storage.exists(where):
                raise ConfigError(f"source {self.dataset!r}: no file {where}: say where it is with table=...")
            return where
        found = [name for name in names if "/" not in name and name.endswith((".csv", ".parquet"))]
        if len(found) != 1:
            problem = f"several tables ({', '.join(found)})" if found else "no .csv or .parquet file"
            raise ConfigError(f"source {self.dataset!r}: {problem} in {self.uri}: choose with table=FILE")
        return storage.join(self.uri, found[0])

    def _entry(self, where: str, row: dict[str, str | None], path: str) -> Entry:
        record_id = f"{self.dataset}/{row['id']}"
        cell = {name: (row.get(name) or "").strip() for name in COLUMNS}
        split = next((name for name in SPLITS if name == cell["split"]), None)
        if cell["split"] and split is None:
            problem = f"split {cell['split']!r} is none of {', '.join(SPLITS)}"
            raise ConfigError(f"{where}: id {row['id']}: {problem}")
        return Entry(
            record_id=record_id,
            dataset=self.dataset,
            patient_id=f"{self.dataset}/{cell['patient_id']}" if cell["patient_id"] else record_id,
            split=split,
            report=cell["report"],
            codes=tuple(label.strip() for label in cell["labels"].split(";") if label.strip()),
            age=parse_age(cell["age"]),
            sex=parse_sex(cell["sex"]),
            source_uri=storage.join(self.uri, path) if path else "",
        )
