"""MIMIC-IV-ECG 1.0 (Gow et al. 2023): 800,035 records at 500 Hz with machine statements; no age, no sex.

Signals are 200 adu/mV with aVF before aVL. The statements report_0 .. report_17 are joined by line breaks;
one that starts with "- " qualifies the one before.

``report_filter="merl"`` refuses records whose cleaned report has fewer than four words, as MERL does (Liu et
al. 2024, its `pretrain/preprocess.ipynb`, which keeps 771,693). It decides only what is kept: `report` stays
the text of the table, where MERL goes on with lower case and full stops.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from supreme import config, storage
from supreme.config import ConfigError
from supreme.ecg import BadRecord
from supreme.records import Entry, Record, tables
from supreme.records.wfdb_files import WfdbReader, inside

LAYOUT = "MIMIC-IV-ECG: record_list.csv, machine_measurements.csv and files/"
RECORDS = "record_list.csv"
MEASUREMENTS = "machine_measurements.csv"
REPORT_COLUMNS = tuple(f"report_{number}" for number in range(18))
#: Those that are read, where a later version has more.
_STATEMENTS = tuple(f"report_{number}" for number in range(32))
MERL_WORDS = 4


def recognise(folder: str) -> list[config.Source]:
    """The folder itself where the list of records is in it."""
    has_table = storage.exists(storage.join(folder, RECORDS))
    return [config.Source(kind="mimic_iv_ecg", uri=folder)] if has_table else []


def open_folder(source: config.Source) -> MimicIvEcg:
    """The records of a folder.

    Raises:
        ConfigError: a table is absent.
    """
    for name in (RECORDS, MEASUREMENTS):
        if not storage.exists(storage.join(source.uri, name)):
            raise ConfigError(f"{source.uri} is not a MIMIC-IV-ECG folder: no {name} in it")
    reader = WfdbReader.of(source)
    return MimicIvEcg(source.dataset, source.uri, reader, merl_words=source.report_filter == "merl")


@dataclass(frozen=True)
class MimicIvEcg:
    """The rows of `record_list.csv`, with the statements of `machine_measurements.csv` by study."""

    dataset: str
    uri: str
    reader: WfdbReader
    merl_words: bool = False

    def index(self) -> list[Entry]:
        """Every row of the list of records, sorted by study.

        Raises:
            ConfigError: a table is broken, a path leads out of the folder, or no statement has a record.
        """
        where, keys = storage.join(self.uri, RECORDS), ("subject_id", "study_id")
        table = tables.read(where, (*keys, "path"), keys=keys, within=self.uri)
        tables.check(where, table, "study_id", ("subject_id", "path"))
        table = table.sort_by("study_id")
        reports = self._reports(table["study_id"])
        rows = zip(*(table[name].to_pylist() for name in table.column_names), reports, strict=True)
        try:
            return [
                Entry(
                    record_id=f"{self.dataset}/{study}",
                    dataset=self.dataset,
                    patient_id=f"{self.dataset}/{subject}",
                    report=report,
                    source_uri=inside(self.uri, path),
                )
                for subject, study, path, report in rows
            ]
        except BadRecord as error:
            raise ConfigError(f"{where}: {error}: repair or remove the row") from error

    def read(self, entry: Entry) -> Record:
        """One record.

        Raises:
            BadRecord: `report_filter`, and as `WfdbReader.read`.
        """
        if self.merl_words and (words := count_words(entry.report)) < MERL_WORDS:
            raise BadRecord("report_filter", f"{words} of the {MERL_WORDS} words that MERL asks for")
        return self.reader.read(entry)[0]

    def _reports(self, studies: pa.ChunkedArray) -> list[str]:
        """The report of each study, empty for a study without a row."""
        where = storage.join(self.uri, MEASUREMENTS)
        table = tables.read(where, ("study_id",), _STATEMENTS, keys=("study_id",), within=self.uri)
        tables.check(where, table, "study_id")
        # Tools drop columns that are empty: those that are there count.
        statements = [table[name] for name in _STATEMENTS if name in table.column_names]
        if not statements:
            raise ConfigError(f"{where}: no column report_0, report_1, ...: copy it again")
        # The empty first part keeps rows without a statement: Arrow drops rows of nulls, and others move up.
        joined = pc.binary_join_element_wise("", *statements, "\n", null_handling="skip")
        rows = pc.index_in(studies, table["study_id"])
        example = (
            f"study_id {next(iter(table['study_id'].to_pylist()), None)!r}, {studies[0].as_py()!r} there"
        )
        tables.count_unmatched(where, len(studies) - rows.null_count, len(studies), example)
        return pc.fill_null(pc.utf8_slice_codeunits(joined.take(rows), 1), "").to_pylist()


def count_words(report: str) -> int:
    """Words of a report as MERL counts them: statements joined by ". ", without `*`, `=`, `-` at the ends."""
    return len(". ".join(report.split("\n")).strip(" *").strip("=-").split())
