"""Protocols: what is cropped, which benchmarks and classes count, and the mean over six sets."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from supreme.config import ConfigError
from supreme.evaluation import label_benchmarks, protocols
from supreme.evaluation.benchmarks import Benchmark
from supreme.evaluation.protocols import Protocol
from supreme.records.label_sets import label_set

pytestmark = pytest.mark.unit

MERL, CORRECTED, STRICT = protocols.protocols(["merl", "merl-corrected", "strict"])
SIX = ("ptbxl-superclass", "ptbxl-subclass", "ptbxl-form", "ptbxl-rhythm", "cpsc2018", "csn-legacy")


def test_merl_scores_its_six_sets_of_106_columns_or_127_with_44_statements():
    assert MERL.means["six sets"] == SIX
    sizes = [sum(len(label_set(name).columns) for name in sets) for sets in MERL.means.values()]
    assert sizes == [106, 127]
    assert protocols.benchmarks_of(MERL, "csn") == ["csn-legacy"]
    assert protocols.benchmarks_of(CORRECTED, "csn") == ["csn-corrected"]
    assert protocols.benchmarks_of(STRICT, "csn") == ["csn-corrected", "csn"]
    assert protocols.benchmarks_of(STRICT, "code15") == ["code15", "code15-chagas"]
    assert protocols.benchmarks_of(MERL, "mimic_iv_ecg") == []
    assert (MERL.f1_name, STRICT.f1_name) == (
        "F1 at the test split's best threshold",
        "F1 at the validation split's best threshold",
    )
    only_names = {"name", "title", "source", "label_sets", "means"}
    assert MERL.model_dump(exclude=only_names) == CORRECTED.model_dump(exclude=only_names)


@given(
    st.sampled_from(["ptbxl", "cpsc2018", "csn"]),
    st.integers(1000, 40_000),
    st.sampled_from([np.float32, np.int16]),
)
@settings(max_examples=40, deadline=None)
def test_merl_takes_5000_samples_and_2500_of_cpsc2018(kind, samples, dtype):
    signal = np.arange(1, 2 * samples + 1).reshape(2, samples).astype(dtype)
    ours = protocols.crop(MERL, kind, signal, 500)
    theirs = np.zeros((2, 5000), dtype)
    first = min(samples, 2500 if kind == "cpsc2018" else 5000)
    theirs[:, :first] = signal[:, :first]
    assert ours.dtype == dtype
    np.testing.assert_array_equal(ours, theirs)
    at_100_hz = protocols.crop(MERL, kind, signal, 100)
    assert at_100_hz.shape == (2, 1000)
    whole = protocols.crop(STRICT, kind, signal, 500)
    np.testing.assert_array_equal(whole, signal[:, :30_000])


def _table(**rows: tuple[list[str], str, int | None]) -> pa.Table:
    codes, patients, folds = zip(*rows.values(), strict=True)
    ids = [f"ptbxl/{name}" for name in rows]
    return pa.table(
        {"record_id": ids, "patient_id": patients, "codes": codes, "split": ["train"] * len(ids)}
        | {"fold": pa.array(folds, pa.int32())}
    )


def test_strict_keeps_patients_in_one_split_and_evaluates_conditions_too():
    table = _table(
        **{
            "1": (["NORM", "SR"], "a", 1),
            "2": (["NORM"], "a", 10),
            "3": (["IMI"], "b", 9),
            "4": (["SR"], "c", 2),
        }
    )
    every = label_benchmarks.all_benchmarks("ptbxl", "ptbxl", table)
    strict = {one.benchmark.name: one for one in protocols.split_benchmarks(STRICT, every, "ptbxl", table)}
    published = protocols.benchmarks_of(STRICT, "ptbxl")
    assert list(strict) == [*(name for name in published if name != "ptbxl-form"), "conditions"]
    assert strict["ptbxl-superclass"].benchmark.record_ids == ("ptbxl/2", "ptbxl/3")
    assert strict["ptbxl-superclass"].splits == ("test", "validation")
    merl = {one.benchmark.name: one for one in protocols.split_benchmarks(MERL, every, "ptbxl", table)}
    assert merl["ptbxl-superclass"].splits == ("train", "test", "validation")
    assert merl["ptbxl-superclass"].split_patients == 1
    assert "conditions" not in merl


def test_classes_count_by_patients_in_strict_and_by_records_in_merl():
    columns = {"ten patients": range(10), "nine": range(9), "one patient": [20] * 12, "all": range(40)}
    patients = [*range(40), *[20] * 12]
    labels = np.zeros((len(patients), 4), np.int8)
    for c, positive in enumerate(columns.values()):
        labels[np.isin(patients, list(positive)), c] = 1
    ids = tuple(map(str, range(len(patients))))
    benchmark = Benchmark("d", ids, tuple(map(str, patients)), ids, tuple(columns), labels)
    assert protocols.counted_classes(STRICT, benchmark).tolist() == [True, False, False, False]
    assert protocols.counted_classes(MERL, benchmark).tolist() == [True, True, True, False]
    benchmark.labels[:31, 0] = -1
    assert not protocols.counted_classes(MERL, benchmark)[0]


@given(st.lists(st.floats(0, 1), min_size=6, max_size=6))
def test_the_headline_is_the_plain_mean_of_six_sets_and_nothing_where_one_is_missing(values):
    macros = dict(zip(SIX, values, strict=True))
    six, with_statements = protocols.means(MERL, macros)
    assert six.value == pytest.approx(np.mean(values), abs=1e-12)
    assert six.missing == ()
    assert with_statements.value is None
    assert with_statements.missing == ("ptbxl-diagnostic",)
    for nothing in (None, math.nan):
        assert protocols.means(MERL, macros | {"cpsc2018": nothing})[0].missing == ("cpsc2018",)


def test_an_unknown_protocol_is_named_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"no protocol 'melr': choose from merl, merl-corrected, strict"):
        protocols.protocols(["merl", "melr"])
    with pytest.raises(ConfigError, match=r"evaluation.protocols is empty"):
        protocols.protocols([])
    with pytest.raises(ValidationError, match="no label set 'csn-new'"):
        Protocol(**(MERL.model_dump() | {"label_sets": ("csn-new",)}))
