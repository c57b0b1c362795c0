"""The files of an export: parts while it is written, then one memory map, the table of its rows, a page."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.lib import format as npy_format

from supreme import log, manifest, storage
from supreme.inference.convention_apply import apply
from supreme.inference.engine import RecordReader
from supreme.inference.foreign_convention import ForeignConvention
from supreme.manifest import FileEntry

SIGNALS, RECORDS, CONVENTION, README = "signals.npy", "records.csv", "convention.toml", "README.md"
#: Of `RECORDS`.
COLUMNS = ("record_id", "split", "n_valid", "notes")
#: Units of the reader in a part: some thousand records.
_PART_UNITS = 64
_COPY_BYTES = 1 << 24

logger = log.get("export")


@dataclass(frozen=True)
class ExportJob:
    """A data set to export."""

    dataset: str
    folder: str
    reader: RecordReader
    splits: dict[str, str]
    """Record id -> split."""
    convention: ForeignConvention
    convention_toml: bytes
    request: manifest.Request

    @property
    def records(self) -> int:
        return sum(unit.records for unit in self.reader.units)

    @property
    def bytes(self) -> int:
        """Of the signals; while they are written, twice as many."""
        return self.records * self.row_bytes

    @property
    def row_bytes(self) -> int:
        return int(np.prod(self.convention.shape)) * np.dtype(np.float32).itemsize


def write_parts(job: ExportJob) -> list[tuple[str, ...]]:
    """Write the parts that are not there yet; the rows of `RECORDS`, without the header."""
    names = _names(job)
    there = set(storage.sizes(storage.join(job.folder, "parts"), recursive=False))
    units, done = job.reader.units, 0
    todo = []
    for number, name in enumerate(names):
        indices = range(number * _PART_UNITS, min((number + 1) * _PART_UNITS, len(units)))
        if f"{name}.csv" in there:
            done += sum(units[index].records for index in indices)
        else:
            todo.append((name, indices))
    if done and todo:
        logger.info(f"{job.dataset}: continuing, {done:,} of {job.records:,} records are done")
    progress = log.Progress(logger, f"{job.dataset}: records", job.records, done=done)
    for name, indices in todo:
        rows: list[tuple[str, ...]] = []
        with storage.writing(_part(job, name, "rows"), len(indices) * job.row_bytes) as stream:
            for index in indices:
                for row, values in _prepared(job, index):
                    stream.write(values.tobytes())
                    rows.append(row)
                done += units[index].records
                progress.update(done)
        # Last: a part with its table is finished.
        storage.write_bytes(_part(job, name, "csv"), csv_bytes(rows))
    return [row for name in names for row in _read_rows(job, name)]


def _prepared(job: ExportJob, index: int) -> Iterator[tuple[tuple[str, ...], np.ndarray]]:
    """A row of the table and ``(leads, samples)`` for each record of a unit that was not refused."""
    table, signals = job.reader.read(index)
    for record, signal in zip(table.column("record_id").to_pylist(), signals, strict=True):
        if signal is not None:
            prepared = apply(job.convention, signal.values, signal.rate_hz)
            row = (record, job.splits.get(record, ""), str(prepared.n_valid), "; ".join(prepared.notes))
            yield row, prepared.values


def join_parts(job: ExportJob, records: int) -> FileEntry:
    """Make `SIGNALS` of all parts."""
    uri = storage.join(job.folder, SIGNALS)
    digest, size = hashlib.sha256(), 0
    head = io.BytesIO()
    shape = (records, *job.convention.shape)
    npy_format.write_array_header_1_0(head, {"descr": "<f4", "fortran_order": False, "shape": shape})
    with storage.writing(uri, records * job.row_bytes) as stream:
        for content in _contents(job, head.getvalue()):
            digest.update(content)
            size += len(content)
            stream.write(content)
    if size != len(head.getvalue()) + records * job.row_bytes:
        raise storage.StorageError(f"{uri}: a part is cut off: run jobs/export.py with --new")
    return FileEntry(sha256=digest.hexdigest(), bytes=size, rows=records)


def delete_parts(job: ExportJob) -> None:
    """Delete the parts, once they are in `SIGNALS`."""
    for name in _names(job):
        for ending in ("csv", "rows"):
            storage.delete_file(_part(job, name, ending))
    storage.delete_empty_folders(storage.join(job.folder, "parts"))


def _names(job: ExportJob) -> list[str]:
    return [f"{number:05d}" for number in range(-(-len(job.reader.units) // _PART_UNITS))]


def _contents(job: ExportJob, head: bytes) -> Iterator[bytes]:
    yield head
    for name in _names(job):
        with storage.open_file(_part(job, name, "rows")) as part:
            while content := part.read(_COPY_BYTES):
                yield content


def _read_rows(job: ExportJob, name: str) -> list[tuple[str, ...]]:
    text = storage.read_bytes(_part(job, name, "csv")).decode()
    return [tuple(row) for row in csv.reader(io.StringIO(text, newline=""))]


def csv_bytes(rows: list[tuple[str, ...]]) -> bytes:
    """A table as CSV."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _part(job: ExportJob, name: str, ending: str) -> str:
    return storage.join(job.folder, "parts", f"{name}.{ending}")


def readme(job: ExportJob, records: int) -> str:
    """How to read the export with numpy, and give embeddings back."""
    convention = job.convention
    shape = ", ".join(map(str, (records, *convention.shape)))
    return f"""# {job.dataset} for {convention.name}

`{SIGNALS}`: float32 ({shape}), leads {", ".join(convention.leads)}, {convention.rate_hz} Hz.
`{CONVENTION}` says what was done to the signals, `{RECORDS}` names them row by row.

```python
import csv, numpy as np
signals = np.load("{SIGNALS}", mmap_mode="r")
records = list(csv.DictReader(open("{RECORDS}", newline="")))  # record_id, split, n_valid, notes
embeddings = np.stack([your_model(ecg) for ecg in signals])
np.save("embeddings.npy", np.asarray(embeddings, np.float32))  # a row a record, in this order
```

Scores go into a CSV or Parquet file with the column `record_id` and one column a class.
"""
