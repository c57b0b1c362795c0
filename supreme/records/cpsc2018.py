"""CPSC2018 (China Physiological Signal Challenge 2018): struct `.mat` files, nine classes, no reports.

The same recordings stand in the Challenge 2021 member set `cpsc_2018`: see `cinc2021`.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.io import loadmat

from supreme import config, log, storage
from supreme.config import ConfigError
from supreme.ecg import LEADS, BadRecord
from supreme.records import Entry, Record
from supreme.records.wfdb_files import MAX_VALUES, parse_age, parse_sex

LAYOUT = "CPSC2018: REFERENCE.csv and TrainingSet*/ with .mat files"
RATE_HZ = 500.0
_REFERENCE = "REFERENCE.csv"
_MAX_FILE_BYTES = 100_000_000


def recognise(folder: str) -> list[config.Source]:
    found = storage.exists(storage.join(folder, _REFERENCE)) and _training_sets(folder)
    return [config.Source(kind="cpsc2018", uri=folder)] if found else []


def open_folder(dataset: str, uri: str) -> Cpsc2018:
    """Raises ConfigError for another layout."""
    if not recognise(uri):
        raise ConfigError(f"{uri} is not a CPSC2018 folder: {_REFERENCE} or TrainingSet*/ is not in it")
    return Cpsc2018(dataset, uri)


@dataclass(frozen=True)
class Cpsc2018:
    """The `.mat` files that are present, with the classes "1" to "9" of `REFERENCE.csv`."""

    dataset: str
    uri: str

    def index(self) -> list[Entry]:
        table = storage.read_bytes(storage.join(self.uri, _REFERENCE)).decode("utf-8-sig")
        rows = list(csv.reader(io.StringIO(table)))[1:]
        codes = {row[0].strip(): tuple(c.strip() for c in row[1:] if c.strip()) for row in rows if row}
        files = {}
        for training_set in _training_sets(self.uri):
            place = storage.join(self.uri, training_set)
            for name in storage.list_files(place, ".mat"):
                files[name.rpartition("/")[2].removesuffix(".mat")] = storage.join(place, name)
        absent = len(codes.keys() - files.keys())
        if absent:
            log.get(__name__).info(f"{self.uri}: a partial copy, {absent} of {len(codes)} records absent")
        return [self._entry(name, codes.get(name, ()), uri) for name, uri in sorted(files.items())]

    def read(self, entry: Entry) -> Record:
        """One record; age and sex stand in its file.

        Raises:
            BadRecord: `unlabelled`, `missing_file`, `empty_file`, `unreadable`, `missing_leads`.
        """
        if not entry.codes:
            raise BadRecord("unlabelled", f"no class in {_REFERENCE}")
        data, sex, age = _load(_file_bytes(entry.source_uri))
        if data.ndim != 2 or data.shape[0] != len(LEADS) or data.size > MAX_VALUES:
            raise BadRecord("missing_leads", f"data of shape {data.shape} instead of (12, samples)")
        known = Entry(**{**entry.__dict__, "sex": parse_sex(sex), "age": parse_age(age)})
        return Record(known, data.astype(np.float64), LEADS, RATE_HZ)

    def _entry(self, name: str, codes: tuple[str, ...], uri: str) -> Entry:
        record_id = f"{self.dataset}/{name}"
        return Entry(record_id, self.dataset, patient_id=record_id, codes=codes, source_uri=uri)


def _training_sets(folder: str) -> list[str]:
    return [name for name in storage.list_folders(folder) if name.startswith("TrainingSet")]


def _file_bytes(uri: str) -> bytes:
    if not storage.exists(uri):
        raise BadRecord("missing_file", uri)
    content = storage.read_bytes(uri)
    if not content:
        raise BadRecord("empty_file", uri)
    if len(content) > _MAX_FILE_BYTES:
        raise BadRecord("unreadable", f"{len(content):,} bytes are too many for one ECG")
    return content


def _load(content: bytes) -> tuple[np.ndarray, str, str]:
    try:
        struct: Any = loadmat(io.BytesIO(content), variable_names=["ECG"])["ECG"][0, 0]
        data = np.asarray(struct["data"])
        sex, age = (str(np.ravel(struct[name])[0]) if struct[name].size else "" for name in ("sex", "age"))
    except Exception as error:
        raise BadRecord("unreadable", f"not a CPSC2018 struct ({type(error).__name__}: {error})") from error
    if data.dtype.kind not in "iuf":
        raise BadRecord("unreadable", f"data of type {data.dtype}")
    return data, sex, age
