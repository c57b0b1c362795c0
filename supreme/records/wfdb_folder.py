"""Anyone's own data: WFDB records at any depth of a folder, and one table with a row for each.

Columns, in any order; all but `id` may be absent or have empty cells. Names are compared without case,
blanks, underscores and hyphens, and have the synonyms of :data:`SYNONYMS`. Others are named once, not read:

    id          name of the record, or its path from the folder
    patient_id  records of one patient share a split; without it every record is a patient
    report      free text
    labels      separated by ";", "|" or ",", or a list
    age         in years, or with a unit
    sex         a word for female or male in one of several languages, or F, M, W
    split       train, validation or test; else 80/10/10 by patient

The table is `table=...` (a file in the folder, or any path or URI), or else the only .csv, .tsv or .parquet
file directly in the folder. A row without a file is refused (`missing_file`); files without a row are
counted.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from supreme import config, log, storage
from supreme.config import ConfigError
from supreme.records import Entry, Record, Split, cells, in_order, tables
from supreme.records.record_files import RecordFiles, list_visible, printable, refusal
from supreme.records.wfdb_files import WfdbReader

COLUMNS = ("id", "patient_id", "report", "labels", "age", "sex", "split")
#: What else a column may be called.
SYNONYMS = {
    "id": (
        *("record_id", "record", "record_name", "ecg_id", "ecg", "exam_id", "study_id", "recording"),
        *("file", "filename", "file_path", "path", "wfdb_file"),
    ),
    "patient_id": (
        *("patient", "patient_no", "patient_number", "patient_nr", "pat_id", "pat_no", "pid", "mrn"),
        *("subject", "subject_id", "person_id", "participant_id", "patienten_id", "patientennummer"),
    ),
    "report": (
        *("text", "report_text", "ecg_report", "findings", "interpretation", "conclusion", "impression"),
        *("statement", "statements", "diagnosis_text", "befund", "comment", "comments"),
    ),
    "labels": ("label", "code", "codes", "dx", "dx_codes", "diagnosis_codes", "scp_codes", "snomed_codes"),
    "age": ("age_years", "age_in_years", "patient_age", "alter", "edad"),
    "sex": ("gender", "patient_sex", "patient_gender", "geschlecht", "sexo"),
    "split": ("subset", "partition", "data_split"),
}
_SPLITS: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_TABLES = (".csv", ".tsv", ".parquet")
_WARN_FRACTION = 0.1


def open_folder(source: config.Source) -> WfdbFolder:
    """The records of a folder and its table."""
    return WfdbFolder(source.dataset, source.uri, WfdbReader.of(source), source.table)


@dataclass(frozen=True)
class WfdbFolder:
    """The rows of the table."""

    dataset: str
    uri: str
    reader: WfdbReader
    table: str = ""

    def index(self) -> list[Entry]:
        """Every row of the table, sorted by id.

        Raises:
            ConfigError: there is no table, or several; the table is broken; no row has a record.
        """
        names = list_visible(self.uri)
        where = self._table(names)
        unread: list[str] = []
        table = tables.read(
            where,
            COLUMNS[:1],
            COLUMNS[1:],
            keys=("id", "patient_id"),
            synonyms=SYNONYMS,
            within=None if self.table else self.uri,
            on_unread=unread.extend,
        )
        tables.check(where, table, "id")
        files = self.record_files(names)
        rows = table.to_pylist()
        paths = [files.find(row["id"]) for row in rows]
        self._refuse_double(where, paths)
        self._report(where, table, unread, files, paths)
        entries = [
            self._entry(where, row, files.spelling(row["id"], path), path and files.place(path))
            for row, path in zip(rows, paths, strict=True)
        ]
        return in_order(entries, where)

    def record_files(self, names: list[str]) -> RecordFiles:
        """The records that rows may mean; ``names``: every visible file below the folder."""
        return RecordFiles.below(self.uri, names)

    def read(self, entry: Entry) -> Record:
        """One record.

        Raises:
            BadRecord: `missing_file`, and as `WfdbReader.read`.
        """
        return self.reader.read(entry)[0]

    def _table(self, names: list[str]) -> str:
        if self.table:
            where = self.table if "/" in self.table else storage.join(self.uri, self.table)
            if not storage.exists(where):
                raise ConfigError(f"source {self.dataset!r}: no file {where}: say where it is with table=...")
            return where
        candidates = [name for name in names if "/" not in name and name.casefold().endswith(_TABLES)]
        if len(candidates) != 1:
            several = f"several tables ({', '.join(map(printable, candidates))})"
            problem = several if candidates else "no .csv or .parquet file"
            raise ConfigError(f"source {self.dataset!r}: {problem} in {self.uri}: choose with table=FILE")
        return storage.join(self.uri, candidates[0])

    def _refuse_double(self, where: str, paths: Sequence[str | None]) -> None:
        rows = Counter(filter(None, paths))
        twice = [path for path, count in rows.items() if count > 1]
        if twice:
            problem = f"record {printable(twice[0])} has two rows, under two spellings of its id"
            raise ConfigError(f"{where}: {problem}: keep one")

    def _report(
        self, where: str, table: pa.Table, unread: list[str], files: RecordFiles, paths: Sequence[str | None]
    ) -> None:
        """Say once what of table and folder is not used, and refuse a table that fits no record."""
        logger = log.get(__name__)
        ids = table["id"].to_pylist()
        absent = [record for record, path in zip(ids, paths, strict=True) if path is None]
        if files.stems and ids and len(absent) == len(ids):
            example = f"{printable(files.stems[0])!r}"
            problem = (
                f"no row has a record: {files.describe_absent(absent[:1])}, but records are called {example}"
            )
            raise ConfigError(f"{where}: {problem}")
        if absent:
            level = logging.WARNING if len(absent) >= _WARN_FRACTION * len(ids) else logging.INFO
            nearest = files.describe_absent(absent)
            logger.log(level, f"{where}: {len(absent):,} of {len(ids):,} rows have no record: {nearest}")
        used = sum(path is not None for path in paths)
        if left := len(files.stems) - used:
            logger.warning(f"{self.uri}: {left:,} records have no row in {where} and are left out")
        notes = [f"columns not read: {', '.join(map(repr, unread))}"] if unread else []
        no_patients = "patient_id" not in table.column_names
        if no_patients:
            notes.append("no column patient_id: every record counts as a patient of its own")
        notes += _misunderstood(table)
        if notes:
            level = logging.WARNING if len(table.column_names) + len(unread) > 1 else logging.INFO
            logger.log(level, f"{where}: {'; '.join(notes)}")

    def _entry(self, where: str, row: dict[str, str | None], record: str, path: str | None) -> Entry:
        record_id = f"{self.dataset}/{record}"
        cell = {name: _cell(row.get(name)) for name in COLUMNS}
        split = _SPLITS.get(cell["split"].casefold())
        if cell["split"] and split is None:
            problem = f"split {cell['split']!r} is none of train, validation, test"
            raise ConfigError(f"{where}: id {row['id']}: {problem}")
        refused = f"missing_file: no record, or more than one, of this name in {self.uri}"
        return Entry(
            record_id=record_id,
            dataset=self.dataset,
            patient_id=f"{self.dataset}/{cell['patient_id']}" if cell["patient_id"] else record_id,
            split=split,
            report=cell["report"],
            codes=cells.codes(cell["labels"]),
            age=cells.parse_age(cell["age"]),
            sex=cells.parse_sex(cell["sex"]),
            source_uri=storage.join(self.uri, printable(path)) if path else "",
            refused=refused if path is None else refusal(path),
        )


def _cell(text: str | None) -> str:
    return "" if cells.is_missing(text) else (text or "").strip()


def _misunderstood(table: pa.Table) -> Iterable[str]:
    """What of the columns age and sex says something that is not understood, with an example of each."""
    for name, is_lost, remedy in (
        ("age", lambda cell: cells.parse_age(cell) is None, "give years"),
        ("sex", lambda cell: not cells.parse_sex(cell) and not cells.says_no_sex(cell), "write F or M"),
    ):
        values = table[name].to_pylist() if name in table.column_names else []
        lost = [cell for value in values if (cell := _cell(value)) and is_lost(cell)]
        if lost:
            examples = ", ".join(map(repr, dict.fromkeys(lost[:100])))[:60]
            yield f"{name} of {len(lost):,} rows not understood ({examples}): {remedy}"
