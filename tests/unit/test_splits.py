"""Splits of a benchmark: by rule, from released files in any order, and what is wrong with such files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supreme.config import ConfigError
from supreme.evaluation import label_benchmarks, splits
from supreme.evaluation.benchmarks import Benchmark
from supreme.records.label_sets import label_set

pytestmark = pytest.mark.unit

#: Record -> codes, fold, patient.
RECORDS = {
    "00001": (["NORM"], 1, "a"),
    "00002": (["IMI", "SR"], 9, "b"),
    "00003": (["AFIB"], 10, "c"),
    "00004": (["LVH", "CLBBB"], 10, "d"),
    "00005": (["NORM"], 8, "e"),
}
HEADER = "ecg_id,strat_fold,HYP,NORM,MI,CD,STTC"
ROWS = {"train": ["1,1,0,1,0,0,0", "5.0,8,0,1,0,0,0"], "val": ["2,9,0,0,1,0,0"], "test": ["4,10,1,0,0,1,0"]}


def _table() -> pa.Table:
    codes, folds, patients = zip(*RECORDS.values(), strict=True)
    return pa.table(
        {
            "record_id": [f"ptbxl/{name}" for name in RECORDS],
            "patient_id": patients,
            "codes": list(codes),
            "split": ["train" if fold < 9 else "test" for fold in folds],
            "fold": pa.array(folds, pa.int32()),
        }
    )


def _benchmark() -> Benchmark:
    return label_benchmarks.benchmark(label_set("ptbxl-superclass"), "ptbxl", "ptbxl", _table())


def _write(folder: Path, header: str = HEADER, **rows: list[str]) -> str:
    place = folder / "ptbxl" / "super_class"
    place.mkdir(parents=True, exist_ok=True)
    for split, lines in (ROWS | rows).items():
        (place / f"ptbxl_super_class_{split}.csv").write_text("\n".join([header, *lines]) + "\n")
    return str(folder)


def _change(folder: str, split: str, content: bytes) -> None:
    (Path(folder) / "ptbxl" / "super_class" / f"ptbxl_super_class_{split}.csv").write_bytes(content)


def _file(folder: str, split: str) -> bytes:
    return (Path(folder) / "ptbxl" / "super_class" / f"ptbxl_super_class_{split}.csv").read_bytes()


def test_folds_9_and_10_of_ptbxl_are_apart_and_other_sets_are_split_as_their_shards():
    benchmark = _benchmark()
    assert benchmark.unannotated == 1  # a rhythm alone
    ptbxl = splits.by_rule(benchmark, "ptbxl", _table())
    assert ptbxl.splits == ("train", "validation", "test", "train")
    assert ptbxl.describe("test") == "1 record of the test split"
    other = splits.by_rule(benchmark, "wfdb_folder", _table())
    assert other.splits == ("train", "test", "test", "train")
    without = _table().set_column(4, "fold", pa.nulls(5, pa.int32()))
    with pytest.raises(ConfigError, match=r"ptbxl/00001 has no fold.*--new"):
        splits.by_rule(benchmark, "ptbxl", without)


def test_released_files_decide_on_the_records_and_their_other_labels_are_counted(tmp_path):
    folder = _write(tmp_path, val=["2,9,0,0,1,0,1"], test=["4,10,1,0,0,1,0", "9999,10,0,1,0,0,0"])
    split = splits.released(_benchmark(), "ptbxl", folder)
    assert split.splits == ("train", "validation", "test", "train")
    assert split.other_labels == ("ptbxl/00002",)
    assert split.benchmark.labels[1].tolist() == _benchmark().labels[1].tolist()
    assert split.describe("test") == "1 of 2 records of the test split"
    assert split.describe("all") == "4 of 5 records"
    assert split.advice("test") == (
        "ptbxl, ptbxl-superclass: 1 of 2 records of the test split are here "
        "(released files ptbxl/super_class/ptbxl_super_class_*.csv): build the shards of a complete copy, "
        "or evaluate on the 4 that are here with evaluation.split=all"
    )
    assert split.advice("all").endswith("ptbxl_super_class_*.csv): build the shards of a complete copy")
    assert split.advice("train") == ""
    assert splits.by_rule(split.benchmark, "ptbxl", _table()).advice("test") == ""
    assert split.part("test").record_ids == ("ptbxl/00004",)
    assert split.part("all").record_ids == split.benchmark.record_ids


@given(st.randoms(use_true_random=False))
@settings(max_examples=20, deadline=None)
def test_order_of_rows_and_columns_byte_order_mark_and_line_ends_change_nothing(tmp_path_factory, random):
    expected = splits.released(_benchmark(), "ptbxl", _write(tmp_path_factory.mktemp("plain")))
    folder = _write(tmp_path_factory.mktemp("mixed"))
    for split in ROWS:
        lines = [line.split(",") for line in _file(folder, split).decode().splitlines()]
        order = random.sample(range(len(lines[0])), len(lines[0]))
        rows = random.sample(lines[1:], len(lines) - 1)
        text = "\r\n".join(",".join(row[c] for c in order) for row in [lines[0], *rows])
        _change(folder, split, b"\xef\xbb\xbf" + text.encode())
    assert repr(splits.released(_benchmark(), "ptbxl", folder)) == repr(expected)


@pytest.mark.parametrize(
    ("split", "content", "message"),
    [
        (
            "val",
            b"\n" + HEADER.encode() + b"\n2,9,0,0,1,0,0\n",
            r"_val\.csv: the first line is blank: remove",
        ),
        ("test", b"ecg_id,HYP,NORM,MI,CD\n4,1,0,0,1\n", r"_test\.csv: no column 'STTC'"),
        (
            "test",
            HEADER.encode() + b"\n4,10,1,0,0,yes,0\n",
            r"_test\.csv: row 1, column 'CD': 'yes' is neither",
        ),
        ("test", HEADER.encode() + b"\n4,10,1,0,0,,0\n", r"_test\.csv: row 1 has no CD"),
        ("test", HEADER.encode() + b"\n4,10,1,0,0\n", r"_test\.csv: row 1 has not 7 cells"),
        ("test", HEADER.encode() + b"\n1,10,0,1,0,0,0\n", r"_test\.csv: record 1 is in .*_train\.csv too"),
        (
            "val",
            HEADER.encode() + b"\n2,9,0,0,1,0,0\n2,9,0,0,1,0,0\n",
            r"_val\.csv: ecg_id 2 in more than one",
        ),
        (
            "val",
            HEADER.encode() + b"\n2,9,0,0,1,0,0\n02,9,0,0,1,0,0\n",
            r"_val\.csv: record 2 is in more than",
        ),
        ("train", b"", r"_train\.csv is empty"),
    ],
)
def test_a_broken_file_is_refused_by_name(tmp_path, split, content, message):
    folder = _write(tmp_path)
    _change(folder, split, content)
    with pytest.raises(ConfigError, match=message):
        splits.released(_benchmark(), "ptbxl", folder)


def test_a_folder_of_other_files_is_refused(tmp_path):
    with pytest.raises(
        ConfigError, match=r"evaluation.splits: no file .*ptbxl_super_class_train\.csv: copy it"
    ):
        splits.released(_benchmark(), "ptbxl", str(tmp_path))


def test_a_patient_stays_in_the_last_of_several_splits():
    ids = tuple("abcdef")
    labels = np.zeros((6, 1), np.int8)
    benchmark = Benchmark("d", ids, ("p", "p", "q", "q", "r", "s"), ids, ("x",), labels)
    names = ("train", "test", "train", "validation", "train", "test")
    safe = splits.patient_safe(splits.SplitBenchmark(benchmark, names, ""))
    assert safe.benchmark.record_ids == ("b", "d", "e", "f")
    assert safe.splits == ("test", "validation", "train", "test")
