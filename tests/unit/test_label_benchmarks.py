"""Benchmarks of label sets: rules of annotation, unknown codes, own labels and own files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supreme.config import ConfigError
from supreme.evaluation import label_benchmarks
from supreme.evaluation.benchmarks import Benchmark
from supreme.records import label_sets
from supreme.records.label_sets import LabelSet, label_set, published

pytestmark = pytest.mark.unit

#: Name and version -> digest. Another digest needs another version: results of both are not comparable.
GOLDEN = {
    ("ptbxl-superclass", "1"): "0a4a0739419e",
    ("ptbxl-subclass", "1"): "56a3a8a8d38a",
    ("ptbxl-diagnostic", "1"): "202e0ffe6bbe",
    ("ptbxl-form", "1"): "fc26f5b95224",
    ("ptbxl-rhythm", "1"): "878365eb1fb9",
    ("ptbxl-all", "1"): "b6369b9566d4",
    ("csn", "1"): "f7d713c322d3",
    ("csn-legacy", "1"): "dc27d30c761e",
    ("csn-corrected", "1"): "c7c1a1547d39",
    ("cpsc2018", "1"): "b0894915d30b",
    ("code15", "1"): "e28564f6bd5a",
    ("code15-chagas", "1"): "eaa7bdd5d41a",
    ("cinc2021", "1"): "8ffb83aedc18",
}
OWN = LabelSet("own", "", {"AF": frozenset({"I48.0", "I48.1"}), "MI": frozenset({"I21"})}, datasets=("ward",))


def _table(**codes_of: list[str]) -> pa.Table:
    codes = pa.array(list(codes_of.values()), pa.list_(pa.string()))
    ids = [f"d/{name}" for name in codes_of]
    return pa.table({"record_id": ids, "patient_id": [f"d/p{name[-1]}" for name in codes_of], "codes": codes})


def _positive(benchmark: Benchmark) -> dict[str, list[str]]:
    return {
        record: [name for name, label in zip(benchmark.classes, labels, strict=True) if label == 1]
        for record, labels in zip(benchmark.record_ids, benchmark.labels, strict=True)
    }


def test_a_published_set_has_another_version_when_it_changes():
    digests = {}
    for labels in published():
        content = [
            {column: sorted(codes) for column, codes in labels.columns.items()},
            *(sorted(codes) for codes in (labels.negative, labels.annotated_if)),
            labels.all_mapped,
        ]
        text = json.dumps(content)  # the order of the columns counts
        digests[labels.name, labels.version] = hashlib.sha256(text.encode()).hexdigest()[:12]
    assert digests == GOLDEN


def test_a_record_without_a_statement_of_its_level_is_left_out_and_counted():
    table = _table(a=["NORM", "SR"], b=["SR"], c=["ABQRS", "XYZ"], d=[])
    every = label_benchmarks.all_benchmarks("p", "ptbxl", table)
    assert _positive(every["ptbxl-superclass"]) == {"d/a": ["NORM"]}
    assert _positive(every["ptbxl-form"]) == {"d/c": ["ABQRS"]}
    assert _positive(every["ptbxl-rhythm"]) == {"d/a": ["SR"], "d/b": ["SR"]}
    assert every["ptbxl-all"].unannotated == 1
    assert {name: one.unannotated for name, one in every.items() if name.endswith("class")} == {
        "ptbxl-superclass": 3,
        "ptbxl-subclass": 3,
    }
    assert {tuple(one.unknown_codes.items()) for one in every.values()} == {(("XYZ", 1),)}


def test_a_csn_record_with_one_unmapped_code_is_dropped_in_merls_set_and_counted_everywhere():
    normal, unmapped, bradycardia, preexcitation = "426783006", "55827005", "426177001", "195060002"
    table = _table(a=[normal], b=[normal, unmapped], c=[bradycardia], d=[bradycardia, preexcitation])
    every = label_benchmarks.all_benchmarks("csn", "csn", table)
    assert _positive(every["csn"]) == {"d/a": ["SR"], "d/b": ["SR"], "d/c": ["SB"], "d/d": ["VPE", "SB"]}
    assert _positive(every["csn-legacy"]) == _positive(every["csn-corrected"]) == {"d/a": ["SR"], "d/d": []}
    assert every["csn-legacy"].unknown_codes == every["csn"].unknown_codes == {unmapped: 1}
    assert every["csn-legacy"].unannotated == 2


def test_what_is_not_annotated_in_code15_is_no_negative():
    table = _table(a=["AF", "abnormal_ecg", "no_chagas"], b=["chagas"], c=["normal_ecg"])
    every = label_benchmarks.all_benchmarks("code15", "code15", table)
    assert _positive(every["code15"]) == {"d/a": ["AF"], "d/c": []}
    assert _positive(every["code15-chagas"]) == {"d/a": [], "d/b": ["chagas"]}
    assert every["code15"].unknown_codes == {}


def test_the_challenge_counts_four_pairs_of_codes_as_one_and_its_unscored_ones_are_negative():
    table = _table(a=["713427006"], b=["59118001", "427172004"], c=["164951009"], d=["999"])
    challenge = label_benchmarks.all_benchmarks("georgia", "cinc2021", table)["cinc2021"]
    assert _positive(challenge) == {"d/a": ["RBBB"], "d/b": ["RBBB", "PVC"], "d/c": []}
    assert challenge.unknown_codes == {"999": 1}


def test_each_label_of_ones_own_folder_is_a_class_and_no_label_is_not_annotated():
    table = _table(a1=["AF", "LBBB"], b1=["LBBB"], c2=[])
    (labels,) = label_benchmarks.all_benchmarks("ward", "wfdb_folder", table).values()
    assert (labels.name, labels.classes, labels.unannotated) == ("labels", ("AF", "LBBB"), 1)
    assert labels.labels.tolist() == [[1, 1], [0, 1]]
    assert [labels.positives(1), labels.patients_with(1, 1)] == [2, 1]
    assert label_benchmarks.all_benchmarks("ward", "wfdb_folder", _table(a=[], b=[])) == {}
    many = _table(a=[f"text {n}" for n in range(5001)])
    with pytest.raises(ConfigError, match=r"ward: 5,001 different labels.*evaluation\.benchmarks"):
        label_benchmarks.all_benchmarks("ward", "wfdb_folder", many)


def test_codes_in_no_column_of_ones_own_set_are_counted():
    table = _table(a=["I48.1", "Z00"], b=["Z00"], c=["I21", "I10", "I10"])
    own = label_benchmarks.all_benchmarks("ward", "wfdb_folder", table, [OWN])["own"]
    assert _positive(own) == {"d/a": ["AF"], "d/c": ["MI"]}
    assert own.unknown_codes == {"I10": 1, "Z00": 2}
    assert list(label_benchmarks.all_benchmarks("elsewhere", "wfdb_folder", table, [OWN])) == ["labels"]


CODES = st.lists(st.sampled_from(["NORM", "IMI", "SR", "AFIB", "NDT", "LVH", "new"]), max_size=4)


@given(st.dictionaries(st.text("abcdef", min_size=1, max_size=3), CODES, min_size=1))
@settings(max_examples=60, deadline=None)
def test_every_record_is_in_a_set_or_counted_and_every_code_is_in_a_column_known_or_counted(codes):
    for name, one in label_benchmarks.all_benchmarks("p", "ptbxl", _table(**codes)).items():
        if name == "conditions":
            continue
        labels = label_set(name)
        assert len(one.record_ids) + one.unannotated == len(codes)
        assert (one.labels >= 0).all()
        for record, row in zip(one.record_ids, one.labels, strict=True):
            of_record = codes[record.removeprefix("d/")]
            columns = {one.classes[c] for c in np.flatnonzero(row)}
            assert columns == {name for name, any_of in labels.columns.items() if any_of & set(of_record)}
        new = sum("new" in of_record for of_record in codes.values())
        assert one.unknown_codes == ({"new": new} if new else {})


# --- one's own files


def _write(folder: Path, text: str, name: str = "ward.toml") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_ones_own_file_is_read(tmp_path):
    head = 'datasets = ["w"]\nversion = 3\nnegative = ["Z00"]'
    text = f'{head}\n[columns]\nAF = [164889003, "I48"]\nMI = ["I21"]\n'
    (own,) = label_benchmarks.read_own([_write(tmp_path, text)], {"w", "v"})
    assert (own.name, own.version, own.datasets) == ("ward", "3", ("w",))
    assert own.columns == {"AF": {"164889003", "I48"}, "MI": {"I21"}}
    assert own.unknown(["Z00", "Z01"]) == ["Z01"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[columns]\nAF = ['1']", r"ward\.toml: no `datasets`"),
        ("datasets = ['w']\n[columns]\n", r"ward\.toml: columns: no column"),
        ("datasets = ['w']\n[columns]\nAF = []", r"ward\.toml: columns: 'AF' has no code"),
        ("datasets = ['w']\n[columns]\nrecord_id = ['1']", r"a column cannot be called 'record_id'"),
        ("datasets = ['w']\nclasses = 1\n[columns]\nAF = ['1']", r"ward\.toml: classes: unknown key"),
        ("datasets = ['w']\n[columns\n", r"ward\.toml: no valid TOML"),
        ("datasets = ['ward 8']\n[columns]\nAF = ['1']", r"ward\.toml describes 'ward 8'; .* here are v, w"),
    ],
)
def test_a_broken_file_is_refused_by_name(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        label_benchmarks.read_own([_write(tmp_path, text)], {"w", "v"})


def test_two_benchmarks_of_one_name_are_refused(tmp_path):
    text = "datasets = ['w']\n[columns]\nAF = ['1']"
    (tmp_path / "other").mkdir()
    both = [_write(tmp_path, text), _write(tmp_path / "other", text)]
    with pytest.raises(ConfigError, match="another benchmark is called 'ward'"):
        label_benchmarks.read_own(both, {"w"})
    for name in ("csn", "conditions"):
        with pytest.raises(ConfigError, match=name):
            label_benchmarks.read_own([_write(tmp_path, text, f"{name}.toml")], {"w"})
    with pytest.raises(ConfigError, match=r"absent\.toml: not found"):
        label_sets.read(str(tmp_path / "absent.toml"))
