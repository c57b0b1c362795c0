"""PTB-XL 1.0.1 to 1.0.3 (Wagner et al. 2020): reports, mostly German, SCP codes, folds by patient.

Folds 9 and 10 are the test split. Of folds 1 to 8, a tenth of the patients (by hash) is held out for
selection during pre-training, the others are trained on. 1.0.3 is without 38 duplicates that 1.0.1 has, and
gives the recordings that stayed in their place other codes where the two disagreed.

Some reports quote the codes ("Edit: NORM 100, ...", in 1.0.3 also "consensus label derived from: {'SR': 0.0,
..."): `report` is the raw text, and it is for the label stage to strip that leak.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass

from supreme import config, storage
from supreme.config import ConfigError
from supreme.records import Entry, Record, Split, in_order, patient_tenth, tables
from supreme.records.cells import parse_age
from supreme.records.wfdb_files import WfdbReader, inside

LAYOUT = "PTB-XL: ptbxl_database.csv with records500/ or records100/"
TABLE = "ptbxl_database.csv"
_FILE_COLUMNS = {500: "filename_hr", 100: "filename_lr"}
_COLUMNS = ("ecg_id", "patient_id", "scp_codes", "strat_fold")
_MAY_BE_EMPTY = ("report", "age", "sex")


def recognise(folder: str) -> list[config.Source]:
    """The folder itself where the table is in it."""
    has_table = storage.exists(storage.join(folder, TABLE))
    return [config.Source(kind="ptbxl", uri=folder)] if has_table else []


def open_folder(source: config.Source) -> PtbXl:
    """The records of a folder at the rate that the source asks for.

    Raises:
        ConfigError: the table, or the folder of that rate, is absent.
    """
    if not storage.exists(storage.join(source.uri, TABLE)):
        raise ConfigError(f"{source.uri} is not a PTB-XL folder: no {TABLE} in it")
    rates_hz = (source.rate_hz,) if source.rate_hz else tuple(_FILE_COLUMNS)
    for rate_hz in rates_hz:
        if storage.is_folder(storage.join(source.uri, f"records{rate_hz}")):
            return PtbXl(source.dataset, source.uri, rate_hz, WfdbReader.of(source))
    folders = " or ".join(f"records{rate_hz}/" for rate_hz in rates_hz)
    raise ConfigError(
        f"{source.uri} has no {folders}: copy it there or choose the other rate with rate_hz=..."
    )


@dataclass(frozen=True)
class PtbXl:
    """The rows of `ptbxl_database.csv`, with their signals at 500 or 100 Hz."""

    dataset: str
    uri: str
    rate_hz: int
    reader: WfdbReader

    def index(self) -> list[Entry]:
        """Every row of the table, sorted by id.

        Raises:
            ConfigError: the table, or a cell of it, is broken.
        """
        where, file = storage.join(self.uri, TABLE), _FILE_COLUMNS[self.rate_hz]
        required = (*_COLUMNS, file, *_MAY_BE_EMPTY)
        table = tables.read(where, required, keys=("ecg_id", "patient_id", "strat_fold"), within=self.uri)
        tables.check(where, table, "ecg_id", (*_COLUMNS, file))
        entries = []
        for row in table.to_pylist():
            try:
                entries.append(self._entry(row, row[file]))
            except Exception as error:  # whatever a cell holds
                problem = f"row ecg_id {row['ecg_id'][:40]}: {type(error).__name__} {error}"
                raise ConfigError(f"{where}: {problem}: repair or remove it") from error
        return in_order(entries, where)

    def read(self, entry: Entry) -> Record:
        """One record.

        Raises:
            BadRecord: as `WfdbReader.read`; `missing_file` in a partial copy.
        """
        return self.reader.read(entry)[0]

    def _entry(self, row: dict[str, str | None], file: str) -> Entry:
        patient_id = f"{self.dataset}/{int(float(row['patient_id'] or ''))}"
        fold = int(float(row["strat_fold"] or ""))
        return Entry(
            record_id=f"{self.dataset}/{int(row['ecg_id'] or ''):05d}",
            dataset=self.dataset,
            patient_id=patient_id,
            split=_split(fold, patient_id),
            fold=fold,
            report=row["report"] or "",
            codes=tuple(map(str, dict(ast.literal_eval(row["scp_codes"] or "")))),
            age=parse_age(row["age"] or ""),
            sex={"0": "M", "1": "F"}.get((row["sex"] or "").removesuffix(".0"), ""),
            source_uri=inside(self.uri, file),
        )


def _split(fold: int, patient_id: str) -> Split:
    if fold in (9, 10):
        return "test"
    if not 1 <= fold <= 8:
        raise ValueError(f"strat_fold {fold} is not 1 to 10")
    return "validation" if patient_tenth(patient_id) == 8 else "train"
