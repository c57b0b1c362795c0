"""A dataset of an HDF5 file, one record at a time: nothing outside of the file, no compression bombs."""

from __future__ import annotations

import weakref
from contextlib import ExitStack
from dataclasses import dataclass

import h5py
import numpy as np

from supreme import storage
from supreme.ecg import BadRecord
from supreme.records.wfdb_header import MAX_VALUES

#: A chunk that is larger than its content was not written by a compression.
_SLACK = 4096
_MAX_IDS = 20_000_000


@dataclass(frozen=True)
class Hdf5Array:
    """An open dataset, and the ids beside it."""

    dataset: h5py.Dataset
    id_dataset: h5py.Dataset | None

    @classmethod
    def open(cls, uri: str, name: str, ids: str) -> Hdf5Array:
        """Open the dataset ``name`` of a file, local or on S3.

        Raises:
            BadRecord: `unreadable` where it is absent, or not an array of numbers in the file itself.
        """
        resources = ExitStack()
        try:
            file = resources.enter_context(h5py.File(resources.enter_context(storage.open_file(uri)), "r"))
            array = cls._of(file, name, ids)
        except BaseException:
            resources.close()
            raise
        # HDF5 must let go of a stream before the interpreter ends, or the process crashes.
        weakref.finalize(array, resources.close)
        return array

    @classmethod
    def _of(cls, file: h5py.File, name: str, ids: str) -> Hdf5Array:
        dataset = _dataset(file, name)
        if dataset is None or dataset.dtype.kind not in "iuf":
            names = ", ".join(map(str, list(file)[:10]))
            raise BadRecord(
                "unreadable", f"no dataset {name!r} of numbers (there is: {names}); name it in a .toml file"
            )
        if dataset.chunks and int(np.prod(dataset.chunks)) > 4 * MAX_VALUES:
            raise BadRecord("too_large", f"chunks of shape {dataset.chunks}")
        return cls(dataset, _dataset(file, ids))

    @property
    def ids(self) -> tuple[str, ...]:
        """A record id for each signal; empty where the file has none."""
        dataset = self.id_dataset
        if dataset is None or dataset.ndim != 1 or len(dataset) > _MAX_IDS:
            return ()
        values = dataset[()]
        return tuple(
            value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for value in values
        )

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.dataset.shape)

    def row(self, row: int | None) -> np.ndarray:
        """Record ``row`` of three dimensions, or the whole array.

        Raises:
            BadRecord: `too_large` for a chunk that would inflate to more than the array holds.
        """
        if row is None:
            return np.asarray(self.dataset[()])
        self._check_chunks(row)
        return np.asarray(self.dataset[row])

    def _check_chunks(self, row: int) -> None:
        chunks = self.dataset.chunks
        if not chunks:
            return
        raw = int(np.prod(chunks)) * self.dataset.dtype.itemsize
        info = self.dataset.id.get_chunk_info_by_coord(
            (row // chunks[0] * chunks[0], *(0 for _ in chunks[1:]))
        )
        if info.size is not None and info.size > raw + raw // 8 + _SLACK:
            raise BadRecord("too_large", f"a chunk of {info.size:,} bytes for {raw:,}")


def _dataset(file: h5py.File, name: str) -> h5py.Dataset | None:
    """A dataset whose samples are in this file; None for links out of it, virtual and external ones."""
    if name not in file or not isinstance(file.get(name, getlink=True), h5py.HardLink):
        return None
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset) or dataset.is_virtual or dataset.external:
        return None
    return dataset
