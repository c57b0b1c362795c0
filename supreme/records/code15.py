"""CODE-15% (Ribeiro et al. 2021): 400 Hz, 7 or 10 s, no reports; HDF5 or WFDB, with `exams.csv` beside it.

The original files are `exams_part*.hdf5`, whose records are filled up with zeros, which are cut off; patient,
age and sex are in `exams.csv`. The authors contradict themselves on the unit: it is the source's `unit`.
The WFDB form is the one that the 2025 PhysioNet Challenge's `prepare_code15_data.py` writes: `#Patient ID`,
`#Age`, `#Sex` and `#Chagas label` in the headers.

Codes are the columns of `exams.csv` that are true (1dAVb, RBBB, LBBB, SB, ST, AF, normal_ecg), or
`abnormal_ecg` where normal_ecg is false; and `chagas` or `no_chagas`, as the header says. A record without a
row there, or every record where the file is absent, has the latter alone; and because its patient is known
only when its header is read, it counts as test: so no patient is in two splits.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import NamedTuple

from supreme import config, log, storage
from supreme.records import Entry, Record, in_order, is_hidden, tables
from supreme.records.cells import parse_age, parse_sex
from supreme.records.ecg_files import EcgReader, list_records
from supreme.records.formats import arrays
from supreme.records.record_files import HEADER
from supreme.records.wfdb_files import WfdbReader, entry_of

LAYOUT = (
    "CODE-15%: a folder named code15 (or CODE-15) with exams_part*.hdf5 or WFDB files and, for its labels, "
    "exams.csv"
)
TABLE = "exams.csv"
_PERSON = ("age", "is_male")
DIAGNOSES = ("1dAVb", "RBBB", "LBBB", "SB", "ST", "AF", "normal_ecg")
ABNORMAL = "abnormal_ecg"
CHAGAS, NO_CHAGAS = "chagas", "no_chagas"
_NAME = re.compile(r"code-?15", re.IGNORECASE)


def recognise(folder: str) -> list[config.Source]:
    """The folder itself where its name says so and WFDB headers or HDF5 files are in it."""
    name = storage.filesystem(folder)[1].rpartition("/")[2]
    if not _NAME.search(name):
        return []
    files = storage.list_files(folder, recursive=False)
    if not any(file.endswith((HEADER, ".hdf5")) and not is_hidden(file) for file in files):
        return []
    return [config.Source(kind="code15", uri=folder)]


def open_folder(source: config.Source) -> Code15:
    """The records of a folder."""
    return Code15(source.dataset, source.uri, WfdbReader.of(source), source.unit)


class _Exam(NamedTuple):
    """A row of `exams.csv`."""

    patient_id: str
    codes: tuple[str, ...]
    age: float | None
    sex: str

    def complete(self, entry: Entry) -> Entry:
        """An entry with what the row says."""
        patient_id = f"{entry.dataset}/{self.patient_id}"
        known = replace(entry, patient_id=patient_id, split=None, codes=self.codes)
        # WFDB headers say age and sex themselves.
        return replace(known, age=self.age, sex=self.sex) if arrays.split_record(entry.source_uri) else known


@dataclass(frozen=True)
class Code15:
    """The records that are there, at any depth, named by their exam id."""

    dataset: str
    uri: str
    reader: WfdbReader
    unit: str = ""
    """Of the samples in HDF5 files."""

    def index(self) -> list[Entry]:
        """Every record below the folder, with patient, age, sex and codes of `exams.csv`.

        Raises:
            ConfigError: the table is broken or has no row for any record, or an exam is there twice.
        """
        exams = self._exams()
        entries = []
        files = list_records(self.uri, self.unit)
        for stem in files.stems:
            place = files.place(stem)
            if not (place.endswith(HEADER) or arrays.split_record(place)):
                continue
            local = stem.rpartition("/")[2]
            where = storage.join(self.uri, stem if place.endswith(HEADER) else place)
            entry = replace(entry_of(self.dataset, f"{self.dataset}/{local}", where), split="test")
            if exam := exams.get(local):
                entry = exam.complete(entry)
            entries.append(entry)
        without = sum(entry.split == "test" for entry in entries)
        if exams:
            example = f"exam_id {next(iter(exams))!r}"
            tables.count_unmatched(
                storage.join(self.uri, TABLE), len(entries) - without, len(entries), example
            )
        if without:
            remedy = f"they count as test, with no label but {CHAGAS}"
            log.get(__name__).info(f"{self.uri}: {without:,} records without a row in {TABLE}: {remedy}")
        return in_order(entries, self.uri)

    def read(self, entry: Entry) -> Record:
        """One record; age, sex, `chagas`, and a patient that is not known yet, come from the header.

        Raises:
            BadRecord: as `WfdbReader.read`.
        """
        if arrays.split_record(entry.source_uri):
            return EcgReader(self.reader, self.unit).read(entry)
        record, comments = self.reader.read(entry)
        known = replace(
            entry,
            age=parse_age(comments.get("age", "")),
            sex=parse_sex(comments.get("sex", "")),
            codes=(*entry.codes, *_chagas(comments.get("chagas label"))),
        )
        patient = comments.get("patient id")
        if patient and entry.patient_id == entry.record_id:
            known = replace(known, patient_id=f"{self.dataset}/{patient}")
        return replace(record, entry=known)

    def _exams(self) -> dict[str, _Exam]:
        """What `exams.csv` says, by exam id; empty without it."""
        where = storage.join(self.uri, TABLE)
        if not storage.exists(where):
            return {}
        keys = ("exam_id", "patient_id")
        table = tables.read(where, (*keys, *DIAGNOSES), _PERSON, keys=keys, within=self.uri)
        tables.check(where, table, "exam_id", ("patient_id",))
        exams = {}
        for row in table.to_pylist():
            codes = _diagnoses(tuple(row[name] for name in DIAGNOSES))
            is_male = row.get("is_male")
            sex = "M" if _is_true(is_male) else "F" if _is_false(is_male) else ""
            exams[row["exam_id"]] = _Exam(row["patient_id"], codes, parse_age(row.get("age") or ""), sex)
        return exams


def _diagnoses(flags: tuple[str | None, ...]) -> tuple[str, ...]:
    """The codes of a row's flags, in the order of DIAGNOSES; what says that it is annotated comes last."""
    codes = tuple(name for name, flag in zip(DIAGNOSES, flags, strict=True) if _is_true(flag))
    return (*codes, ABNORMAL) if _is_false(flags[-1]) else codes


def _chagas(label: str | None) -> list[str]:
    return [CHAGAS] if _is_true(label) else [NO_CHAGAS] if _is_false(label) else []


def _is_false(flag: str | None) -> bool:
    return (flag or "").strip().casefold() in ("false", "0", "0.0")


def _is_true(flag: str | None) -> bool:
    return (flag or "").strip().casefold() in ("true", "1", "1.0")
