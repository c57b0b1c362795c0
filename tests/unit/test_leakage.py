"""The leakage audit finds what was planted, and counts it as a plain loop does."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from itertools import combinations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supreme.shards import leakage
from supreme.shards.result import SharedReports

pytestmark = pytest.mark.unit

_ROWS = st.lists(
    st.tuples(
        st.sampled_from(["p1", "p2", "p3", "p4"]),
        st.sampled_from(["train", "validation", "test"]),
        st.sampled_from(["aa", "bb", "cc", "dd", "ee"]),
        st.sampled_from(["", "sinus rhythm", "atrial fibrillation"]),
    ),
    max_size=12,
)


def _table(rows: list[tuple[str, str, str, str]], dataset: str = "set") -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [()] * 4
    ids = [f"{dataset}/{number:03d}" for number in range(len(rows))]
    columns[2] = [hashlib.sha256(name.encode()).hexdigest()[:32] for name in columns[2]]
    arrays = [pa.array(values, pa.string()) for values in (ids, *columns)]
    return pa.table(dict(zip(leakage.COLUMNS, arrays, strict=True)))


def _sharing(rows: list[tuple[str, str, str, str]], key: int, *, differing: int | None = None) -> int:
    """Records whose ``key`` another record has, in groups that hold several values of ``differing``."""
    groups = defaultdict(list)
    for row in rows:
        groups[row[key]].append(row)
    many = [group for group in groups.values() if len(group) > 1]
    return sum(len(g) for g in many if differing is None or len({row[differing] for row in g}) > 1)


@settings(max_examples=60, deadline=None)
@given(_ROWS)
def test_within_counts_like_a_plain_loop(rows: list[tuple[str, str, str, str]]) -> None:
    found = leakage.within(_table(rows))
    splits = defaultdict(set)
    for patient, split, _, _ in rows:
        splits[patient].add(split)
    written = [row for row in rows if row[3]]
    assert found.patients_across_splits == sum(len(seen) > 1 for seen in splits.values())
    signals = found.same_recording
    assert signals.records == _sharing(rows, 2)
    assert signals.records_across_splits == _sharing(rows, 2, differing=1)
    assert signals.records_of_several_patients == _sharing(rows, 2, differing=0)
    assert found.reports == SharedReports(
        records=len(written),
        distinct=len({row[3] for row in written}),
        records_sharing=_sharing(written, 3),
        records_sharing_across_splits=_sharing(written, 3, differing=1),
    )


def test_examples_name_the_records() -> None:
    rows = [("p1", "train", "aa", ""), ("p2", "test", "aa", ""), ("p3", "train", "bb", "")]
    assert leakage.within(_table(rows)).same_recording.examples == [["set/000", "set/001"]]


@settings(max_examples=40, deadline=None)
@given(_ROWS, _ROWS, _ROWS)
def test_across_counts_like_a_plain_loop(
    one: list[tuple[str, str, str, str]],
    two: list[tuple[str, str, str, str]],
    three: list[tuple[str, str, str, str]],
) -> None:
    parts = (one, two, three)
    datasets = {name: _table(rows, name) for name, rows in zip("abc", parts, strict=True)}
    found = {row.datasets: row for row in leakage.across(datasets)}
    for (name, first), (other_name, second) in combinations(zip("abc", parts, strict=True), 2):
        common = {row[2] for row in first} & {row[2] for row in second}
        crossing = {a[2] for a in first for b in second if a[2] == b[2] and {a[1], b[1]} == {"train", "test"}}
        if not common:
            assert (name, other_name) not in found
            continue
        row = found[name, other_name]
        assert (row.recordings, row.train_and_test) == (len(common), len(crossing))
        for here, there in row.examples:
            assert here.startswith(f"{name}/")
            assert there.startswith(f"{other_name}/")
