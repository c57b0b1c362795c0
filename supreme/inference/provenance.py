"""Provenance: which recordings a model has seen, kept in its bundle and asked by whatever evaluates it.

`config.json` names the data sets under `trained_on`; `recordings.safetensors` holds, for each of them, hashes
of the recording keys and fingerprints of the signals. Both are sorted on their own, so that the file links no
key to a signal; it holds no ids, patients or samples. 18 bytes a record: 14.4 MB for 800,000.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError
from safetensors.numpy import load, save

from supreme import storage
from supreme.records.recordings import recording_key
from supreme.settings.data import Source
from supreme.shards.read import ShardDataset

RECORDINGS = "recordings.safetensors"
#: What training and the selection of weights have seen.
SPLITS_SEEN = ("train", "validation")
#: Columns of the shards by which a recording is recognised.
COLUMNS = ("record_id", "fingerprint", "source_uri")

_KEY_BYTES = 6
_FINGERPRINT_BYTES = 12
#: Bits by which two fingerprints of one recording may differ, of 96. Another rate changes about 1 in 100; the
#: nearest of 24 million pairs of different simulated ECGs differ in 9, of 117,000 pairs of PTB-XL in 13.
_MAX_DIFFERENT_BITS = 6
_BAND_BITS = 16
#: Pairs of fingerprints that are compared at a time.
_BLOCK_PAIRS = 4_000_000


class ProvenanceError(ValueError):
    """The provenance in a bundle is damaged; the message says how."""


class SeenDataset(BaseModel):
    """A data set that a model was trained on, or whose validation records selected its weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    kind: str
    shards_digest: str
    splits: tuple[str, ...]
    records: int
    recordings_digest: str
    """sha256 over the hashed recording keys."""


@dataclass(frozen=True)
class SeenRecordings:
    """Which records of a table a model has seen."""

    by_key: np.ndarray
    """`(N,)` bool: the same recording by its id."""
    by_signal: np.ndarray
    """`(N,)` bool: the same recording by its signal alone, under another id."""

    @property
    def mask(self) -> np.ndarray:
        """`(N,)` bool."""
        return self.by_key | self.by_signal


@dataclass(frozen=True)
class Provenance:
    """The recordings that a model has seen."""

    datasets: tuple[SeenDataset, ...]
    keys: tuple[np.ndarray, ...]
    """For each data set `(N, 6)` uint8, sorted and unique: hashed recording keys."""
    fingerprints: tuple[np.ndarray, ...]
    """For each data set `(N, 12)` uint8, sorted and unique; none for simulated records."""

    @classmethod
    def collect(cls, sources: Sequence[Source], shards: Sequence[ShardDataset]) -> Provenance:
        """The training and validation records of the shards of each source."""
        datasets, keys, fingerprints = [], [], []
        for source, folder in zip(sources, shards, strict=True):
            table = folder.table(COLUMNS, SPLITS_SEEN)
            keys.append(_unique_rows(_hashed_keys(source.kind, table)))
            fingerprints.append(_unique_rows(_fingerprints(source.kind, table)))
            datasets.append(
                SeenDataset(
                    dataset=source.dataset,
                    kind=source.kind,
                    shards_digest=folder.manifest.digest(),
                    splits=SPLITS_SEEN,
                    records=len(table),
                    recordings_digest=storage.sha256(keys[-1].tobytes()),
                )
            )
        return cls(tuple(datasets), tuple(keys), tuple(fingerprints))

    @classmethod
    def parse(cls, datasets: Sequence[SeenDataset], content: bytes) -> Provenance:
        """The provenance in the bytes of `recordings.safetensors`.

        Raises:
            ProvenanceError: they are damaged, or not those of these data sets.
        """
        try:
            tensors = load(content)
            keys = tuple(tensors[f"{at}.keys"] for at in range(len(datasets)))
            fingerprints = tuple(tensors[f"{at}.fingerprints"] for at in range(len(datasets)))
        except (KeyError, ValueError, TypeError, OverflowError, SafetensorError) as error:
            raise ProvenanceError(f"cannot be read ({type(error).__name__}: {error})") from None
        for dataset, own_keys, own_fingerprints in zip(datasets, keys, fingerprints, strict=True):
            for part, width in ((own_keys, _KEY_BYTES), (own_fingerprints, _FINGERPRINT_BYTES)):
                if part.dtype != np.uint8 or part.ndim != 2 or part.shape[1] != width:
                    raise ProvenanceError(f"holds {part.dtype} {part.shape} instead of rows of {width} bytes")
            if storage.sha256(own_keys.tobytes()) != dataset.recordings_digest:
                raise ProvenanceError(f"the recordings of {dataset.dataset} are not those of config.json")
        return cls(tuple(datasets), keys, fingerprints)

    def joined(self, other: Provenance) -> Provenance:
        """What both have seen; a data set of which both have seen the same is there once."""
        parts = list(zip(self.datasets, self.keys, self.fingerprints, strict=True))
        parts += [
            part
            for part in zip(other.datasets, other.keys, other.fingerprints, strict=True)
            if part[0] not in self.datasets
        ]
        datasets, keys, fingerprints = zip(*parts, strict=True) if parts else ((), (), ())
        return Provenance(datasets, keys, fingerprints)

    def to_safetensors(self) -> bytes:
        """The content of `recordings.safetensors`."""
        tensors = {f"{at}.keys": part for at, part in enumerate(self.keys)}
        return save(tensors | {f"{at}.fingerprints": part for at, part in enumerate(self.fingerprints)})

    def seen(self, kind: str, table: pa.Table) -> SeenRecordings:
        """Which records the model has seen.

        Args:
            kind: source kind of their data set.
            table: with :data:`COLUMNS`.
        """
        known = np.concatenate([_as_numbers(part) for part in self.keys] or [np.empty(0, np.uint64)])
        by_key = np.isin(_as_numbers(_hashed_keys(kind, table)), known)
        by_signal = np.zeros(len(table), bool)
        if kind != "simulated":
            fingerprints = _decoded(table)
            for part in self.fingerprints:
                by_signal |= _near(fingerprints, part)
        return SeenRecordings(by_key, by_signal & ~by_key)


def _hashed_keys(kind: str, table: pa.Table) -> np.ndarray:
    """The hashed recording key of each record, ``(N, 6)`` uint8."""
    columns = [table.column(name).to_pylist() for name in COLUMNS]
    hashes = (
        hashlib.sha256(recording_key(kind, record, fingerprint=signal, source_uri=uri).encode()).digest()
        for record, signal, uri in zip(*columns, strict=True)
    )
    content = b"".join(digest[:_KEY_BYTES] for digest in hashes)
    return np.frombuffer(content, np.uint8).reshape(-1, _KEY_BYTES)


def _fingerprints(kind: str, table: pa.Table) -> np.ndarray:
    """The fingerprints that a bundle keeps, ``(M, 12)`` uint8; a signal without changes has none."""
    if kind == "simulated":
        return np.empty((0, _FINGERPRINT_BYTES), np.uint8)
    fingerprints = _decoded(table)
    return fingerprints[fingerprints.any(axis=1)]


def _decoded(table: pa.Table) -> np.ndarray:
    """The column `fingerprint` as ``(N, 12)`` uint8: the first 96 of its 128 bits."""
    content = bytes.fromhex("".join(table.column("fingerprint").to_pylist()))
    width = len(content) // max(len(table), 1) or _FINGERPRINT_BYTES
    return np.ascontiguousarray(np.frombuffer(content, np.uint8).reshape(-1, width)[:, :_FINGERPRINT_BYTES])


def _unique_rows(rows: np.ndarray) -> np.ndarray:
    """Rows sorted as bytes, each once."""
    if not len(rows):
        return rows
    order = np.lexsort(rows.T[::-1])
    rows = rows[order]
    return np.ascontiguousarray(rows[np.concatenate([[True], (rows[1:] != rows[:-1]).any(axis=1)])])


def _as_numbers(keys: np.ndarray) -> np.ndarray:
    """Keys ``(N, 6)`` uint8 to ``(N,)`` uint64."""
    return np.pad(keys, [(0, 0), (0, 8 - _KEY_BYTES)]).view(np.uint64)[:, 0]


def _near(fingerprints: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Whether each fingerprint ``(N, 12)`` shows the same recording as one of ``known`` ``(M, 12)``.

    Only pairs that share one of six bands of 16 bits are compared.
    """
    near = np.zeros(len(fingerprints), bool)
    if not len(known) or not len(fingerprints):
        return near
    has_signal = fingerprints.any(axis=1)
    for band, known_band in zip(_bands(fingerprints), _bands(known), strict=True):
        order = np.argsort(known_band, kind="stable")
        first = np.searchsorted(known_band[order], band, "left")
        count = np.searchsorted(known_band[order], band, "right") - first
        count[~has_signal | near] = 0
        for rows in _blocks(count):
            own = np.repeat(rows, count[rows])
            within = np.arange(len(own)) - np.repeat(np.cumsum(count[rows]) - count[rows], count[rows])
            other = order[np.repeat(first[rows], count[rows]) + within]
            bits = np.bitwise_count(fingerprints[own] ^ known[other]).sum(axis=1)
            near[own[bits <= _MAX_DIFFERENT_BITS]] = True
    return near


def _bands(fingerprints: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(fingerprints).view(f"u{_BAND_BITS // 8}").T


def _blocks(count: np.ndarray) -> Iterable[np.ndarray]:
    """Rows with pairs, in blocks of about :data:`_BLOCK_PAIRS` pairs."""
    rows = np.flatnonzero(count)
    edges = np.searchsorted(np.cumsum(count[rows]), np.arange(0, count.sum(), _BLOCK_PAIRS), "left")
    return (block for block in np.split(rows, edges[1:]) if len(block))
