"""Which records of a benchmark are for training, validation and test: by rule, or as a paper released them.

By rule, PTB-XL is split by its folds (1 to 8, 9, 10) and any other data set as its shards are. Released files
are label files of the layout that MERL published, one a split:

    ptbxl/super_class/ptbxl_super_class_train.csv   ecg_id, HYP, NORM, MI, CD, STTC
    icbeb/icbeb_test.csv                            filename, AFIB, VPC, ...
    chapman/chapman_val.csv                         ecg_path, AQW, UW, ...

They decide which records belong to a benchmark, and to which split. Labels always come from the codes of the
records; where a released row has others, that is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from supreme import storage
from supreme.config import ConfigError
from supreme.evaluation.benchmarks import POSITIVE, Benchmark
from supreme.records import SPLITS, tables
from supreme.records.recordings import recording_key

#: Columns of the shards that splits by rule are made from.
COLUMNS = ("record_id", "split", "fold")
#: Every record that has a split.
ALL = "all"
_NAME_OF = {"train": "train", "validation": "val", "test": "test"}
_VALIDATION_FOLD, _TEST_FOLD = 9, 10


@dataclass(frozen=True)
class ReleasedFiles:
    """Where the released files of a label set are."""

    stem: str
    """Path and beginning of their names below the folder."""
    key: str
    """The column that names a record."""
    has_labels: bool = True
    """Whether they have a column for each of the label set's."""


_SUPERCLASS = "ptbxl/super_class/ptbxl_super_class"
#: Name of the label set -> its released files.
RELEASED = {
    "ptbxl-superclass": ReleasedFiles(_SUPERCLASS, "ecg_id"),
    "ptbxl-subclass": ReleasedFiles("ptbxl/sub_class/ptbxl_sub_class", "ecg_id"),
    # The statements of which the superclasses are made: the same records.
    "ptbxl-diagnostic": ReleasedFiles(_SUPERCLASS, "ecg_id", has_labels=False),
    "ptbxl-form": ReleasedFiles("ptbxl/form/ptbxl_form", "ecg_id"),
    "ptbxl-rhythm": ReleasedFiles("ptbxl/rhythm/ptbxl_rhythm", "ecg_id"),
    "cpsc2018": ReleasedFiles("icbeb/icbeb", "filename"),
    "csn": ReleasedFiles("chapman/chapman", "ecg_path", has_labels=False),
    "csn-legacy": ReleasedFiles("chapman/chapman", "ecg_path"),
    "csn-corrected": ReleasedFiles("chapman/chapman", "ecg_path"),
}


@dataclass(frozen=True)
class SplitBenchmark:
    """A benchmark with a split for each of its records."""

    benchmark: Benchmark
    splits: tuple[str, ...]
    """`train`, `validation` or `test` of each record."""
    rule: str
    """In words, where the splits come from."""
    expected: Mapping[str, int] = field(default_factory=dict)
    """Split -> records that the released files name; empty by rule."""
    other_labels: tuple[str, ...] = ()
    """Records whose released labels are not those of their codes."""
    split_patients: int = 0
    """Patients with records in several splits."""

    def part(self, split: str) -> Benchmark:
        """The records of one split, or of `all`."""
        return self.benchmark.select(np.array([split in (ALL, one) for one in self.splits], bool))

    def select(self, mask: np.ndarray) -> SplitBenchmark:
        """The records of a boolean mask ``(N,)``, for instance those that a model has not seen."""
        splits = tuple(split for split, is_in in zip(self.splits, mask, strict=True) if is_in)
        return replace(self, benchmark=self.benchmark.select(mask), splits=splits)

    def records(self, split: str) -> int:
        """How many records of a split are here."""
        return len(self.splits) if split == ALL else self.splits.count(split)

    def describe(self, split: str) -> str:
        """`0 of 2,158 records of the test split`."""
        total = sum(self.expected.values()) if split == ALL else self.expected.get(split, 0)
        of_released = f" of {total:,}" if self.expected else ""
        of_split = "" if split == ALL else f" of the {split} split"
        noun = "record" if (total or self.records(split)) == 1 else "records"
        return f"{self.records(split):,}{of_released} {noun}{of_split}"

    def advice(self, split: str) -> str:
        """Which records that released files name are not here, and what to do about it; "" where all are."""
        total = sum(self.expected.values()) if split == ALL else self.expected.get(split, 0)
        if self.records(split) >= total:
            return ""
        remedy = "build the shards of a complete copy"
        if split != ALL and self.records(ALL):
            remedy += f", or evaluate on the {self.records(ALL):,} that are here with evaluation.split=all"
        benchmark = f"{self.benchmark.dataset}, {self.benchmark.name}"
        return f"{benchmark}: {self.describe(split)} are here ({self.rule}): {remedy}"


def by_rule(benchmark: Benchmark, kind: str, table: pa.Table) -> SplitBenchmark:
    """Folds 1 to 8, 9 and 10 of PTB-XL; the splits of the shards for any other data set.

    Args:
        kind: source kind of the data set.
        table: of its shards, with :data:`COLUMNS`.

    Raises:
        ConfigError: shards of PTB-XL without folds.
    """
    columns = (table.column(name).to_pylist() for name in COLUMNS)
    by_fold = kind == "ptbxl"
    split_of = {}
    for record_id, split, fold in zip(*columns, strict=True):
        if by_fold and fold is None:
            raise ConfigError(
                f"{record_id} has no fold in its shards: make them again with jobs/shard.py --new"
            )
        split_of[record_id] = _of_fold(fold) if by_fold else split
    splits = tuple(split_of[record_id] for record_id in benchmark.record_ids)
    rule = "folds 1-8, 9 and 10" if by_fold else "splits of the data set, or 80/10/10 by patient"
    return SplitBenchmark(benchmark, splits, rule, split_patients=_split_patients(benchmark, splits))


def _of_fold(fold: int) -> str:
    return {_VALIDATION_FOLD: "validation", _TEST_FOLD: "test"}.get(fold, "train")


def released(benchmark: Benchmark, kind: str, folder: str) -> SplitBenchmark:
    """The records that released files name, in their splits; the order of the benchmark stays.

    Args:
        benchmark: of a label set in :data:`RELEASED`, with all its records.
        kind: source kind of the data set.
        folder: as `evaluation.splits` names it.

    Raises:
        ConfigError: a file is missing, lacks a column, names a record twice or has a cell that is no label.
    """
    of = RELEASED[benchmark.name]
    positive: dict[str, frozenset[str]] = {}
    split_of: dict[str, str] = {}
    for split in SPLITS:
        uri = storage.join(folder, f"{of.stem}_{_NAME_OF[split]}.csv")
        rows = _read(uri, kind, of.key, benchmark.classes if of.has_labels else ())
        if twice := sorted(rows.keys() & split_of.keys()):
            number, earlier = twice[0].rpartition(":")[2], f"{of.stem}_{_NAME_OF[split_of[twice[0]]]}.csv"
            more = f" (and {len(twice) - 1:,} others)" if len(twice) > 1 else ""
            raise ConfigError(f"{uri}: record {number}{more} is in {earlier} too: keep it in one split")
        split_of |= dict.fromkeys(rows, split)
        positive |= rows
    mask = np.array([key in split_of for key in benchmark.recordings], bool)
    inside = benchmark.select(mask)
    other = [
        record_id
        for record_id, key, labels in zip(inside.record_ids, inside.recordings, inside.labels, strict=True)
        if of.has_labels and positive[key] != {inside.classes[c] for c in np.flatnonzero(labels == POSITIVE)}
    ]
    splits = tuple(split_of[key] for key in inside.recordings)
    rule = f"released files {of.stem}_*.csv"
    expected = dict(Counter(split_of.values()))
    return SplitBenchmark(inside, splits, rule, expected, tuple(other), _split_patients(inside, splits))


def patient_safe(split: SplitBenchmark) -> SplitBenchmark:
    """Leave out of training and validation what patients of a later split have there."""
    rank: dict[str, int] = {name: place for place, name in enumerate(SPLITS)}
    last: dict[str, int] = {}
    for patient, name in zip(split.benchmark.patients, split.splits, strict=True):
        last[patient] = max(last.get(patient, 0), rank[name])
    patients = zip(split.benchmark.patients, split.splits, strict=True)
    return split.select(np.array([rank[name] == last[patient] for patient, name in patients], bool))


def _split_patients(benchmark: Benchmark, splits: tuple[str, ...]) -> int:
    pairs = set(zip(benchmark.patients, splits, strict=True))
    return sum(count > 1 for count in Counter(patient for patient, _ in pairs).values())


def _read(uri: str, kind: str, key: str, classes: tuple[str, ...]) -> dict[str, frozenset[str]]:
    """Recording key -> the positive columns, of each row of a released file."""
    if not storage.exists(uri):
        raise ConfigError(
            f"evaluation.splits: no file {uri}: copy it there, or leave evaluation.splits empty"
        )
    table = tables.read(uri, (key, *classes), keys=(key,))
    tables.check(uri, table, key, classes)
    names = table.column(key).to_pylist()
    columns = [_is_positive(uri, column, table.column(column)) for column in classes]
    rows: dict[str, frozenset[str]] = {}
    for row, name in enumerate(names):
        local = name.rpartition("/")[2].removesuffix(".mat")
        recording = recording_key(kind, f"{kind}/{local}")
        if recording in rows:
            number = recording.rpartition(":")[2]
            raise ConfigError(f"{uri}: record {number} is in more than one row: keep one")
        rows[recording] = frozenset(
            column for column, is_one in zip(classes, columns, strict=True) if is_one[row]
        )
    return rows


def _is_positive(uri: str, name: str, column: pa.ChunkedArray) -> list[bool]:
    cells = column.to_pylist()
    for row, cell in enumerate(cells):
        if cell not in ("0", "1", "0.0", "1.0"):
            raise ConfigError(f"{uri}: row {row + 1}, column {name!r}: {cell[:40]!r} is neither 0 nor 1")
    return [cell[0] == "1" for cell in cells]
