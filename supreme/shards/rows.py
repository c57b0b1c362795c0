"""Records to shard rows: read, order leads, judge, resample."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, NamedTuple, TypeVar

import numpy as np

from supreme import quality, records, signal, storage
from supreme.ecg import BadRecord, order_leads, to_microvolts, whole_microvolts
from supreme.read_ahead import futures_ahead
from supreme.records import Entry, Record
from supreme.settings.data import Shards, Source
from supreme.shards import fingerprint

#: From object storage so many records are fetched at a time: each takes two round trips.
READ_AHEAD = 16


#: So many records take a step before they take the next one, and no more than a row group has.
TOGETHER = 16


_Before = TypeVar("_Before")


_After = TypeVar("_After")


@dataclass(frozen=True)
class Job:
    """What every part needs to know."""

    source: Source
    shards: Shards
    seed: int
    folder: str

    def open_source(self) -> records.Source:
        return records.open_source(self.source, self.seed, self.shards.rate_hz)


class _Ordered(NamedTuple):
    """The first seconds of a record, its twelve leads in order."""

    entry: Entry
    signal: np.ndarray
    rate_hz: float
    derived: bool
    """Whether limb leads were made of I and II."""
    has_wrong_gains: bool


class _Row(NamedTuple):
    """One row of a shard, before its row group is made."""

    signal_uv: np.ndarray
    changes: np.ndarray
    """Of which its fingerprint is made."""
    others: dict[str, Any]
    """The other columns."""


def _rows(job: Job, split: str, entries: list[Entry], rejected: dict[str, dict[str, str]]) -> Iterator[_Row]:
    """The rows of the usable records; the others go to ``rejected``, by record id.

    Each step is taken by some records after each other, so that its code stays in the processor's cache.
    """
    reads, together = _reads(job, entries), min(TOGETHER, job.shards.row_group_size)
    for _ in range(0, len(entries), together):
        ordered = _each(islice(reads, together), lambda read: _ordered(read(), job), rejected)
        judged = _each(ordered, lambda one: (one, quality.check(one.signal, one.rate_hz)), rejected)
        yield from (row for _, row in _each(judged, lambda one: _row(*one, split, job), rejected))


def _each(
    some: Iterable[tuple[Entry, _Before]],
    step: Callable[[_Before], _After],
    rejected: dict[str, dict[str, str]],
) -> list[tuple[Entry, _After]]:
    """What a step makes of each record; one that it refuses goes to ``rejected``."""
    made = []
    for entry, before in some:
        try:
            made.append((entry, step(before)))
        except (storage.Unavailable, MemoryError):
            raise  # says nothing about the record
        except BadRecord as error:
            rejected[entry.record_id] = _rejected_row(entry, error.reason, error.detail)
        except Exception as error:  # one record must never end the job
            rejected[entry.record_id] = _rejected_row(entry, "unreadable", f"{type(error).__name__}: {error}")
    return made


def _reads(job: Job, entries: list[Entry]) -> Iterator[tuple[Entry, Callable[[], Record]]]:
    """Entries in order, each with what gives its record or raises why there is none."""
    source = job.open_source()
    if not job.source.uri.startswith("s3://"):
        yield from ((entry, partial(source.read, entry)) for entry in entries)
        return
    ahead = futures_ahead(source.read, entries, threads=READ_AHEAD, depth=READ_AHEAD)
    yield from ((entry, future.result) for entry, future in zip(entries, ahead, strict=True))


def _ordered(record: Record, job: Job) -> _Ordered:
    shards = job.shards
    ordered, derived = order_leads(record.signal, record.leads, derive_limb_leads=shards.derive_limb_leads)
    # Not a view, which would hold all of a long record.
    kept = np.ascontiguousarray(signal.first_seconds(ordered, record.rate_hz, shards.duration_s))
    has_wrong_gains = quality.has_wrong_gains(record.signal, record.leads, record.gains)
    return _Ordered(record.entry, whole_microvolts(kept), record.rate_hz, derived, has_wrong_gains)


def _row(ordered: _Ordered, flags: list[str], split: str, job: Job) -> _Row:
    shards, known = job.shards, ordered.entry
    prepared, n_valid = signal.prepare(ordered.signal, ordered.rate_hz, shards.rate_hz, shards.samples)
    if ordered.has_wrong_gains and quality.SCALED_LEADS not in flags:
        flags.append(quality.SCALED_LEADS)
    flags += ["derived_limb_leads"] if ordered.derived else []
    flags += ["short"] if n_valid < shards.samples else []
    signal_uv = to_microvolts(prepared)
    others = {
        "record_id": known.record_id,
        "dataset": known.dataset,
        "patient_id": known.patient_id,
        "split": split,
        "n_valid": n_valid,
        "rate_hz": shards.rate_hz,
        "source_rate_hz": ordered.rate_hz,
        "report": known.report,
        "codes": list(known.codes),
        "age": known.age,
        "sex": known.sex,
        "quality": flags,
        "source_uri": _relative(known.source_uri, job.source.uri),
    }
    return _Row(signal_uv, fingerprint.changes(signal_uv, shards.rate_hz), others)


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
