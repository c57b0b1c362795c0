"""Labels and splits of whole data sets equal the released files, row by row; what is absent is counted."""

from __future__ import annotations

import csv
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from supreme import config
from supreme.evaluation import label_benchmarks, splits
from supreme.evaluation.benchmarks import Benchmark
from supreme.records import open_source, split_of
from supreme.records.label_sets import label_set

pytestmark = [pytest.mark.unit, pytest.mark.real]

#: Columns of the released CSN files that a substring test made wrong.
WRONG = {"VB", "AVB", "ST", "AF", "SA", "CR", "2AVB"}


@pytest.fixture(scope="module")
def folder(realdata: Path) -> str:
    return str(realdata / "benchmark_splits_merl")


@pytest.fixture(scope="module")
def ptbxl(realdata: Path, tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    place = tmp_path_factory.mktemp("ptbxl")
    shutil.copy(realdata / "ptb-xl" / "ptbxl_database_full.csv", place / "ptbxl_database.csv")
    return _index(place, "ptbxl")


@pytest.fixture(scope="module")
def cpsc2018(realdata: Path) -> pa.Table:
    with open(realdata / "cpsc2018" / "REFERENCE.csv", newline="", encoding="utf-8-sig") as stream:
        codes = {
            row["Recording"]: list(filter(None, list(row.values())[1:])) for row in csv.DictReader(stream)
        }
    return _table("cpsc2018", codes)


@pytest.fixture(scope="module")
def csn(folder: str) -> pa.Table:
    """The records of the released files, with the codes of the names that stand there."""
    codes_of = label_set("csn").columns
    codes: dict[str, list[str]] = {}
    for name in ("train", "val", "test"):
        with open(f"{folder}/chapman/chapman_{name}.csv", newline="") as stream:
            for row in csv.DictReader(stream):
                names = row["diagnose"].split(",")
                local = row["ecg_path"].rpartition("/")[2].removesuffix(".mat")
                codes[local] = [code for one in names for code in codes_of[one]]
    return _table("csn", codes)


def _index(place: Path, kind: str) -> pa.Table:
    (place / "records500").mkdir(exist_ok=True)
    entries = open_source(config.Source(kind=kind, uri=str(place)), 0, 100).index()  # type: ignore[arg-type]
    return pa.table(
        {
            "record_id": [entry.record_id for entry in entries],
            "patient_id": [entry.patient_id for entry in entries],
            "codes": pa.array([entry.codes for entry in entries], pa.list_(pa.string())),
            "split": [split_of(entry) for entry in entries],
            "fold": pa.array([entry.fold for entry in entries], pa.int32()),
        }
    )


def _table(kind: str, codes: dict[str, list[str]]) -> pa.Table:
    ids = [f"{kind}/{name}" for name in codes]
    return pa.table(
        {
            "record_id": ids,
            "patient_id": ids,
            "codes": pa.array(list(codes.values()), pa.list_(pa.string())),
            "split": ["train"] * len(ids),
            "fold": pa.nulls(len(ids), pa.int32()),
        }
    )


def _released(name: str, kind: str, table: pa.Table, folder: str) -> splits.SplitBenchmark:
    benchmark = label_benchmarks.benchmark(label_set(name), kind, kind, table)
    return splits.released(benchmark, kind, folder)


def _sizes(split: splits.SplitBenchmark) -> tuple[int, int, int]:
    return split.records("train"), split.records("validation"), split.records("test")


@pytest.mark.parametrize(
    ("name", "equal", "sizes"),
    [
        ("ptbxl-superclass", 21_386, (17_084, 2_146, 2_158)),
        ("ptbxl-subclass", 21_384, (17_084, 2_146, 2_158)),
        ("ptbxl-form", 8_978, (7_197, 901, 880)),
        ("ptbxl-rhythm", 21_030, (16_832, 2_100, 2_098)),
        ("ptbxl-diagnostic", 21_388, (17_084, 2_146, 2_158)),
    ],
)
def test_ptbxl_equals_the_released_rows(ptbxl, folder, name, equal, sizes):
    split = _released(name, "ptbxl", ptbxl, folder)
    assert _sizes(split) == sizes
    assert tuple(split.expected.values()) == sizes
    assert len(split.splits) - len(split.other_labels) == equal
    assert {int(record.rpartition("/")[2]) for record in split.other_labels} <= {1371, 3799, 3802, 9822}
    assert split.split_patients == 0
    assert split.benchmark.unknown_codes == {}
    ruled = splits.by_rule(split.benchmark, "ptbxl", ptbxl)
    assert ruled.splits == split.splits


def test_cpsc2018_equals_the_released_rows(cpsc2018, folder):
    split = _released("cpsc2018", "cpsc2018", cpsc2018, folder)
    assert _sizes(split) == (4_950, 551, 1_376)
    assert split.other_labels == ()
    assert split.benchmark.unannotated == 0


def test_csn_legacy_equals_the_released_rows_and_corrected_differs_in_seven_columns(csn, folder):
    legacy, corrected = (_released(f"csn-{one}", "csn", csn, folder) for one in ("legacy", "corrected"))
    assert _sizes(legacy) == _sizes(corrected) == (16_546, 1_860, 4_620)
    assert legacy.other_labels == ()
    assert legacy.benchmark.classes == corrected.benchmark.classes
    assert legacy.benchmark.record_ids == corrected.benchmark.record_ids
    differs = legacy.benchmark.labels != corrected.benchmark.labels
    assert {legacy.benchmark.classes[c] for c in np.flatnonzero(differs.any(axis=0))} == WRONG
    assert differs.any(axis=1).sum() == len(corrected.other_labels) == 3_817
    assert _released("csn", "csn", csn, folder).records("all") == 23_026


@pytest.mark.parametrize(
    ("kind", "place", "name", "here", "test"),
    [
        ("ptbxl", "ptb-xl", "ptbxl-superclass", (388, 75, 0), "0 of 2,158 records of the test split"),
        ("cpsc2018", "cpsc2018", "cpsc2018", (8, 1, 2), "2 of 1,376 records of the test split"),
        ("csn", "ecg-arrhythmia", "csn-legacy", (19, 0, 2), "2 of 4,620 records of the test split"),
    ],
)
def test_a_partial_copy_says_what_is_absent(realdata, folder, kind, place, name, here, test):
    source = open_source(config.Source(kind=kind, uri=str(realdata / place)), 0, 100)
    entries = source.index()
    if kind == "csn":  # whose codes stand in the headers
        entries = [source.read(entry).entry for entry in entries]
    table = _table(kind, {entry.record_id.rpartition("/")[2]: list(entry.codes) for entry in entries})
    split = _released(name, kind, table, folder)
    assert _sizes(split) == here
    assert split.describe("test") == test
    assert split.part("all").record_ids == split.benchmark.record_ids
    assert len(split.part("test").record_ids) == here[2]


def test_the_benchmarks_of_a_data_set_have_the_sizes_of_their_rules(ptbxl):
    every = label_benchmarks.all_benchmarks("ptbxl", "ptbxl", ptbxl)
    classes = {name: len(one.classes) for name, one in every.items()}
    assert classes == {
        **{"conditions": 42, "ptbxl-superclass": 5, "ptbxl-subclass": 23, "ptbxl-diagnostic": 44},
        **{"ptbxl-form": 19, "ptbxl-rhythm": 12, "ptbxl-all": 71},
    }
    records = {name: len(one.record_ids) + one.unannotated for name, one in every.items()}
    assert set(records.values()) == {21_837}
    assert Counter(_without_positive(one) for one in every.values() if one.name != "conditions") == {0: 6}


def _without_positive(benchmark: Benchmark) -> int:
    return int((benchmark.labels.max(axis=1) < 1).sum())
