"""Label sets equal the released benchmark files cell by cell, and say where those are wrong."""

from __future__ import annotations

import csv
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supreme import config
from supreme.records import open_source
from supreme.records.label_sets import LabelSet, label_sets, published, unmapped

pytestmark = pytest.mark.unit

SPLITS = ("train", "val", "test")
#: Columns of the released CSN files that a substring test made wrong.
WRONG = {"VB", "AVB", "ST", "AF", "SA", "CR", "2AVB"}
#: 1.0.3 gave these recordings other codes, from the duplicates that it removed ("consensus label").
RELABELLED = {1371, 3796, 3797, 3799, 3802, 7778, 7783, 9822, 9824, 13803}


def _set(kind: str, name: str) -> LabelSet:
    (found,) = (labels for labels in label_sets(kind) if labels.name == name)
    return found


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with open(path, newline="", encoding="utf-8-sig") as stream:
        yield from csv.DictReader(stream)


def _released(folder: Path, stem: str) -> dict[str, list[dict[str, str]]]:
    return {split: list(_rows(folder / f"{stem}_{split}.csv")) for split in SPLITS}


def _positive(row: dict[str, str], columns: set[str]) -> set[str]:
    return {column for column in columns if row[column] == "1"}


# --- what a set says


def test_the_sets_have_the_sizes_that_are_reported():
    sizes = {one.name: len(one.columns) for one in published()}
    levels = {"superclass": 5, "subclass": 23, "diagnostic": 44, "form": 19, "rhythm": 12, "all": 71}
    expected = {f"ptbxl-{level}": size for level, size in levels.items()}
    assert sizes == expected | {
        **{"csn": 55, "csn-legacy": 38, "csn-corrected": 38, "cpsc2018": 9},
        **{"code15": 6, "code15-chagas": 1, "cinc2021": 26},
    }
    assert label_sets("mimic_iv_ecg") == []


def test_columns_come_in_the_order_of_the_set_and_codes_of_one_column_count_once():
    levels = {
        labels.name: labels.of(["SR", "3AVB", "1AVB", "NORM", "NORM"]) for labels in label_sets("ptbxl")
    }
    assert levels == {
        "ptbxl-superclass": ["NORM", "CD"],
        "ptbxl-subclass": ["NORM", "AVB"],
        "ptbxl-diagnostic": ["NORM", "1AVB", "3AVB"],
        "ptbxl-form": [],
        "ptbxl-rhythm": ["SR"],
        "ptbxl-all": ["NORM", "1AVB", "3AVB", "SR"],
    }


def test_codes_without_a_column_are_named_in_their_order():
    assert unmapped("csn", ["55827005", "426783006", "106068003"]) == ["55827005", "106068003"]
    assert unmapped("ptbxl", ["SR", "ABQRS", "NORM"]) == []
    assert unmapped("georgia", ["1"]) == unmapped("cinc2021", ["426783006"]) == []


def test_sinus_bradycardia_and_low_voltage_are_in_the_corrected_set_only():
    codes = ["426177001", "251146004"]
    assert _set("csn", "csn").of(codes) == ["LVQRSAL", "SB"]
    assert _set("csn", "csn-legacy").of(codes) == ["SA"]  # "LVQRSAL" holds "SA"


@given(st.lists(st.sampled_from(sorted(_set("csn", "csn").columns)), unique=True))
@settings(max_examples=50)
def test_the_legacy_columns_are_a_substring_test_on_the_names(names):
    exact, legacy = _set("csn", "csn"), _set("csn", "csn-legacy")
    codes = [code for name in names for code in exact.columns[name]]
    assert legacy.of(codes) == [column for column in legacy.columns if column in ",".join(names)]
    shared = set(exact.of(codes)) & set(legacy.columns)
    assert set(legacy.of(codes)) - shared <= WRONG
    assert shared <= set(legacy.of(codes))


def test_seven_legacy_columns_differ():
    exact, legacy = _set("csn", "csn").columns, _set("csn", "csn-legacy").columns
    assert {column for column, codes in legacy.items() if exact[column] != codes} == WRONG


# --- the data sets' own definitions


@pytest.mark.real
def test_ptbxl_levels_are_those_of_its_statements(realdata):
    statements = {row[""]: row for row in _rows(realdata / "ptb-xl" / "scp_statements.csv")}
    diagnostic = {code: row for code, row in statements.items() if row["diagnostic"]}
    columns = {
        "ptbxl-superclass": {code: row["diagnostic_class"] for code, row in diagnostic.items()},
        "ptbxl-subclass": {code: row["diagnostic_subclass"] for code, row in diagnostic.items()},
        "ptbxl-diagnostic": {code: code for code in diagnostic},
        "ptbxl-form": {code: code for code, row in statements.items() if row["form"]},
        "ptbxl-rhythm": {code: code for code, row in statements.items() if row["rhythm"]},
        "ptbxl-all": {code: code for code in statements},
    }
    for code in statements:
        assert {one.name: one.of([code]) for one in label_sets("ptbxl")} == {
            name: [by_code[code].strip("_")] if code in by_code else [] for name, by_code in columns.items()
        }
        assert unmapped("ptbxl", [code]) == []


@pytest.mark.real
def test_csn_columns_are_its_own_names(realdata):
    names: dict[str, str] = {}
    for row in _rows(realdata / "ecg-arrhythmia" / "ConditionNames_SNOMED-CT.csv"):
        names.setdefault(row["Snomed_CT"], row["AcronymName"])
    assert {name: {code} for code, name in names.items()} == _set("csn", "csn").columns


# --- the released files


@pytest.mark.real
def test_ptbxl_labels_equal_the_released_files_but_where_1_0_3_has_other_codes(realdata, tmp_path):
    shutil.copy(realdata / "ptb-xl" / "ptbxl_database_full.csv", tmp_path / "ptbxl_database.csv")
    (tmp_path / "records500").mkdir()
    source = open_source(config.Source(kind="ptbxl", uri=str(tmp_path)), 0, 100)
    codes = {int(entry.record_id.rpartition("/")[2]): entry.codes for entry in source.index()}
    folds = {int(row["ecg_id"]): int(row["strat_fold"]) for row in _rows(tmp_path / "ptbxl_database.csv")}
    assert len(codes) == 21_837
    seen, changed, absent, sizes = set[int](), set[int](), set[int](), {}
    for level in ("super_class", "sub_class", "form", "rhythm"):
        labels = _set("ptbxl", f"ptbxl-{level.replace('_', '')}")
        released = _released(realdata / "benchmark_splits_merl" / "ptbxl" / level, f"ptbxl_{level}")
        sizes[level] = {split: len(rows) for split, rows in released.items()}
        theirs = {}
        for split, rows in released.items():
            for row in rows:
                ecg = int(row["ecg_id"])
                theirs[ecg] = _positive(row, set(labels.columns))
                assert folds[ecg] == int(row["strat_fold"])
                assert {9: "val", 10: "test"}.get(folds[ecg], "train") == split
        ours = {ecg: columns for ecg, given in codes.items() if (columns := set(labels.of(given)))}
        changed |= {ecg for ecg, columns in theirs.items() if columns != ours.get(ecg)}
        absent |= ours.keys() - theirs.keys()
        seen |= theirs.keys()
    removed = codes.keys() - seen
    assert len(removed) == 38
    assert (changed | absent) - removed == RELABELLED
    diagnostic = {"train": 17_084, "val": 2_146, "test": 2_158}
    assert sizes == {
        "super_class": diagnostic,
        "sub_class": diagnostic,
        "form": {"train": 7_197, "val": 901, "test": 880},
        "rhythm": {"train": 16_832, "val": 2_100, "test": 2_098},
    }


@pytest.mark.real
def test_csn_legacy_columns_equal_the_released_files_and_the_exact_ones_differ_in_seven(realdata):
    exact, legacy = _set("csn", "csn"), _set("csn", "csn-legacy")
    released = _released(realdata / "benchmark_splits_merl" / "chapman", "chapman")
    differ, positives = Counter[str](), {"legacy": Counter[str](), "exact": Counter[str]()}
    for split, rows in released.items():
        for row in rows:
            names = row["diagnose"].split(",")
            codes = [code for name in names for code in exact.columns[name]]
            assert exact.of(codes) == [name for name in exact.columns if name in names]
            as_released = _positive(row, set(legacy.columns))
            assert set(legacy.of(codes)) == as_released
            corrected = set(exact.of(codes)) & set(legacy.columns)
            differ.update(as_released ^ corrected)
            if split == "test":
                positives["legacy"].update(as_released)
                positives["exact"].update(corrected)
    assert set(differ) == WRONG
    assert {column: (positives["legacy"][column], positives["exact"][column]) for column in WRONG} == {
        "VB": (169, 0),
        "AVB": (169, 39),
        "ST": (1281, 1030),
        "AF": (987, 690),
        "SA": (536, 395),
        "CR": (50, 12),
        "2AVB": (4, 3),
    }
    assert {split: len(rows) for split, rows in released.items()} == {
        "train": 16_546,
        "val": 1_860,
        "test": 4_620,
    }


@pytest.mark.real
def test_csn_records_have_the_labels_that_were_released_and_those_left_out_have_a_reason(realdata):
    folder = realdata / "ecg-arrhythmia"
    released = {
        re.sub(r".*/|\.mat", "", row["ecg_path"]): row["diagnose"].split(",")
        for rows in _released(realdata / "benchmark_splits_merl" / "chapman", "chapman").values()
        for row in rows
    }
    source = open_source(config.Source(kind="csn", uri=str(folder)), 0, 100)
    exact, legacy = _set("csn", "csn"), _set("csn", "csn-legacy")
    both = 0
    for entry in source.index():
        known = source.read(entry).entry
        header = Path(f"{entry.source_uri}.hea").read_text()
        if (names := released.get(entry.record_id.rpartition("/")[2])) is not None:
            both += 1
            assert sorted(exact.of(known.codes)) == sorted(names)
            assert unmapped("csn", known.codes) == []
        else:
            # MERL does not see "# Dx:", and drops a record for one unmapped code or for no column.
            assert "# Dx" in header or unmapped("csn", known.codes) or not legacy.of(known.codes)
    assert both == 21


@pytest.mark.real
def test_cpsc2018_classes_equal_the_released_files(realdata):
    (labels,) = label_sets("cpsc2018")
    codes = {
        row["Recording"]: [row[f"{nth}_label"] for nth in ("First", "Second", "Third")]
        for row in _rows(realdata / "cpsc2018" / "REFERENCE.csv")
    }
    released = _released(realdata / "benchmark_splits_merl" / "icbeb", "icbeb")
    assert {split: len(rows) for split, rows in released.items()} == {
        "train": 4_950,
        "val": 551,
        "test": 1_376,
    }
    for rows in released.values():
        for row in rows:
            assert set(labels.of(codes[row["filename"]])) == _positive(row, set(labels.columns))
