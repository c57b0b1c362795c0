"""Records to shard rows: read, prepare, describe; or refuse with a reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from supreme import records, storage
from supreme.ecg import BadRecord, to_microvolts
from supreme.preparation import check_record, resample_uv
from supreme.read_ahead import futures_ahead
from supreme.records import Entry, Record
from supreme.settings.data import MAX_SAMPLES, Shards, Source
from supreme.shards import fingerprint

#: Records fetched at a time from object storage: each takes two round trips.
READ_AHEAD = 16


@dataclass(frozen=True)
class Job:
    """What the parts of a shard build have in common."""

    source: Source
    shards: Shards
    seed: int
    folder: str
    whole: bool = False
    """Whether records keep the rate and length of their source, as evaluation needs them."""

    def open_source(self) -> records.RecordSource:
        return records.open_source(self.source, self.seed, self.shards.rate_hz)


class ShardRow(NamedTuple):
    """One row of a shard, before its row group is encoded."""

    signal_uv: np.ndarray
    """``(12, T)`` int16."""
    block_differences: np.ndarray
    """What its fingerprint is computed from."""
    metadata: dict[str, Any]
    """The other columns."""


def read_rows(
    job: Job, split: str, entries: list[Entry], rejected: dict[str, dict[str, str]]
) -> Iterator[ShardRow]:
    """Yield the rows of the usable records in order; the others go to ``rejected``, by record id.

    Raises:
        Unavailable: the storage does not answer, which says nothing about the record.
    """
    for entry, read in _reads(job, entries):
        try:
            row = _row(read(), split, job)
        except (storage.Unavailable, MemoryError):
            raise
        except BadRecord as error:
            rejected[entry.record_id] = _rejected_row(entry, error.reason, error.detail)
        except Exception as error:  # one record must never end the job
            rejected[entry.record_id] = _rejected_row(entry, "unreadable", f"{type(error).__name__}: {error}")
        else:
            yield row


def _reads(job: Job, entries: list[Entry]) -> Iterator[tuple[Entry, Callable[[], Record]]]:
    """Entries in order, each with a function that returns its record or raises."""
    source = job.open_source()
    if not job.source.uri.startswith("s3://"):
        yield from ((entry, partial(source.read, entry)) for entry in entries)
        return
    ahead = futures_ahead(source.read, entries, threads=READ_AHEAD, depth=READ_AHEAD)
    yield from ((entry, future.result) for entry, future in zip(entries, ahead, strict=True))


def _row(record: Record, split: str, job: Job) -> ShardRow:
    shards, entry = job.shards, record.entry
    duration_s = MAX_SAMPLES / record.rate_hz if job.whole else shards.duration_s
    checked = check_record(record, derive_limb_leads=shards.derive_limb_leads, duration_s=duration_s)
    if job.whole:
        signal_uv = to_microvolts(checked.signal)
        n_valid, rate_hz, short = signal_uv.shape[1], checked.rate_hz, False
    else:
        signal_uv, n_valid = resample_uv(checked.signal, checked.rate_hz, shards.rate_hz, shards.samples)
        rate_hz, short = shards.rate_hz, n_valid < shards.samples
    metadata = {
        "record_id": entry.record_id,
        "dataset": entry.dataset,
        "patient_id": entry.patient_id,
        "split": split,
        "fold": entry.fold,
        "n_valid": n_valid,
        "rate_hz": round(rate_hz),
        "source_rate_hz": checked.rate_hz,
        "report": entry.report,
        "codes": list(entry.codes),
        "age": entry.age,
        "sex": entry.sex,
        "quality": [*checked.flags, "short"] if short else checked.flags,
        "source_uri": _relative(entry.source_uri, job.source.uri),
    }
    return ShardRow(signal_uv, fingerprint.block_differences(signal_uv, rate_hz), metadata)


def _relative(source_uri: str, folder: str) -> str:
    """Where a record lies in its data set: shards of a copy of it elsewhere are the same bytes."""
    base, mark, query = folder.partition("?") if folder.startswith("s3://") else (folder, "", "")
    return source_uri.removesuffix(mark + query).removeprefix(base.rstrip("/") + "/")


def _rejected_row(entry: Entry, reason: str, detail: str) -> dict[str, str]:
    return {
        "record_id": entry.record_id,
        "dataset": entry.dataset,
        "reason": reason,
        "detail": detail[:500],
        "source_uri": entry.source_uri,
    }
