"""The ECG files of a folder, of any known format and mixed: which records there are, and how one is read."""

from __future__ import annotations

import hashlib
import hmac
import os
from dataclasses import dataclass, replace
from functools import lru_cache

from supreme import config, log, storage
from supreme.ecg import BadRecord
from supreme.records import Entry, Record, tables
from supreme.records.cells import parse_age, parse_sex
from supreme.records.formats import arrays, read_ecg
from supreme.records.formats.ecg_file import MAX_BYTES, EcgFile
from supreme.records.record_files import HEADER, RecordFiles, list_visible, printable
from supreme.records.wfdb_files import WfdbReader
from supreme.settings.evaluation import Predict

#: Environment variable: what patient ids of files are hashed with; without it they are not used.
SALT = "SUPREME_PATIENT_SALT"
EXAMS = "exams.csv"
#: Files that may hold an ECG beside a WFDB record of the same name; all others belong to that record.
_OWN_FORMAT = (".xml", ".dcm", ".dicom", ".scp", ".edf", *arrays.ENDINGS)


@dataclass(frozen=True)
class EcgReader:
    """Reads the ECG files of one data set.

    Args:
        wfdb: reads WFDB records, and the bytes of every other file.
        unit: of the samples in arrays that name none.
    """

    wfdb: WfdbReader
    unit: str = ""

    @classmethod
    def of(cls, settings: config.Source | Predict) -> EcgReader:
        """For the records of a source, or those to predict on, with their settings."""
        return cls(WfdbReader.of(settings), settings.unit)

    def read(self, entry: Entry) -> Record:
        """One record; report, age and sex that its entry does not have come from the file.

        Raises:
            BadRecord: the entry's own refusal, and as `WfdbReader.read` and `formats.read_ecg`.
            storage.Unavailable: the storage does not answer.
        """
        entry.raise_refusal()
        if stem := _wfdb_stem(entry.source_uri):
            record, comments = self.wfdb.read(replace(entry, source_uri=stem))
            age = parse_age(comments.get("age", "")) if entry.age is None else entry.age
            sex = entry.sex or parse_sex(comments.get("sex", ""))
            return replace(record, entry=replace(record.entry, age=age, sex=sex))
        ecg = self.read_file(entry.source_uri)
        overrides = dict(self.wfdb.overrides.leads)
        complete = replace(
            entry,
            report=entry.report or ecg.report,
            age=ecg.age if entry.age is None else entry.age,
            sex=entry.sex or ecg.sex,
        )
        return Record(
            complete,
            ecg.signal_mv,
            tuple(overrides.get(name, name) for name in ecg.leads),
            ecg.rate_hz,
            stores_eight_leads=ecg.stores_eight_leads,
        )

    def read_file(self, uri: str) -> EcgFile:
        """The ECG in a file, or in one record of an array (``ecgs.hdf5/12``).

        Raises:
            BadRecord: as `formats.read_ecg`.
        """
        record = arrays.split_record(uri)
        if record is None and arrays.is_array(uri.partition("?")[0]):
            record = (uri, 0)
        if record is None:
            return read_ecg(self.wfdb.bytes_of(uri, MAX_BYTES))
        file, row = record
        with arrays.as_refusal():
            return arrays.open_array(file).read(row, self.unit)

    def patient_of(self, entry: Entry, salt: str) -> str:
        """The hashed patient id of a file; empty where it has none, or cannot be read."""
        if entry.refused or _wfdb_stem(entry.source_uri) or arrays.split_record(entry.source_uri):
            return ""
        return _patient_of_file(self, entry.source_uri, salt)


@lru_cache(maxsize=1_000_000)
def _patient_of_file(reader: EcgReader, uri: str, salt: str) -> str:
    """Cached, since a job lists a source for each form of its shards."""
    try:
        return hashed(reader.read_file(uri).patient_id, salt)
    except BadRecord:
        return ""  # and is refused with its reason when it is read again


def hashed(patient_id: str, salt: str) -> str:
    """A patient id that cannot be turned back without the salt; empty for an empty one."""
    if not patient_id:
        return ""
    return hmac.new(salt.encode(), patient_id.encode(), hashlib.sha256).hexdigest()[:20]


def salt_of_environment() -> str:
    """What patient ids are hashed with; empty: they are not used."""
    return os.environ.get(SALT, "")


def list_records(uri: str, unit: str) -> RecordFiles:
    """Every file below a folder that may be an ECG, and every record of its arrays.

    A WFDB record is its header's path without extension, with all its files; any other record is its file's
    path, and one of an array is that path with its id behind it.

    Args:
        unit: of the samples in arrays that name none; a warning says what is taken where it is empty.
    """
    names = list_visible(uri)
    stems = {name.removesuffix(HEADER) for name in names if name.endswith(HEADER)}
    known = set(names)
    places: dict[str, str] = {stem: f"{stem}{HEADER}" for stem in stems}
    without_unit: list[str] = []
    for name in names:
        stem, dot, ending = name.rpartition(".")
        ending = (dot + ending).casefold()
        if ending == HEADER or (stem in stems and ending not in _OWN_FORMAT):
            continue
        if ending in arrays.ENDINGS:
            places |= _records_of(uri, name, without_unit)
        elif not (ending == ".toml" and any(f"{stem}{other}" in known for other in arrays.ENDINGS)):
            places[name] = name
    if without_unit and not unit:
        log.get(__name__).warning(
            f"{uri}: {len(without_unit)} files do not say the unit of their samples "
            f"({printable(without_unit[0])}): taken as mV; set unit=mV, or what their authors document"
        )
    return RecordFiles(
        tuple(sorted(places)), {name: place for name, place in places.items() if place != name}
    )


def _records_of(uri: str, name: str, without_unit: list[str]) -> dict[str, str]:
    """Path and place of the records of an array; the file alone where it cannot be read."""
    try:
        array = arrays.open_array(storage.join(uri, name))
        rows = array.names()
    except BadRecord:
        return {name: name}  # refused with its reason when it is read
    if not array.layout.unit:
        without_unit.append(name)
    if not array.array.ids and len(rows) > 1 and len(exams := _exam_ids(uri, name)) == len(rows):
        rows = [(row, exam) for (row, _), exam in zip(rows, exams, strict=True)]
    return {f"{name}/{local}" if local else name: f"{name}/{row}" for row, local in rows}


def _exam_ids(uri: str, name: str) -> list[str]:
    """The exams of the table beside an HDF5 file without ids, in order, as SaMi-Trop has them."""
    where = storage.join(uri, *name.split("/")[:-1], EXAMS)
    if not storage.exists(where):
        return []
    try:
        exams: list[str] = tables.read(where, ("exam_id",), keys=("exam_id",), within=uri)[
            "exam_id"
        ].to_pylist()
    except config.ConfigError:
        return []  # a table of something else
    return exams if len(set(exams)) == len(exams) and None not in exams else []


def _wfdb_stem(uri: str) -> str:
    """The URI of a WFDB record without extension; empty for other files."""
    path, mark, options = uri.partition("?") if uri.startswith("s3://") else (uri, "", "")
    return path.removesuffix(HEADER) + mark + options if path.endswith(HEADER) else ""
