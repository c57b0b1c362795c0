"""WFDB records (header + signal files) from any storage, one request a file and no copy on disk."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace

from supreme import storage
from supreme.ecg import BadRecord
from supreme.records import Entry, Record, wfdb_header, wfdb_signal

#: Of all signal files of a record together.
_MAX_SIGNAL_BYTES = 4 * wfdb_header.MAX_VALUES


def read_record(entry: Entry) -> tuple[Record, dict[str, str]]:
    """Read the record at ``entry.source_uri`` (without extension) and its `#Key: value` comments.

    Raises:
        BadRecord: as :func:`file_bytes`, :func:`wfdb_header.parse` and :func:`wfdb_signal.signal`.
        storage.Unavailable: the storage does not answer.
    """
    # The options of an object's URI come last: s3://bucket/folder/record?region=...
    is_object = entry.source_uri.startswith("s3://")
    stem, mark, options = entry.source_uri.partition("?") if is_object else (entry.source_uri, "", "")
    folder = stem[: stem.rfind("/") + 1]
    header = wfdb_header.parse(file_bytes(f"{stem}.hea{mark}{options}", wfdb_header.MAX_BYTES))
    contents: dict[str, bytes] = {}
    for file in dict.fromkeys(header.files):
        allowed = _MAX_SIGNAL_BYTES - sum(map(len, contents.values()))
        contents[file] = file_bytes(f"{folder}{file}{mark}{options}", allowed)
    signal, rate_hz = wfdb_signal.signal(header, contents)
    return Record(entry, signal, header.names, rate_hz), header.comments


def file_bytes(uri: str, max_bytes: int) -> bytes:
    """A file that belongs to a record.

    Raises:
        BadRecord: `missing_file`, `empty_file`, `too_large` or `unreadable`.
        storage.Unavailable: the storage does not answer.
    """
    try:
        content = storage.read_bytes(uri, max_bytes)
    except storage.Unavailable:
        raise
    except storage.NotFound as error:
        raise BadRecord("missing_file", str(error)) from error
    except storage.TooLarge as error:
        raise BadRecord("too_large", f"{error} for one ECG") from error
    except storage.StorageError as error:
        raise BadRecord("unreadable", str(error)) from error
    if not content:
        raise BadRecord("empty_file", uri)
    return content


@dataclass(frozen=True)
class LabelledFolder:
    """WFDB records whose headers carry `#Age`, `#Sex` and SNOMED CT codes in `#Dx`, at any depth of a folder.

    No patient is named in such headers: every record counts as a patient.
    """

    dataset: str
    uri: str
    below: str = ""

    def index(self) -> list[Entry]:
        place = storage.join(self.uri, self.below) if self.below else self.uri
        headers = storage.list_files(place, ".hea")
        stems = [name.removesuffix(".hea") for name in headers]
        seen = Counter(stem.rpartition("/")[2] for stem in stems)
        entries = []
        for stem in stems:
            local = stem.rpartition("/")[2]
            record_id = f"{self.dataset}/{local if seen[local] == 1 else stem}"
            uri = storage.join(place, stem)
            entries.append(Entry(record_id, self.dataset, patient_id=record_id, source_uri=uri))
        return sorted(entries, key=lambda entry: entry.record_id)

    def read(self, entry: Entry) -> Record:
        """One record; its codes, age and sex come from the header.

        Raises:
            BadRecord: as :func:`read_record`, and `unlabelled` without a code in `#Dx`.
        """
        record, comments = read_record(entry)
        codes = tuple(re.findall(r"\d+", comments.get("dx", "")))
        if not codes:
            raise BadRecord("unlabelled", "no code in the #Dx line of the header")
        age, sex = parse_age(comments.get("age", "")), parse_sex(comments.get("sex", ""))
        return replace(record, entry=replace(entry, codes=codes, age=age, sex=sex))


def inside(uri: str, name: str) -> str:
    """The URI of a record that a data set's table names relative to its folder.

    Raises:
        BadRecord: `unsafe_path` when the name leads out of the folder.
    """
    if name.startswith("/") or "\\" in name or ".." in name.split("/") or "?" in name:
        raise BadRecord("unsafe_path", f"{name!r} leads out of the data set's folder")
    return storage.join(uri, name)


def parse_age(text: str) -> float | None:
    """Years, or None for anything that is not a plausible age; PTB-XL's 300 (older than 89) becomes 90."""
    try:
        age = float(text)
    except ValueError:
        return None
    return 90.0 if age == 300 else age if 0 <= age <= 120 else None


def parse_sex(text: str) -> str:
    initial = text.strip()[:1].upper()
    return "F" if initial == "F" else "M" if initial == "M" else ""
