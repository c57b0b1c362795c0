"""WFDB records (header + signal files) from any storage, one request a file and no copy on disk."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, replace

from supreme import config, storage
from supreme.ecg import BadRecord
from supreme.records import Entry, Record, record_files, wfdb_header, wfdb_signal
from supreme.records.cells import parse_age, parse_sex
from supreme.records.wfdb_layout import TRUST_HEADER, HeaderOverrides
from supreme.settings.evaluation import Predict

#: Of all signal files of a record together.
_MAX_SIGNAL_BYTES = 4 * wfdb_header.MAX_VALUES


@dataclass(frozen=True)
class WfdbReader:
    """Reads the WFDB records of one data set.

    Args:
        folder: a link to a file outside of it is refused; empty: any file is read.
        overrides: what the user knows better than the headers.
    """

    folder: str = ""
    overrides: HeaderOverrides = TRUST_HEADER

    @classmethod
    def of(cls, settings: config.Source | Predict) -> WfdbReader:
        """For the records of a source, or those to predict on, with their settings."""
        leads = tuple(sorted(settings.leads.items()))
        return cls(settings.uri, HeaderOverrides(settings.gain_per_mv, leads))

    def read(self, entry: Entry) -> tuple[Record, dict[str, str]]:
        """The record at ``entry.source_uri`` (without extension) and its `#Key: value` comments.

        Raises:
            BadRecord: the entry's own refusal, and as :meth:`bytes_of`, :func:`wfdb_header.parse` and
                :func:`wfdb_signal.signal`.
            storage.Unavailable: the storage does not answer.
        """
        entry.raise_refusal()
        # The options of an object's URI come last: s3://bucket/folder/record?region=...
        is_object = entry.source_uri.startswith("s3://")
        stem, mark, options = entry.source_uri.partition("?") if is_object else (entry.source_uri, "", "")
        folder = stem[: stem.rfind("/") + 1]
        content = self.bytes_of(f"{stem}.hea{mark}{options}", wfdb_header.MAX_BYTES)
        header = wfdb_header.parse(content, self.overrides)
        contents: dict[str, bytes] = {}
        for file in dict.fromkeys(header.files):
            allowed = _MAX_SIGNAL_BYTES - sum(map(len, contents.values()))
            contents[file] = self.bytes_of(f"{folder}{file}{mark}{options}", allowed)
        signal, rate_hz = wfdb_signal.signal(header, contents)
        return Record(entry, signal, header.names, rate_hz, header.layout.gains), header.comments

    def bytes_of(self, uri: str, max_bytes: int) -> bytes:
        """A file that belongs to a record; a name in either Unicode form finds the other.

        Raises:
            BadRecord: `missing_file`, `empty_file`, `too_large`, `not_a_file`, `outside_folder` or
                `unreadable`.
            storage.Unavailable: the storage does not answer.
        """
        try:
            content = self._bytes_of_either_form(uri, max_bytes)
        except storage.Unavailable:
            raise
        except storage.NotFound as error:
            raise BadRecord("missing_file", str(error)) from error
        except storage.TooLarge as error:
            raise BadRecord("too_large", f"{error} for one ECG") from error
        except storage.NotRegular as error:
            raise BadRecord("not_a_file", str(error)) from error
        except storage.OutsideFolder as error:
            raise BadRecord("outside_folder", str(error)) from error
        except storage.StorageError as error:
            raise BadRecord("unreadable", str(error)) from error
        if not content:
            raise BadRecord("empty_file", uri)
        return content

    def _bytes_of_either_form(self, uri: str, max_bytes: int) -> bytes:
        within = self.folder or None
        try:
            return storage.read_bytes(uri, max_bytes, within=within)
        except storage.NotFound:
            forms = {unicodedata.normalize(form, uri) for form in ("NFC", "NFD")} - {uri}
            for other in sorted(forms):
                if storage.exists(other):
                    return storage.read_bytes(other, max_bytes, within=within)
            raise


@dataclass(frozen=True)
class LabelledFolder:
    """WFDB records whose headers carry `#Age`, `#Sex` and SNOMED CT codes in `#Dx`, at any depth of a folder.

    No patient is named in such headers: every record counts as a patient.
    """

    dataset: str
    uri: str
    reader: WfdbReader
    below: str = ""

    def index(self) -> list[Entry]:
        """Every header below the folder, sorted by record id."""
        place = storage.join(self.uri, self.below) if self.below else self.uri
        stems = record_files.RecordFiles.below(place).stems
        names = Counter(stem.rpartition("/")[2] for stem in stems)
        entries = []
        for stem in stems:
            local = stem.rpartition("/")[2]
            record_id = f"{self.dataset}/{local if names[local] == 1 else stem}"
            entries.append(entry_of(self.dataset, record_id, storage.join(place, stem)))
        return sorted(entries, key=lambda entry: entry.record_id)

    def read(self, entry: Entry) -> Record:
        """One record; its codes, age and sex come from the header.

        Raises:
            BadRecord: as :meth:`WfdbReader.read`, and `unlabelled` without a code in `#Dx`.
        """
        record, comments = self.reader.read(entry)
        codes = tuple(dict.fromkeys(re.findall(r"\d+", comments.get("dx", ""))))
        if not codes:
            raise BadRecord("unlabelled", "no code in the #Dx line of the header")
        age, sex = parse_age(comments.get("age", "")), parse_sex(comments.get("sex", ""))
        return replace(record, entry=replace(entry, codes=codes, age=age, sex=sex))


def entry_of(dataset: str, record_id: str, source_uri: str) -> Entry:
    """The entry of a file whose record counts as a patient; refused where its name is not UTF-8."""
    refused = record_files.refusal(source_uri)
    record_id, source_uri = map(record_files.printable, (record_id, source_uri))
    return Entry(record_id, dataset, record_id, source_uri=source_uri, refused=refused)


def inside(uri: str, name: str) -> str:
    """The URI of a record that a data set's table names relative to its folder.

    Raises:
        BadRecord: `unsafe_path` when the name leads out of the folder.
    """
    if name.startswith("/") or "\\" in name or ".." in name.split("/") or "?" in name:
        raise BadRecord("unsafe_path", f"{name!r} leads out of the data set's folder")
    return storage.join(uri, name)
