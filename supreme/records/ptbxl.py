"""PTB-XL 1.0.1 to 1.0.3 (Wagner et al. 2020): reports, mostly German, SCP codes, folds by patient.

Folds 9 and 10 are the test split. Of folds 1 to 8, a tenth of the patients (by hash) is held out for
selection during pre-training, the others are trained on. Some reports quote the codes ("Edit: NORM 100,
..."): `report` is the raw text, and it is for the label stage to strip that leak.
"""

from __future__ import annotations

import ast
import csv
import io
from dataclasses import dataclass

from supreme import config, storage
from supreme.config import ConfigError
from supreme.records import Entry, Record, Split, patient_tenth
from supreme.records.wfdb_files import inside, parse_age, read_record

LAYOUT = "PTB-XL: ptbxl_database.csv with records500/ or records100/"
TABLE = "ptbxl_database.csv"


def recognise(folder: str) -> list[config.Source]:
    found = storage.exists(storage.join(folder, TABLE))
    return [config.Source(kind="ptbxl", uri=folder)] if found else []


def open_folder(dataset: str, uri: str) -> PtbXl:
    """Raises ConfigError when the table is absent."""
    if not storage.exists(storage.join(uri, TABLE)):
        raise ConfigError(f"{uri} is not a PTB-XL folder: no {TABLE} in it")
    return PtbXl(dataset, uri)


@dataclass(frozen=True)
class PtbXl:
    """The rows of `ptbxl_database.csv`; signals at 500 Hz where that folder is present, else at 100 Hz."""

    dataset: str
    uri: str

    def index(self) -> list[Entry]:
        high = storage.is_folder(storage.join(self.uri, "records500"))
        table = storage.read_bytes(storage.join(self.uri, TABLE)).decode("utf-8-sig")
        entries = []
        for row in csv.DictReader(io.StringIO(table)):
            try:
                entries.append(self._entry(row, row["filename_hr" if high else "filename_lr"]))
            except (KeyError, ValueError, SyntaxError, TypeError, AttributeError) as error:
                where = f"{self.uri}/{TABLE}: row ecg_id {row.get('ecg_id')}"
                raise ConfigError(f"{where}: {type(error).__name__} {error}: repair or remove it") from error
        return sorted(entries, key=lambda entry: entry.record_id)

    def read(self, entry: Entry) -> Record:
        """One record. Raises BadRecord as `wfdb_files.read_record`, `missing_file` in a partial copy."""
        return read_record(entry)[0]

    def _entry(self, row: dict[str, str], file: str) -> Entry:
        patient_id = f"{self.dataset}/{int(float(row['patient_id']))}"
        return Entry(
            record_id=f"{self.dataset}/{int(row['ecg_id']):05d}",
            dataset=self.dataset,
            patient_id=patient_id,
            split=_split(int(float(row["strat_fold"])), patient_id),
            report=row["report"],
            codes=tuple(map(str, dict(ast.literal_eval(row["scp_codes"])))),
            age=parse_age(row["age"]),
            sex={"0": "M", "1": "F"}.get(row["sex"].removesuffix(".0"), ""),
            source_uri=inside(self.uri, file),
        )


def _split(fold: int, patient_id: str) -> Split:
    if fold in (9, 10):
        return "test"
    if not 1 <= fold <= 8:
        raise ValueError(f"strat_fold {fold} is not 1 to 10")
    return "validation" if patient_tenth(patient_id) == 8 else "train"
