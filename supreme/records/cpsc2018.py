"""CPSC2018 (China Physiological Signal Challenge 2018): nine classes, no reports; structs or WFDB files.

The same recordings stand in the Challenge 2021 member set `cpsc_2018`: see `cinc2021`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from supreme import config, log, storage
from supreme.config import ConfigError
from supreme.ecg import LEADS, BadRecord
from supreme.records import Entry, Record, tables
from supreme.records.cells import parse_age, parse_sex
from supreme.records.matlab import read_struct
from supreme.records.record_files import list_visible
from supreme.records.wfdb_files import WfdbReader, entry_of
from supreme.records.wfdb_header import MAX_VALUES

LAYOUT = "CPSC2018: REFERENCE.csv and Training*/ with struct .mat files, or with WFDB files"
RATE_HZ = 500.0
_REFERENCE = "REFERENCE.csv"
_COLUMNS = ("Recording", "First_label", "Second_label", "Third_label")
#: Of one record, deflated or not: float64 samples.
_MAX_BYTES = 8 * MAX_VALUES


def recognise(folder: str) -> list[config.Source]:
    """The folder itself where it has this layout."""
    has_layout = storage.exists(storage.join(folder, _REFERENCE)) and _training_sets(folder)
    return [config.Source(kind="cpsc2018", uri=folder)] if has_layout else []


def open_folder(source: config.Source) -> Cpsc2018:
    """The records of a folder.

    Raises:
        ConfigError: another layout.
    """
    if not recognise(source.uri):
        raise ConfigError(f"{source.uri} is not a CPSC2018 folder: {_REFERENCE} or Training*/ is not in it")
    return Cpsc2018(source.dataset, source.uri, WfdbReader.of(source))


@dataclass(frozen=True)
class Cpsc2018:
    """The records that are present, with the classes "1" to "9" of `REFERENCE.csv`."""

    dataset: str
    uri: str
    reader: WfdbReader

    def index(self) -> list[Entry]:
        """Every record that is there, sorted by name.

        Raises:
            ConfigError: `REFERENCE.csv` is broken or has no row for any record.
        """
        where = storage.join(self.uri, _REFERENCE)
        table = tables.read(where, _COLUMNS[:2], _COLUMNS[2:], keys=_COLUMNS, within=self.uri)
        tables.check(where, table, _COLUMNS[0])
        names, *labels = (table[name].to_pylist() for name in table.column_names)
        classes = (tuple(filter(None, row)) for row in zip(*labels, strict=True))
        codes = {name.removesuffix(".mat"): row for name, row in zip(names, classes, strict=True)}
        files: dict[str, str] = {}
        for training_set in _training_sets(self.uri):
            files |= _files(storage.join(self.uri, training_set))
        tables.count_unmatched(where, len(codes.keys() & files.keys()), len(files), f"Recording {names[:1]}")
        absent = len(codes.keys() - files.keys())
        if absent:
            log.get(__name__).info(f"{self.uri}: a partial copy, {absent} of {len(codes)} records absent")
        return [self._entry(name, codes.get(name, ()), uri) for name, uri in sorted(files.items())]

    def read(self, entry: Entry) -> Record:
        """One record; age and sex stand in its file.

        Raises:
            BadRecord: `unlabelled`; for a struct `missing_leads` and as `matlab.read_struct`; for a WFDB
                record as `WfdbReader.read`.
        """
        entry.raise_refusal()
        if not entry.codes:
            raise BadRecord("unlabelled", f"no class in {_REFERENCE}")
        if not entry.source_uri.partition("?")[0].endswith(".mat"):
            record, known = self.reader.read(entry)
            return replace(record, entry=_known(entry, known.get("sex", ""), known.get("age", "")))
        fields = read_struct(self.reader.bytes_of(entry.source_uri, _MAX_BYTES), "ECG", _MAX_BYTES)
        data, sex, age = (fields.get(name, "") for name in ("data", "sex", "age"))
        if isinstance(data, str):
            raise BadRecord("unreadable", "ECG.data holds no numbers")
        if data.ndim != 2 or data.shape[0] != len(LEADS) or data.size > MAX_VALUES:
            raise BadRecord("missing_leads", f"data of shape {data.shape} instead of (12, samples)")
        years = str(age if isinstance(age, str) else next(age.flat, ""))
        return Record(_known(entry, str(sex), years), data.astype(np.float32), LEADS, RATE_HZ)

    def _entry(self, name: str, codes: tuple[str, ...], uri: str) -> Entry:
        return replace(entry_of(self.dataset, f"{self.dataset}/{name}", uri), codes=codes)


def _training_sets(folder: str) -> list[str]:
    return [name for name in storage.list_folders(folder) if name.startswith("Training")]


def _files(folder: str) -> dict[str, str]:
    """URI by record: that of a struct, or of a WFDB record without extension."""
    names = list_visible(folder)
    wfdb = {name.removesuffix(".hea") for name in names if name.endswith(".hea")}
    structs = {name for name in names if name.endswith(".mat") and name.removesuffix(".mat") not in wfdb}
    return {
        name.rpartition("/")[2].removesuffix(".mat"): storage.join(folder, name) for name in wfdb | structs
    }


def _known(entry: Entry, sex: str, age: str) -> Entry:
    return replace(entry, sex=parse_sex(sex), age=parse_age(age))
