"""CODE-15% (Ribeiro et al. 2021): 400 Hz, 7 or 10 s, no reports; in WFDB form with `exams.csv` beside it.

The WFDB form is the one that the 2025 PhysioNet Challenge's `prepare_code15_data.py` writes: `#Patient ID`,
`#Age`, `#Sex` and `#Chagas label` in the headers. The original HDF5 files (`exams_part*.hdf5`) are not read:
convert them with that script, and copy the original `exams.csv` to the records.

Codes are the columns of `exams.csv` that are true (1dAVb, RBBB, LBBB, SB, ST, AF, normal_ecg), and `chagas`.
A record without a row there, or every record where the file is absent, has `chagas` alone; and because its
patient is known only when its header is read, it counts as test: no patient is in two splits.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from supreme import config, log, storage
from supreme.records import Entry, Record, in_order, tables
from supreme.records.wfdb_files import parse_age, parse_sex, read_record

LAYOUT = "CODE-15%: a folder named code15 (or CODE-15) with WFDB files and, for its labels, exams.csv"
TABLE = "exams.csv"
DIAGNOSES = ("1dAVb", "RBBB", "LBBB", "SB", "ST", "AF", "normal_ecg")
CHAGAS = "chagas"
_NAME = re.compile(r"code-?15", re.IGNORECASE)


def recognise(folder: str) -> list[config.Source]:
    name = storage.filesystem(folder)[1].rpartition("/")[2]
    found = _NAME.search(name) and storage.list_files(folder, ".hea", recursive=False)
    return [config.Source(kind="code15", uri=folder)] if found else []


def open_folder(source: config.Source) -> Code15:
    return Code15(source.dataset, source.uri)


@dataclass(frozen=True)
class Code15:
    """The WFDB records that are there, at any depth, named by their exam id."""

    dataset: str
    uri: str

    def index(self) -> list[Entry]:
        exams = self._exams()
        entries = []
        for name in storage.list_files(self.uri, ".hea"):
            stem = name.removesuffix(".hea")
            local = stem.rpartition("/")[2]
            record_id, uri = f"{self.dataset}/{local}", storage.join(self.uri, stem)
            entry = Entry(record_id, self.dataset, record_id, split="test", source_uri=uri)
            if exam := exams.get(local):
                patient_id, codes = exam
                entry = replace(entry, patient_id=f"{self.dataset}/{patient_id}", split=None, codes=codes)
            entries.append(entry)
        without = sum(entry.split == "test" for entry in entries)
        if without:
            remedy = f"they count as test, with no label but {CHAGAS}"
            log.get(__name__).info(f"{self.uri}: {without:,} records without a row in {TABLE}: {remedy}")
        return in_order(entries, self.uri)

    def read(self, entry: Entry) -> Record:
        """One record; age, sex, `chagas`, and a patient that is not known yet, come from the header.

        Raises:
            BadRecord: as `wfdb_files.read_record`.
        """
        record, comments = read_record(entry)
        known = replace(
            entry,
            age=parse_age(comments.get("age", "")),
            sex=parse_sex(comments.get("sex", "")),
            codes=(*entry.codes, *([CHAGAS] if _is_true(comments.get("chagas label")) else [])),
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
        table = tables.read(where, ("exam_id", "patient_id", *DIAGNOSES))
        tables.check(where, table, "exam_id", ("patient_id",))
        exams, patients, *flags = (table[name].to_pylist() for name in table.column_names)
        codes = (
            tuple(name for name, flag in zip(DIAGNOSES, row, strict=True) if _is_true(flag))
            for row in zip(*flags, strict=True)
        )
        return dict(zip(exams, zip(patients, codes, strict=True), strict=True))


def _is_true(flag: str | None) -> bool:
    return (flag or "").strip().casefold() in ("true", "1", "1.0")
