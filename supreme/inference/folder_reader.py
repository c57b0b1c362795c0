"""Records of a folder of ECG files for the scoring engine."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from supreme import config, ecg, storage
from supreme.inference.engine import BATCH_SIZE, Signal, Unit
from supreme.preparation import CheckedEcg, check_record
from supreme.records import Entry
from supreme.records.ecg_files import EcgReader, list_records
from supreme.records.record_files import HEADER
from supreme.records.wfdb_files import WfdbReader, entry_of
from supreme.settings.evaluation import Predict

#: What is known of a record beside its scores; `reason` is empty where it was scored.
RECORD = pa.schema(
    [
        ("record_id", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("quality", pa.list_(pa.string())),
        ("source_uri", pa.string()),
    ]
)


@dataclass(frozen=True)
class FolderReader:
    """Reads, orders and judges the ECG files below a folder."""

    files: EcgReader
    entries: tuple[Entry, ...]
    derive_limb_leads: bool = False

    @classmethod
    def of(cls, settings: Predict, *, derive_limb_leads: bool = False) -> FolderReader:
        """Every file at any depth; the record id is its path below the folder.

        Raises:
            ConfigError: not a folder, or no file in it.
        """
        folder = settings.uri
        if not folder or not storage.is_folder(folder):
            raise config.ConfigError(f"predict.uri={folder!r} is no folder: give the folder of the ECG files")
        files = list_records(folder, settings.unit)
        entries = tuple(entry_of("", stem, storage.join(folder, files.place(stem))) for stem in files.stems)
        if not entries:
            raise config.ConfigError(f"predict.uri={folder}: no file in it or below it")
        return cls(EcgReader.of(settings), entries, derive_limb_leads)

    @property
    def units(self) -> list[Unit]:
        """A batch of records each."""
        counts = [
            len(self.entries[start : start + BATCH_SIZE]) for start in range(0, len(self.entries), BATCH_SIZE)
        ]
        return [Unit(f"{number:06d}", count) for number, count in enumerate(counts)]

    def read(self, index: int) -> tuple[pa.Table, list[Signal | None]]:
        """The records of one unit, in int16 microvolts as shards hold them."""
        rows: list[dict[str, object]] = []
        signals: list[Signal | None] = []
        for entry in self.entries[index * BATCH_SIZE : (index + 1) * BATCH_SIZE]:
            row: dict[str, object] = {
                "record_id": entry.record_id,
                "source_uri": storage.with_ending(entry.source_uri, HEADER, ""),
            }
            signal: Signal | None = None
            try:
                checked = check_record(self.files.read(entry), derive_limb_leads=self.derive_limb_leads)
            except ecg.BadRecord as error:
                row |= {"reason": error.reason, "detail": error.detail, "quality": []}
            else:
                signal = Signal(ecg.to_microvolts(checked.signal), checked.rate_hz)
                row |= {"reason": "", "detail": "", "quality": checked.flags}
            rows.append(row)
            signals.append(signal)
        return pa.Table.from_pylist(rows, RECORD), signals


def read_ecg_file(uri: str) -> CheckedEcg:
    """The ECG in one file, its leads in order and judged.

    Raises:
        ValueError: it cannot be used; the message names the file and the reason.
    """
    try:
        return check_record(EcgReader(WfdbReader()).read(entry_of("", uri, uri)))
    except ecg.BadRecord as error:
        raise ValueError(f"{uri}: {error}") from error
