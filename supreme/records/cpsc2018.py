"""CPSC2018 (China Physiological Signal Challenge 2018): nine classes, no reports; structs or WFDB files.

The same recordings stand in the Challenge 2021 member set `cpsc_2018`: see `cinc2021`.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, replace

import numpy as np

from supreme import config, log, storage
from supreme.config import ConfigError
from supreme.ecg import LEADS, BadRecord
from supreme.records import Entry, Record
from supreme.records.matlab import read_struct
from supreme.records.wfdb_files import file_bytes, parse_age, parse_sex, read_record
from supreme.records.wfdb_header import MAX_VALUES

LAYOUT = "CPSC2018: REFERENCE.csv and Training*/ with struct .mat files, or with WFDB files"
RATE_HZ = 500.0
_REFERENCE = "REFERENCE.csv"
#: Of one record, deflated or not: float64 samples.
_MAX_BYTES = 8 * MAX_VALUES


def recognise(folder: str) -> list[config.Source]:
    found = storage.exists(storage.join(folder, _REFERENCE)) and _training_sets(folder)
    return [config.Source(kind="cpsc2018", uri=folder)] if found else []


def open_folder(source: config.Source) -> Cpsc2018:
    """Raises ConfigError for another layout."""
    if not recognise(source.uri):
        raise ConfigError(f"{source.uri} is not a CPSC2018 folder: {_REFERENCE} or Training*/ is not in it")
    return Cpsc2018(source.dataset, source.uri)


@dataclass(frozen=True)
class Cpsc2018:
    """The records that are present, with the classes "1" to "9" of `REFERENCE.csv`."""

    dataset: str
    uri: str

    def index(self) -> list[Entry]:
        table = storage.read_bytes(storage.join(self.uri, _REFERENCE)).decode("utf-8-sig")
        rows = list(csv.reader(io.StringIO(table)))[1:]
        codes = {row[0].strip(): tuple(c.strip() for c in row[1:] if c.strip()) for row in rows if row}
        files: dict[str, str] = {}
        for training_set in _training_sets(self.uri):
            files |= _files(storage.join(self.uri, training_set))
        absent = len(codes.keys() - files.keys())
        if absent:
            log.get(__name__).info(f"{self.uri}: a partial copy, {absent} of {len(codes)} records absent")
        return [self._entry(name, codes.get(name, ()), uri) for name, uri in sorted(files.items())]

    def read(self, entry: Entry) -> Record:
        """One record; age and sex stand in its file.

        Raises:
            BadRecord: `unlabelled`; for a struct `missing_leads` and as `matlab.read_struct`; for a WFDB
                record as `wfdb_files.read_record`.
        """
        if not entry.codes:
            raise BadRecord("unlabelled", f"no class in {_REFERENCE}")
        if not entry.source_uri.partition("?")[0].endswith(".mat"):
            record, known = read_record(entry)
            return replace(record, entry=_known(entry, known.get("sex", ""), known.get("age", "")))
        fields = read_struct(file_bytes(entry.source_uri, _MAX_BYTES), "ECG", _MAX_BYTES)
        data, sex, age = (fields.get(name, "") for name in ("data", "sex", "age"))
        if isinstance(data, str):
            raise BadRecord("unreadable", "ECG.data holds no numbers")
        if data.ndim != 2 or data.shape[0] != len(LEADS) or data.size > MAX_VALUES:
            raise BadRecord("missing_leads", f"data of shape {data.shape} instead of (12, samples)")
        years = str(age if isinstance(age, str) else next(age.flat, ""))
        return Record(_known(entry, str(sex), years), data.astype(np.float32), LEADS, RATE_HZ)

    def _entry(self, name: str, codes: tuple[str, ...], uri: str) -> Entry:
        record_id = f"{self.dataset}/{name}"
        return Entry(record_id, self.dataset, patient_id=record_id, codes=codes, source_uri=uri)


def _training_sets(folder: str) -> list[str]:
    return [name for name in storage.list_folders(folder) if name.startswith("Training")]


def _files(folder: str) -> dict[str, str]:
    """URI by record: that of a struct, or of a WFDB record without extension."""
    names = storage.list_files(folder)
    wfdb = {name.removesuffix(".hea") for name in names if name.endswith(".hea")}
    structs = {name for name in names if name.endswith(".mat") and name.removesuffix(".mat") not in wfdb}
    return {
        name.rpartition("/")[2].removesuffix(".mat"): storage.join(folder, name) for name in wfdb | structs
    }


def _known(entry: Entry, sex: str, age: str) -> Entry:
    return replace(entry, sex=parse_sex(sex), age=parse_age(age))
