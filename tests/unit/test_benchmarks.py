"""From codes to conditions: codes exist in their scheme, unknown is never negative, duplicates count once."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from supreme.evaluation import benchmarks
from supreme.evaluation.benchmarks import NEGATIVE, POSITIVE, UNKNOWN, Benchmark
from supreme.records import recordings

pytestmark = pytest.mark.unit

SCHEMES = ("scp", "snomed", "cpsc2018", "snomed_cpsc")


def shard_table(**codes_of: list[str]) -> pa.Table:
    ids = list(codes_of)
    return pa.table(
        {"record_id": [f"d/{i}" for i in ids], "patient_id": ids, "codes": list(codes_of.values())},
        schema=pa.schema(
            [("record_id", pa.string()), ("patient_id", pa.string()), ("codes", pa.list_(pa.string()))]
        ),
    )


def label(bench: Benchmark, record: str, condition: str) -> int:
    row = bench.record_ids.index(f"d/{record}")
    return int(bench.labels[row, bench.classes.index(condition)])


def test_what_a_set_annotates_has_codes_in_its_scheme() -> None:
    data = benchmarks.load_conditions()
    for name, group in data.sets.items():
        assert group.scheme in SCHEMES
        assert group.annotates <= data.conditions.keys(), name
        assert name in recordings.collections()
        for condition in group.annotates:
            assert getattr(data.conditions[condition], group.scheme), f"{name} annotates {condition}"


def test_every_condition_is_annotated_somewhere_and_no_code_contradicts_itself() -> None:
    data = benchmarks.load_conditions()
    assert set(data.conditions) == set().union(*(group.annotates for group in data.sets.values()))
    for name, condition in data.conditions.items():
        for scheme in SCHEMES:
            positive = getattr(condition, scheme)
            assert not positive & getattr(condition.unknown_if, scheme), name
            assert not positive & getattr(condition.negative_if, scheme), name


def test_an_scp_record() -> None:
    bench = benchmarks.benchmark("p", "ptbxl", shard_table(a=["ASMI", "SR"], b=["LVH"], c=["NORM", "SR"]))
    assert label(bench, "a", "anteroseptal_infarction") == POSITIVE
    assert label(bench, "a", "anterior_infarction") == POSITIVE
    assert label(bench, "a", "myocardial_infarction") == POSITIVE
    assert label(bench, "a", "inferior_infarction") == NEGATIVE
    assert label(bench, "a", "abnormal_q_wave") == UNKNOWN
    assert label(bench, "b", "high_qrs_voltage") == UNKNOWN
    assert label(bench, "c", "normal_ecg") == POSITIVE
    assert "left_axis_deviation" not in bench.classes


def test_sinus_rhythm_is_negative_only_beside_another_rhythm() -> None:
    table = shard_table(a=["SR"], b=["AFIB"], c=["SBRAD"], d=["LVH"])
    bench = benchmarks.benchmark("p", "ptbxl", table)
    labels = [label(bench, record, "sinus_rhythm") for record in "abcd"]
    assert labels == [POSITIVE, NEGATIVE, UNKNOWN, UNKNOWN]
    literal = benchmarks.benchmark("p", "ptbxl", table, literal=True)
    assert [label(literal, record, "sinus_rhythm") for record in "abcd"] == [POSITIVE, 0, 0, 0]


def test_nine_classes_give_no_negatives_for_others() -> None:
    bench = benchmarks.benchmark("c", "cpsc2018", shard_table(A0001=["5"], A0002=["1"]))
    assert len(bench.classes) == 9
    assert label(bench, "A0001", "right_bundle_branch_block") == POSITIVE
    assert label(bench, "A0002", "right_bundle_branch_block") == NEGATIVE
    assert "left_anterior_fascicular_block" not in bench.classes


def test_the_same_code_means_normal_in_one_set_and_sinus_rhythm_in_another() -> None:
    table = shard_table(A0002=["426783006"], JS00005=["426783006"])
    bench = benchmarks.benchmark("c", "cinc2021", table)
    assert label(bench, "A0002", "normal_ecg") == POSITIVE
    assert label(bench, "A0002", "sinus_rhythm") == UNKNOWN
    assert label(bench, "JS00005", "sinus_rhythm") == POSITIVE
    assert label(bench, "JS00005", "normal_ecg") == UNKNOWN


@pytest.mark.parametrize(
    ("record", "group"),
    [
        ("JS00001", "chapman_shaoxing"),
        ("JS10646", "chapman_shaoxing"),
        ("JS10647", "ningbo"),
        ("JS45551", "ningbo"),
    ],
)
def test_the_two_hospitals_of_csn_are_told_apart(record: str, group: str) -> None:
    bench = benchmarks.benchmark("csn", "csn", shard_table(**{record: ["164890007"]}))
    assert bench.recordings[0] == f"{group}:{int(record[2:])}"
    assert ("atrial_flutter" in bench.classes) == (group == "chapman_shaoxing")


def test_a_record_of_no_known_set_is_not_annotated() -> None:
    bench = benchmarks.benchmark("c", "cinc2021", shard_table(I0001=["164889003"], E00001=[]))
    assert (bench.labels[0] == UNKNOWN).all()
    assert (bench.labels[1] == NEGATIVE).any()


def test_codes_that_decide_on_no_condition_are_counted() -> None:
    paced, sinus, escape = "10370003", "426783006", "251187003"
    table = shard_table(JS00001=[paced, escape], JS00002=[sinus, escape, "1"])
    assert benchmarks.benchmark("csn", "csn", table).unknown_codes == {"1": 1, escape: 2}
    simulated = benchmarks.benchmark("s", "simulated", shard_table(a=["long_qt"]))
    assert simulated.unknown_codes == {}
    pooled = benchmarks.pool([benchmarks.benchmark(name, "csn", table) for name in "ab"])
    assert pooled.unknown_codes == {"1": 2, escape: 4}


def test_simulated_codes_are_the_conditions() -> None:
    bench = benchmarks.benchmark(
        "s", "simulated", shard_table(a=["long_qt"], b=[], c=["long_qt", "sinus_rhythm"])
    )
    assert bench.classes == ("long_qt", "sinus_rhythm")
    assert bench.labels.dtype == np.int8
    assert bench.labels.tolist() == [[1, 0], [0, 0], [1, 1]]


def test_a_recording_in_two_data_sets_counts_once_in_the_pool() -> None:
    first = benchmarks.benchmark("cpsc2018", "cpsc2018", shard_table(A0001=["5"], A0003=["1"]))
    second = benchmarks.benchmark("cinc", "cinc2021", shard_table(A0001=["59118001"], Q0001=["427084000"]))
    pooled = benchmarks.pool([first, second])
    assert len(pooled.record_ids) == 3
    assert pooled.positives(pooled.classes.index("right_bundle_branch_block")) == 1
    tachycardia = pooled.labels[:, pooled.classes.index("sinus_tachycardia")]
    assert sorted(tachycardia) == [UNKNOWN, UNKNOWN, POSITIVE]


def test_ptbxl_in_cinc_form_is_recognised() -> None:
    original = benchmarks.benchmark("ptbxl", "ptbxl", shard_table(**{"17": ["NORM"]}))
    copy = benchmarks.benchmark("cinc", "cinc2021", shard_table(HR00017=[], HR00018=[]))
    assert copy.without(set(original.recordings)).record_ids == ("d/HR00018",)


def test_an_empty_data_set_has_no_labels() -> None:
    for kind in ("simulated", "ptbxl", "cinc2021"):
        bench = benchmarks.benchmark("e", kind, shard_table())
        assert bench.labels.shape == (0, len(bench.classes))
    assert benchmarks.pool([]).record_ids == ()


def test_only_annotated_kinds_are_benchmarks() -> None:
    assert benchmarks.is_annotated("csn")
    assert benchmarks.is_annotated("simulated")
    assert not benchmarks.is_annotated("mimic_iv_ecg")


@pytest.mark.real
def test_counts_in_all_of_ptbxl(realdata: Path) -> None:
    with (realdata / "ptb-xl" / "ptbxl_database_full.csv").open() as lines:
        given = {row["ecg_id"]: list(_keys(row["scp_codes"])) for row in csv.DictReader(lines)}
    statements = Counter(code for codes in given.values() for code in codes)
    bench = benchmarks.benchmark("ptbxl", "ptbxl", shard_table(**given))
    positives = {name: bench.positives(c) for c, name in enumerate(bench.classes)}
    assert positives["normal_ecg"] == statements["NORM"] > 9000
    assert positives["first_degree_av_block"] >= max(statements["1AVB"], statements["LPR"])
    assert positives["inferior_infarction"] > statements["IMI"]
    assert min(positives.values()) > 10
    assert len(bench.classes) == 42


@pytest.mark.real
def test_every_snomed_code_is_listed_by_the_data_sets(realdata: Path) -> None:
    listed = {"49436004", "5370000"}  # SNOMED CT proper; the two data sets use other ids
    for name in ("cinc2021/dx_mapping_scored.csv", "cinc2021/dx_mapping_unscored.csv"):
        with (realdata / name).open(encoding="utf-8-sig") as lines:
            listed |= {row["SNOMEDCTCode"] for row in csv.DictReader(lines)}
    with (realdata / "ecg-arrhythmia/ConditionNames_SNOMED-CT.csv").open(encoding="utf-8-sig") as lines:
        listed |= {row["Snomed_CT"] for row in csv.DictReader(lines)}
    for condition in benchmarks.load_conditions().conditions.values():
        for codes in (condition, condition.unknown_if, condition.negative_if):
            assert codes.snomed <= listed
            assert codes.snomed_cpsc <= listed


def _keys(scp_codes: str) -> list[str]:
    return [part.split("'")[1] for part in scp_codes.split(",") if "'" in part]
