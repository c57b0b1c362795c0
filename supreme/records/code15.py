"""CODE-15% (Ribeiro et al. 2021): 400 Hz, 7 or 10 s, no reports; in WFDB form with `exams.csv` beside it.

The WFDB form is the one that the 2025 PhysioNet Challenge's `prepare_code15_data.py` writes: `#Patient ID`,
`#Age`, `#Sex` and `#Chagas label` in the headers. The original HDF5 files (`exams_part*.hdf5`) are not read:
convert them with that script, and copy the original `exams.csv` to the records.

Codes are the columns of `exams.csv` that are true (1dAVb, RBBB, LBBB, SB, ST, AF, normal_ecg), or
`abnormal_ecg` where normal_ecg is false; and `chagas` or `no_chagas`, as the header says. A record without a
row there, or every record where the file is absent, has the latter alone; and because its patient is known
only when its header is read, it counts as test: so no patient is in two splits.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from supreme import config, log, storage
from supreme.records import Entry, Record, in_order, is_hidden, tables
from supreme.records.cells import parse_age, parse_sex
from supreme.records.record_files import RecordFiles
from supreme.records.wfdb_files import WfdbReader, entry_of

LAYOUT = "CODE-15%: a folder named code15 (or CODE-15) with WFDB files and, for its labels, exams.csv"
TABLE = "exams.csv"
DIAGNOSES = ("1dAVb", "RBBB", "LBBB", "SB", "ST", "AF", "normal_ecg")
ABNORMAL = "abnormal_ecg"
CHAGAS, NO_CHAGAS = "chagas", "no_chagas"
_NAME = re.compile(r"code-?15", re.IGNORECASE)


def recognise(folder: str) -> list[config.Source]:
    """The folder itself where its name says so and WFDB headers are in it."""
    name = storage.filesystem(folder)[1].rpartition("/")[2]
    if not _NAME.search(name) or all(map(is_hidden, storage.list_files(folder, ".hea", recursive=False))):
        return []
    return [config.Source(kind="code15", uri=folder)]


def open_folder(source: config.Source) -> Code15:
    """The records of a folder."""
    return Code15(source.dataset, source.uri, WfdbReader.of(source))


@dataclass(frozen=True)
class Code15:
    """The WFDB records that are there, at any depth, named by their exam id."""

    dataset: str
    uri: str
    reader: WfdbReader

    def index(self) -> list[Entry]:
        """Every header below the folder, with patient and codes of `exams.csv`.

        Raises:
            ConfigError: the table is broken or has no row for any record, or an exam is there twice.
        """
        exams = self._exams()
        entries = []
        for stem in RecordFiles.below(self.uri).stems:
            local = stem.rpartition("/")[2]
            entry = entry_of(self.dataset, f"{self.dataset}/{local}", storage.join(self.uri, stem))
            entry = replace(entry, split="test")
            if exam := exams.get(local):
                patient_id, codes = exam
                entry = replace(entry, patient_id=f"{self.dataset}/{patient_id}", split=None, codes=codes)
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

    def _exams(self) -> dict[str, tuple[str, tuple[str, ...]]]:
        """Patient and codes by exam id; empty without `exams.csv`."""
        where = storage.join(self.uri, TABLE)
        if not storage.exists(where):
            return {}
        keys = ("exam_id", "patient_id")
        table = tables.read(where, (*keys, *DIAGNOSES), keys=keys, within=self.uri)
        tables.check(where, table, "exam_id", ("patient_id",))
        exams, patients, *flags = (table[name].to_pylist() for name in table.column_names)
        codes = map(_diagnoses, zip(*flags, strict=True))
        return dict(zip(exams, zip(patients, codes, strict=True), strict=True))


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
