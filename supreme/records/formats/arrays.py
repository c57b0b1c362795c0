"""Arrays of ECGs: HDF5 files such as CODE-15%'s, and `.npy`, whose records are read one by one.

A TOML file of the same name beside it (`ecgs.toml` for `ecgs.npy`) names leads, rate and unit. CODE-15% and
SaMi-Trop (`tracings`, with `exam_id`) need none, but for the unit: their authors contradict themselves, so
that it is a setting.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import AfterValidator, Field

from supreme import storage
from supreme.config import ConfigError
from supreme.ecg import BadRecord
from supreme.records.formats import npy
from supreme.records.formats.ecg_file import EcgFile, check_size, millivolts
from supreme.settings.section import Section
from supreme.settings.wfdb import SampleUnit, split_unit
from supreme.storage.toml_file import read_toml

if TYPE_CHECKING:
    from supreme.records.formats.hdf5 import Hdf5Array

ENDINGS = (".hdf5", ".h5", ".hdf", ".npy")
#: A record of such a file: its place in the array comes last.
_RECORD = re.compile(rf"(?P<file>.*(?:{'|'.join(map(re.escape, ENDINGS))}))/(?P<row>\d+)", re.IGNORECASE)
#: Leads, rate, and the shape of a record of CODE-15% and SaMi-Trop.
CODE15_LEADS = ("DI", "DII", "DIII", "AVR", "AVL", "AVF", "V1", "V2", "V3", "V4", "V5", "V6")
CODE15_RATE_HZ, CODE15_SHAPE = 400.0, (4096, 12)
#: Rows of CODE-15% that are filled up with zeros have this id.
_NO_EXAM = "0"


def _no_lead_twice(leads: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(leads)) < len(leads):
        raise ValueError("a channel is named twice")
    return leads


class ArrayLayout(Section):
    """How the samples of an array are to be understood."""

    leads: Annotated[
        tuple[str, ...], Field(strict=False, min_length=1, max_length=100), AfterValidator(_no_lead_twice)
    ]
    """Name of each channel, in the order of the array."""
    rate_hz: float = Field(gt=0, le=100_000)
    unit: SampleUnit = ""
    """Unit of a sample: `mV`, `uV`, `V`, or with a factor, as `1e-4 V`."""
    dataset: str = Field(default="tracings", max_length=200)
    """Dataset of an HDF5 file that holds the signals."""
    ids: str = Field(default="exam_id", max_length=200)
    """Dataset of an HDF5 file that holds a record id for each signal, if it is there."""


@dataclass(frozen=True)
class ArrayFile:
    """An open array of ECGs."""

    layout: ArrayLayout
    array: Hdf5Array | npy.NpyArray

    def names(self) -> list[tuple[int, str]]:
        """Place and id of every record; the id is empty where the file holds a single one."""
        count = self._count()
        if count is None:
            return [(0, "")]
        ids = self.array.ids
        if not ids:
            return [(row, str(row)) for row in range(count)]
        if len(ids) != count:
            raise BadRecord("unreadable", f"{len(ids):,} ids for {count:,} signals")
        return [(row, name) for row, name in enumerate(ids) if name != _NO_EXAM]

    def read(self, row: int, unit: str) -> EcgFile:
        """One record, without the zeros before and after it; ``unit`` where the layout names none.

        Raises:
            BadRecord: `unreadable`, `too_large`, `empty_file` or `unknown_unit`.
        """
        count = self._count()
        if row >= (1 if count is None else count):
            raise BadRecord("missing_file", f"no record {row} in an array of shape {self.array.shape}")
        shape = self.array.shape[-2:]
        check_size(*shape)
        values = self.array.row(None if count is None else row)
        channels = len(self.layout.leads)
        signal = values if shape[0] == channels and shape[1] != channels else values.T
        factor, name = split_unit(self.layout.unit or unit or "mV")
        signal_mv = millivolts(_without_padding(np.asarray(signal)), factor, name)
        return EcgFile(signal_mv, self.layout.leads, self.layout.rate_hz)

    def _count(self) -> int | None:
        """Records of the array; None where it holds a single one."""
        shape = self.array.shape
        if len(shape) not in (2, 3) or len(self.layout.leads) not in shape[-2:]:
            raise BadRecord(
                "unreadable",
                f"an array of shape {shape}; it must be (records, samples, {len(self.layout.leads)} leads), "
                "with leads and samples in any order; name its leads in a .toml file beside it",
            )
        return shape[0] if len(shape) == 3 else None


def is_array(name: str) -> bool:
    """Whether a file of this name is listed record by record."""
    return name.casefold().endswith(ENDINGS)


def split_record(uri: str) -> tuple[str, int] | None:
    """The file and place of a record of an array; None for other URIs."""
    path, mark, options = uri.partition("?") if uri.startswith("s3://") else (uri, "", "")
    match = _RECORD.fullmatch(path)
    return (match["file"] + mark + options, int(match["row"])) if match else None


@contextmanager
def as_refusal() -> Iterator[None]:
    """What a library says of a broken array, as BadRecord; trouble of the storage stays what it is."""
    try:
        yield
    except (BadRecord, ConfigError, MemoryError, storage.Unavailable):
        raise
    except storage.StorageError as error:
        raise BadRecord("unreadable", str(error)) from error
    except Exception as error:
        raise BadRecord("unreadable", f"no valid array ({type(error).__name__})") from error


@lru_cache(maxsize=64)
def open_array(uri: str) -> ArrayFile:
    """Open a file and the layout beside it; files stay open, since their records are read one by one.

    Raises:
        BadRecord: `unreadable` or `missing_file`.
        ConfigError: the layout is wrong.
    """
    path = uri.partition("?")[0] if uri.startswith("s3://") else uri
    ending = path[path.rindex(".") :]
    beside = storage.with_ending(uri, ending, ".toml")
    named = read_toml(beside, ArrayLayout) if storage.exists(beside) else None
    layout = named or ArrayLayout(leads=CODE15_LEADS, rate_hz=CODE15_RATE_HZ)
    with as_refusal():
        if ending.casefold() == ".npy":
            _refuse_unnamed(named is None, beside)
            return ArrayFile(layout, npy.NpyArray.open(uri))
        try:
            from supreme.records.formats.hdf5 import Hdf5Array
        except ModuleNotFoundError as error:
            raise ConfigError(
                "HDF5 files need the package h5py: pip install 'supreme-ecg[formats]'"
            ) from error
        array = Hdf5Array.open(uri, layout.dataset, layout.ids)
        _refuse_unnamed(named is None and array.shape[1:] != CODE15_SHAPE, beside)
        return ArrayFile(layout, array)


def _refuse_unnamed(is_unnamed: bool, beside: str) -> None:
    """Rate and leads of an array are never guessed."""
    if is_unnamed:
        name = storage.filesystem(beside)[1].rpartition("/")[2]
        raise BadRecord("unknown_rate", f"write leads, rate_hz and unit of the array into {name} beside it")


def _without_padding(signal: np.ndarray) -> np.ndarray:
    """Without the samples before and after the recording that are zero in every lead."""
    is_signal = np.flatnonzero((signal != 0).any(axis=0))
    if not len(is_signal):
        raise BadRecord("flat_leads", "all samples are zero")
    return signal[:, is_signal[0] : is_signal[-1] + 1]
