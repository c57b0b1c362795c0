"""WFDB records (header + signal files), read with wfdb after the header has been judged safe.

A header is input from strangers: it may not name a file outside its own folder nor ask for absurd sizes, and
what it leaves open (rate, gain) is refused instead of guessed. wfdb sees a cleaned copy of the header beside
links to (or, from object storage, copies of) the signal files.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import wfdb
from pyarrow import fs

from supreme import storage
from supreme.ecg import BadRecord
from supreme.records import Entry, Record

MAX_SIGNALS = 64
MAX_VALUES = 50_000_000
_MAX_HEADER_BYTES = 1_000_000
_MAX_SKEW = 10_000
_MILLIVOLTS_PER_UNIT = {"mv": 1.0, "uv": 1e-3, "µv": 1e-3, "μv": 1e-3, "v": 1e3, "nv": 1e-6}

_FILE_NAME = re.compile(r"[\w-]+(\.[\w-]+)?", re.ASCII)
_FORMAT = re.compile(r"(?P<fmt>\d+)(x(?P<frame>\d+))?(:(?P<skew>\d+))?(\+(?P<offset>\d+))?")
_GAIN = re.compile(r"(?P<gain>-?[\d.]+([eE][+-]?\d+)?)(\((?P<baseline>-?\d+)\))?(/(?P<unit>\S+))?")


@dataclass(frozen=True)
class _Header:
    """A header that passed the checks."""

    text: str
    """What is handed to wfdb: record named `record`, every unit called mV."""
    rate_hz: float
    files: tuple[str, ...]
    scales: tuple[float, ...]
    """Millivolts per header unit, by signal."""
    comments: tuple[str, ...]


def read_record(entry: Entry) -> tuple[Record, dict[str, str]]:
    """Read the record at ``entry.source_uri`` (without extension) and its `#Key: value` comments.

    Raises:
        BadRecord: `missing_file`, `empty_file`, `unsafe_header`, `unknown_rate`, `unknown_gain`,
            `unknown_unit` or `unreadable`.
    """
    folder, _, name = _path(entry.source_uri).rpartition("/")
    system = storage.filesystem(entry.source_uri)[0]
    header = _parse(_checked_bytes(system, f"{folder}/{name}.hea"))
    with tempfile.TemporaryDirectory(prefix="supreme-wfdb-") as place:
        for file in header.files:
            _bring(system, f"{folder}/{file}", os.path.join(place, file))
        with open(os.path.join(place, "record.hea"), "w", encoding="ascii", errors="ignore") as stream:
            stream.write(header.text)
        try:
            read = wfdb.rdrecord(os.path.join(place, "record"), physical=True)
        except Exception as error:
            raise BadRecord("unreadable", f"{type(error).__name__}: {error}") from error
    if read.p_signal is None or len(read.sig_name or ()) != len(header.scales):
        raise BadRecord("unreadable", "wfdb found another number of signals than the header names")
    signal_mv = read.p_signal.T * np.asarray(header.scales)[:, None]
    leads = tuple(lead or "" for lead in read.sig_name)
    comments = dict(line.split(":", 1) for line in header.comments if ":" in line)
    plain = {key.strip().casefold(): value.strip() for key, value in comments.items()}
    return Record(entry, signal_mv, leads, header.rate_hz), plain


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


def _path(uri: str) -> str:
    return storage.filesystem(uri)[1]


def _checked_bytes(system: fs.FileSystem, path: str) -> bytes:
    if _size(system, path) > _MAX_HEADER_BYTES:
        raise BadRecord("unsafe_header", f"{os.path.basename(path)} is larger than {_MAX_HEADER_BYTES} bytes")
    return _read(system, path)


def _size(system: fs.FileSystem, path: str) -> int:
    """The size of a file that exists and is not empty."""
    info = system.get_file_info(path)
    if info.type != fs.FileType.File:
        raise BadRecord("missing_file", os.path.basename(path))
    if not info.size:
        raise BadRecord("empty_file", os.path.basename(path))
    return int(info.size)


def _read(system: fs.FileSystem, path: str) -> bytes:
    try:
        with system.open_input_stream(path) as stream:
            return bytes(stream.read())
    except OSError as error:
        raise BadRecord("unreadable", str(error)) from error


def _bring(system: fs.FileSystem, path: str, target: str) -> None:
    if _size(system, path) > 8 * MAX_VALUES:
        raise BadRecord("unsafe_header", f"{os.path.basename(path)} is too large for one ECG")
    if isinstance(system, fs.LocalFileSystem):
        os.symlink(path, target)
        return
    with open(target, "wb") as stream:
        stream.write(_read(system, path))


def _parse(content: bytes) -> _Header:
    lines = [line.strip() for line in content.decode("utf-8", "replace").splitlines()]
    comments = tuple(line.lstrip("# \t") for line in lines if line.startswith("#"))
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines:
        raise BadRecord("unreadable", "the header has no record line")
    record = lines[0].split()
    n_signals = _integer(record[1] if len(record) > 1 else "", "number of signals")
    if not 0 < n_signals <= MAX_SIGNALS:
        raise BadRecord("unsafe_header", f"{n_signals} signals; 1 to {MAX_SIGNALS} are allowed")
    if "/" in record[0]:
        raise BadRecord("unreadable", "records of several segments are not supported")
    if len(lines) - 1 != n_signals:
        raise BadRecord("unreadable", f"{n_signals} signals announced, {len(lines) - 1} described")
    rate_hz = _rate(record[2] if len(record) > 2 else "")
    samples = _integer(record[3], "number of samples") if len(record) > 3 else 0
    parsed = [_signal_line(line) for line in lines[1:]]
    values = max(samples, 1) * sum(frame for _, frame, _, _ in parsed)
    if values > MAX_VALUES:
        raise BadRecord("unsafe_header", f"{values:,} values; at most {MAX_VALUES:,} are allowed")
    # The name is ours: some Georgia headers call themselves "E00271.mat", which wfdb refuses.
    first = " ".join(["record", str(n_signals), f"{rate_hz:.10g}", *([str(samples)] if samples else [])])
    return _Header(
        text="\n".join([first, *(line for _, _, _, line in parsed)]) + "\n",
        rate_hz=rate_hz,
        files=tuple(dict.fromkeys(file for file, _, _, _ in parsed)),
        scales=tuple(scale for _, _, scale, _ in parsed),
        comments=comments,
    )


def _signal_line(line: str) -> tuple[str, int, float, str]:
    """File name, samples a frame, millivolts a unit, and the line as wfdb gets it."""
    file, form, gain_text, *rest = [*line.split(None, 3), "", "", ""][:4]
    if not _FILE_NAME.fullmatch(file) or file == "record.hea":
        raise BadRecord("unsafe_header", f"signal file {file!r}: only a plain name beside the header is read")
    form_match, gain = _FORMAT.fullmatch(form), _GAIN.fullmatch(gain_text)
    if form_match is None:
        raise BadRecord("unreadable", f"signal format {form!r} in the header")
    frame, skew = int(form_match["frame"] or 1), int(form_match["skew"] or 0)
    if frame == 0 or skew > _MAX_SKEW:
        raise BadRecord("unsafe_header", f"signal format {form!r}: frame or skew is absurd")
    if gain is None or _number(gain["gain"]) == 0:
        raise BadRecord("unknown_gain", f"gain {gain_text!r}: without one there are no millivolts")
    unit = gain["unit"] or "mV"
    if unit.casefold() not in _MILLIVOLTS_PER_UNIT:
        raise BadRecord("unknown_unit", f"{unit!r} is not a voltage")
    baseline = f"({gain['baseline']})" if gain["baseline"] else ""
    cleaned = f"{file} {form} {gain['gain']}{baseline}/mV {rest[0]}".rstrip()
    return file, frame, _MILLIVOLTS_PER_UNIT[unit.casefold()], cleaned


def _rate(text: str) -> float:
    rate_hz = _number(re.split(r"[/(]", text)[0])
    if not 0 < rate_hz < float("inf"):
        raise BadRecord("unknown_rate", f"sampling rate {text!r} in the header")
    return rate_hz


def _integer(text: str, what: str) -> int:
    if not text.isdecimal() or len(text) > 18:
        raise BadRecord("unsafe_header" if text.isdecimal() else "unreadable", f"{what} {text[:40]!r}")
    return int(text)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
