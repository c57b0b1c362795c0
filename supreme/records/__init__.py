"""Raw data sets: what they hold (:class:`Entry`), one ECG (:class:`Record`), how to open and find them.

:func:`open_source` opens a source. A source lists its entries without reading a signal, and reads one record
at a time. Nothing is resampled, reordered or judged here: `ecg`, `signal` and `quality` do that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise
from typing import Any, Literal, Protocol, get_args

import numpy as np

from supreme import config, storage
from supreme.config import ConfigError
from supreme.ecg import BadRecord, to_millivolts
from supreme.settings.data import SourceKind

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")

_DISCOVERY_DEPTH = 3


@dataclass(frozen=True)
class Entry:
    """One record of a data set, without its signal."""

    record_id: str
    """`dataset/local id`, unique."""
    dataset: str
    patient_id: str
    """`dataset/local patient id`; the record id where a data set names no patients."""
    split: Split | None = None
    """The data set's own split; None: decided by :func:`split_of`."""
    fold: int | None = None
    """The data set's own fold of patients, where it has folds."""
    report: str = ""
    codes: tuple[str, ...] = ()
    """The data set's own codes (SCP statements, SNOMED CT ids, CPSC classes, simulated condition ids)."""
    age: float | None = None
    sex: str = ""
    """F, M or empty."""
    source_uri: str = ""
    """Of the file, or of a WFDB record without extension; empty where there is none."""
    refused: str = ""
    """`reason: detail` where the index already knows that the record cannot be read."""

    def raise_refusal(self) -> None:
        """Raises BadRecord where the index has refused the record."""
        if self.refused:
            reason, _, detail = self.refused.partition(": ")
            raise BadRecord(reason, detail)


@dataclass(frozen=True)
class Record:
    """One ECG as its source holds it."""

    entry: Entry
    """Complete: sources whose codes stand beside the signal fill them in when they read."""
    signal: np.ndarray
    """``(n_channels, T)``, int16 microvolts or float millivolts (:mod:`supreme.ecg`)."""
    leads: tuple[str, ...]
    """Name of each channel, as the source spells it."""
    rate_hz: float
    gains: tuple[float, ...] = ()
    """Steps of the converter in a millivolt, of each channel, where they differ; else empty."""
    stores_eight_leads: bool = False
    """The source's format stores I, II and V1 to V6 only, so that the other four are always derived."""

    @property
    def signal_mv(self) -> np.ndarray:
        """The signal as float32 millivolts."""
        return to_millivolts(self.signal)


class RecordSource(Protocol):
    """A raw data set."""

    @property
    def dataset(self) -> str:
        """Name of the data set."""
        ...

    def index(self) -> list[Entry]:
        """Every record, sorted by unique id; reads no signal.

        Raises:
            ConfigError: the layout or a table is broken.
        """
        ...

    def read(self, entry: Entry) -> Record:
        """One record.

        Raises:
            BadRecord: with the reason why it cannot be used.
        """
        ...


@dataclass(frozen=True)
class FirstRecords:
    """The first records of another source, by id."""

    source: RecordSource
    records: int

    @property
    def dataset(self) -> str:
        """Name of the data set."""
        return self.source.dataset

    def index(self) -> list[Entry]:
        """As the other source's, cut off."""
        return self.source.index()[: self.records]

    def read(self, entry: Entry) -> Record:
        """As the other source's."""
        return self.source.read(entry)


def open_source(source: config.Source, seed: int, rate_hz: float) -> RecordSource:
    """Open a raw data set.

    Args:
        seed: of a simulated data set.
        rate_hz: of a simulated data set.

    Raises:
        ConfigError: no ``uri`` or a missing folder, naming it.
    """
    module = _module(source.kind)
    if source.kind == "simulated":
        if source.records is None:
            raise ConfigError(f"source {source.dataset!r}: say how many ECGs to draw with records=...")
        return module.SimulatedSource(source.dataset, source.records, seed, rate_hz=rate_hz)
    if not source.uri:
        raise ConfigError(f"source {source.dataset!r}: say where the data set is with uri=FOLDER")
    if not storage.is_folder(source.uri):
        raise ConfigError(f"source {source.dataset!r}: {source.uri} is not a folder")
    opened: RecordSource = module.open_folder(source)
    return opened if source.records is None else FirstRecords(opened, source.records)


def discover(folder: str) -> list[config.Source]:
    """The data sets in known layouts at or below a folder, at most three levels down.

    Raises:
        ConfigError: missing folder, no known layout in it, or two data sets of one name.
    """
    if not storage.is_folder(folder):
        raise ConfigError(f"{folder} is not a folder: real=... takes the folder that holds the data sets")
    modules = map(_module, get_args(SourceKind))
    layouts = [module for module in modules if hasattr(module, "recognise")]
    sources: dict[str, config.Source] = {}
    level: list[str] = [folder]
    for _ in range(_DISCOVERY_DEPTH + 1):
        below: list[str] = []
        for place in level:
            here: list[config.Source] = next(filter(None, (one.recognise(place) for one in layouts)), [])
            for source in here:
                if source.dataset in sources:
                    both = f"{sources[source.dataset].uri} and {source.uri}"
                    raise ConfigError(f"{folder} holds {source.dataset!r} twice ({both}): keep or name one")
                sources[source.dataset] = source
            folders = [] if here else storage.list_folders(place)
            below += [storage.join(place, name) for name in folders if not is_hidden(name)]
        level = below
    if not sources:
        looked_for = "".join(f"\n  {layout.LAYOUT}" for layout in layouts)
        raise ConfigError(f"no data set found in {folder}; looked for folders with{looked_for}")
    return [sources[name] for name in sorted(sources)]


def all_sources(recipe: config.Recipe) -> list[config.Source]:
    """The sources that a recipe pre-trains on, then those that it evaluates on (`real`), each data set once.

    Raises:
        ConfigError: two sources of one name at different places.
    """
    sources: dict[str, config.Source] = {}
    for source in [*recipe.sources, *(discover(recipe.real) if recipe.real else [])]:
        earlier = sources.setdefault(source.dataset, source)
        if _place(earlier) != _place(source):
            places = f"{earlier.uri or earlier.kind} and {source.uri or source.kind}"
            raise ConfigError(
                f"two sources are called {source.dataset!r} ({places}): give one another name=..."
            )
    return list(sources.values())


def check(recipe: config.Recipe) -> None:
    """Open every source of a recipe.

    Raises:
        ConfigError: a folder is missing, of no known layout, or there are two sources of one name.
    """
    for source in all_sources(recipe):
        open_source(source, recipe.seed, recipe.shards.rate_hz)


def in_order(entries: Iterable[Entry], where: str) -> list[Entry]:
    """Entries sorted by id.

    Args:
        where: the file or folder that names them, for the message.

    Raises:
        ConfigError: two have the same id.
    """
    ordered = sorted(entries, key=lambda entry: entry.record_id)
    for one, other in pairwise(ordered):
        if one.record_id == other.record_id:
            raise ConfigError(f"{where}: {one.record_id} is there twice: keep or rename one")
    return ordered


def is_hidden(name: str) -> bool:
    """Whether systems and editors have added a file: `._x.hea`, `.ipynb_checkpoints/`, `~$x`, `__MACOSX/`."""
    return any(part.startswith((".", "~$")) or part in ("__MACOSX", "@eaDir") for part in name.split("/"))


def split_of(entry: Entry) -> Split:
    """The data set's own split, or 80/10/10 by patient: all records of one patient share a split."""
    if entry.split is not None:
        return entry.split
    tenth = patient_tenth(entry.patient_id)
    return "validation" if tenth == 8 else "test" if tenth == 9 else "train"


def patient_tenth(patient_id: str) -> int:
    """0 to 9, from the sha256 of the patient id: the same on every machine and in every version."""
    return int.from_bytes(hashlib.sha256(patient_id.encode()).digest()[:8], "big") % 10


def _module(kind: str) -> Any:
    """The file of a kind: `open_folder(source)`; `recognise(folder)` and `LAYOUT` if it can be discovered."""
    return import_module(f"supreme.records.{kind}")


def _place(source: config.Source) -> tuple[str, str]:
    return source.kind, storage.filesystem(source.uri)[1] if source.uri else ""
