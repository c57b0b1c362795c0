"""A hospital's own archive: ECG files of any known format at any depth of a folder, and perhaps a table.

Formats are those of `records/formats` and WFDB. Without `table=...` every file is a record; with it the rows
are, as in `wfdb_folder`. What the table does not say of report, age and sex comes from the file. Patient ids
of files are used only as hashes, with the salt in the environment; names are not read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from supreme import config, log, storage
from supreme.config import ConfigError
from supreme.read_ahead import futures_ahead
from supreme.records import Entry, Record, in_order
from supreme.records.ecg_files import SALT, EcgReader, list_records, salt_of_environment
from supreme.records.record_files import RecordFiles
from supreme.records.wfdb_files import WfdbReader, entry_of
from supreme.records.wfdb_folder import WfdbFolder

#: What stands beside ECGs and is none.
_DOCUMENTS = (
    *(".csv", ".tsv", ".parquet", ".xls", ".xlsx", ".md", ".rst", ".txt", ".log", ".toml", ".json"),
    *(
        ".yaml",
        ".yml",
        ".html",
        ".htm",
        ".sha256",
        ".md5",
        ".dtd",
        ".xsd",
        ".xsl",
        "thumbs.db",
        "desktop.ini",
    ),
)
_THREADS = 16


def open_folder(source: config.Source) -> EcgFolder:
    """The ECG files of a folder, and its table where there is one."""
    return EcgFolder(source.dataset, source.uri, WfdbReader.of(source), source.table, source.unit)


@dataclass(frozen=True)
class EcgFolder(WfdbFolder):
    """The ECG files of a folder, or the rows of its table."""

    unit: str = ""
    """Of the samples in arrays that name none."""

    def index(self) -> list[Entry]:
        """Every record, sorted by id; reads the files where their patients are hashed.

        Raises:
            ConfigError: the table is broken; the folder holds no file.
        """
        entries = super().index() if self.table else self._every_file()
        return in_order(self._with_patients(entries), self.uri)

    def read(self, entry: Entry) -> Record:
        """One record.

        Raises:
            BadRecord: `missing_file`, and as `EcgReader.read`.
        """
        return EcgReader(self.reader, self.unit).read(entry)

    def record_files(self, names: list[str]) -> RecordFiles:
        """Every ECG file and every record of an array."""
        files = list_records(self.uri, self.unit)
        ecgs = [stem for stem in files.stems if not stem.casefold().endswith(_DOCUMENTS)]
        if others := len(files.stems) - len(ecgs):
            log.get(__name__).info(f"{self.uri}: {others:,} tables and texts are no ECGs and left out")
        return RecordFiles(tuple(ecgs), files.places)

    def _every_file(self) -> list[Entry]:
        files = self.record_files([])
        if not files.stems:
            raise ConfigError(f"source {self.dataset!r}: no ECG file in {self.uri} or below it")
        return [
            entry_of(self.dataset, f"{self.dataset}/{stem}", storage.join(self.uri, files.place(stem)))
            for stem in files.stems
        ]

    def _with_patients(self, entries: list[Entry]) -> Iterable[Entry]:
        """Entries with the hashed patient of their file, where the table does not name one."""
        unknown = [entry for entry in entries if entry.patient_id == entry.record_id]
        salt = salt_of_environment()
        if not unknown:
            return entries
        if not salt:
            log.get(__name__).warning(
                f"{self.uri}: {len(unknown):,} records count as a patient each: set the environment variable "
                f"{SALT} to hash the patient ids in their files, or name patients in table=..."
            )
            return entries
        reader = EcgReader(self.reader, self.unit)
        patients: dict[str, str] = {}
        threads = _THREADS if self.uri.startswith("s3://") else 1
        futures = futures_ahead(
            lambda entry: reader.patient_of(entry, salt), unknown, threads=threads, depth=threads
        )
        for entry, future in zip(unknown, futures, strict=True):
            patients[entry.record_id] = future.result()
        return [
            replace(entry, patient_id=f"{self.dataset}/{patients[entry.record_id]}")
            if patients.get(entry.record_id)
            else entry
            for entry in entries
        ]
