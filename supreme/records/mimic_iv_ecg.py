"""MIMIC-IV-ECG 1.0 (Gow et al. 2023): 800,035 records at 500 Hz with machine statements; no age, no sex.

Signals are 200 adu/mV with aVF before aVL. The statements report_0 .. report_17 are joined by line breaks;
one that starts with "- " qualifies the one before.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import pandas as pd

from supreme import config, storage
from supreme.config import ConfigError
from supreme.ecg import BadRecord
from supreme.records import Entry, Record
from supreme.records.wfdb_files import inside, read_record

LAYOUT = "MIMIC-IV-ECG: record_list.csv, machine_measurements.csv and files/"
RECORDS = "record_list.csv"
MEASUREMENTS = "machine_measurements.csv"
REPORT_COLUMNS = tuple(f"report_{number}" for number in range(18))


def recognise(folder: str) -> list[config.Source]:
    found = storage.exists(storage.join(folder, RECORDS))
    return [config.Source(kind="mimic_iv_ecg", uri=folder)] if found else []


def open_folder(dataset: str, uri: str) -> MimicIvEcg:
    """Raises ConfigError when a table is absent."""
    for name in (RECORDS, MEASUREMENTS):
        if not storage.exists(storage.join(uri, name)):
            raise ConfigError(f"{uri} is not a MIMIC-IV-ECG folder: no {name} in it")
    return MimicIvEcg(dataset, uri)


@dataclass(frozen=True)
class MimicIvEcg:
    """The rows of `record_list.csv`, with the statements of `machine_measurements.csv` by study."""

    dataset: str
    uri: str

    def index(self) -> list[Entry]:
        reports = self._reports()
        entries = []
        for row in self._table(RECORDS, ("subject_id", "study_id", "path")).itertuples(index=False):
            record_id = f"{self.dataset}/{row.study_id}"
            try:
                uri = inside(self.uri, str(row.path))
            except BadRecord as error:
                where = f"{self.uri}/{RECORDS}: study {row.study_id}"
                raise ConfigError(f"{where}: {error}: repair or remove the row") from error
            report = reports.get(row.study_id, "")
            patient_id = f"{self.dataset}/{row.subject_id}"
            entries.append(Entry(record_id, self.dataset, patient_id, report=report, source_uri=uri))
        return sorted(entries, key=lambda entry: entry.record_id)

    def read(self, entry: Entry) -> Record:
        """One record. Raises BadRecord as `wfdb_files.read_record`."""
        return read_record(entry)[0]

    def _reports(self) -> dict[str, str]:
        table = self._table(MEASUREMENTS, ("study_id", *REPORT_COLUMNS))
        lines = zip(*(table[name].str.strip() for name in REPORT_COLUMNS), strict=True)
        joined = ("\n".join(line for line in statements if line) for statements in lines)
        return dict(zip(table["study_id"], joined, strict=True))

    def _table(self, name: str, columns: tuple[str, ...]) -> pd.DataFrame:
        content = io.BytesIO(storage.read_bytes(storage.join(self.uri, name)))
        try:
            return pd.read_csv(content, usecols=list(columns), dtype=str, keep_default_na=False)
        except ValueError as error:
            raise ConfigError(f"{self.uri}/{name}: {error}") from error
