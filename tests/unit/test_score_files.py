"""Scores that another program wrote: what is read, and what is refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supreme.config import ConfigError
from supreme.evaluation import benchmarks, summary
from supreme.evaluation.benchmarks import Benchmark
from supreme.evaluation.score_files import Scores, align, read_scores, score_columns

pytestmark = pytest.mark.unit

finite = st.floats(allow_nan=False, allow_infinity=False, width=64)


def write(file: Path, text: str | bytes) -> str:
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(file)


def scores(n: int = 5, classes: tuple[str, ...] = ("AF", "SB"), seed: int = 0) -> Scores:
    values = np.random.default_rng(seed).random((n, len(classes)))
    return Scores("s", tuple(f"d/{i}" for i in range(n)), classes, values)


@given(
    st.lists(st.lists(finite, min_size=2, max_size=2), min_size=1, max_size=20),
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from(["", "\ufeff", "\n", "\ufeff\r\n \n"]),
    st.sampled_from(["\n", "\r\n"]),
)
@settings(max_examples=60, deadline=None)
def test_csv_and_parquet_give_the_same_bits(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[float]], mark: str, start: str, end: str
) -> None:
    folder = tmp_path_factory.mktemp("scores")
    values = np.array(rows)
    ids = [f"ptb-xl/{i:05d}" for i in range(len(rows))]
    lines = [mark.join(["AF", "record_id", "SB"])]
    lines += [mark.join([repr(a), name, f" {b!r}"]) for name, (a, b) in zip(ids, rows, strict=True)]
    csv = write(folder / "s.csv", start + end.join(lines) + end)
    table = pa.table({"AF": values[:, 0], "record_id": ids, "SB": values[:, 1]})
    pq.write_table(table, folder / "s.parquet")
    for uri in (csv, str(folder / "s.parquet")):
        read = read_scores(uri)
        assert read.record_ids == tuple(ids)
        assert read.classes == ("AF", "SB")
        assert read.values.tobytes() == values.tobytes()
    assert read_scores(csv, ["SB"]).values.tobytes() == values[:, 1:].copy().tobytes()


def test_many_rows_in_small_pieces_and_only_some_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from supreme.evaluation import record_tables

    monkeypatch.setattr(record_tables, "_BATCH_ROWS", 100)
    monkeypatch.setattr(record_tables, "_BLOCK_BYTES", 2000)
    source = scores(1234)
    pq.write_table(source.table(), tmp_path / "s.parquet", row_group_size=300)
    lines = [f"{r},{a!r},{b!r}" for r, (a, b) in zip(source.record_ids, source.values.tolist(), strict=True)]
    write(tmp_path / "s.csv", "\n".join(["record_id,AF,SB", *lines]))
    only = [f"d/{i}" for i in range(0, 1234, 7)]
    for name in ("s.parquet", "s.csv"):
        read = read_scores(str(tmp_path / name), record_ids=only)
        assert read.record_ids == tuple(only)
        assert np.array_equal(read.values, source.values[::7])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty: write it again"),
        ("\ufeff\n  \n", "is empty: write it again"),
        ("record_id,AF\n", "has no row"),
        ("record_id,AF\na,0.1\nb,0.2\na,0.3\n", "record 'a' is there twice (row 3)"),
        ("record_id,AF\na,0.1\n,0.2\n", "row 2 has no record_id"),
        ("record_id,AF\na,0.1\nb,\n", "column 'AF' is empty for record 'b': give a number"),
        ("record_id,AF\na,0.1\nb,high\n", "column 'AF' holds the text 'high' for record 'b': write numbers"),
        ('record_id;AF\na;0.1\nb;"0,7"\n', "column 'AF' holds the text '0,7' for record 'b'"),
        ("record_id,AF\na,0.1\nb,nan\n", "column 'AF' holds nan for record 'b'"),
        ("record_id,AF\na,-inf\nb,1\n", "column 'AF' holds -inf for record 'a'"),
        ("record_id,AF\na,0.1\nb,0.2,0.3\n", "row 2 has not 2 cells"),
        ("record_id,AF,AF\na,0.1,0.2\n", "two columns are called 'AF'"),
        ("id,AF\na,0.1\n", "no column 'record_id'"),
        ("Record-ID,AF\na,0.1\n", "no column 'record_id': rename the column"),
        ("record_id\na\n", "no column beside 'record_id'"),
        (b"record_id,A\xff\na,0.1\n", "the header is not UTF-8"),
        (b"record_id,AF\n\xe4,0.1\n", "is damaged or of another format"),
    ],
)
def test_a_wrong_csv_is_refused_by_name(tmp_path: Path, text: str | bytes, problem: str) -> None:
    uri = write(tmp_path / "s.csv", text)
    with pytest.raises(ConfigError) as error:
        read_scores(uri)
    assert problem in str(error.value)
    assert uri in str(error.value)


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"record_id": ["a", "b"], "AF": [0.1, None]}, "column 'AF' is empty for record 'b'"),
        ({"record_id": ["a", "b"], "AF": [0.1, float("nan")]}, "column 'AF' holds nan for record 'b'"),
        ({"record_id": ["a", "b"], "AF": [[0.1], [0.2]]}, "column 'AF' is of type list"),
        ({"record_id": [1.5, 2.5], "AF": [0.1, 0.2]}, "column 'record_id' is of type double"),
        ({"record_id": ["a", None], "AF": [0.1, 0.2]}, "row 2 has no record_id"),
        ({"record_id": [7, 7], "AF": [0.1, 0.2]}, "record '7' is there twice"),
    ],
)
def test_a_wrong_parquet_is_refused_by_name(tmp_path: Path, columns: dict, problem: str) -> None:
    pq.write_table(pa.table(columns), tmp_path / "s.parquet")
    with pytest.raises(ConfigError) as error:
        read_scores(str(tmp_path / "s.parquet"))
    assert problem in str(error.value)


def test_damage_and_absence_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"s.csv: not found"):
        read_scores(str(tmp_path / "s.csv"))
    uri = write(tmp_path / "s.parquet", b"PAR1 and then nothing")
    with pytest.raises(ConfigError, match=r"s.parquet is damaged or of another format"):
        read_scores(uri)


def test_a_missing_class_is_named_with_what_is_alike(tmp_path: Path) -> None:
    uri = write(tmp_path / "s.csv", "record_id,LBBB_,RBBB\na,1,2\n")
    assert score_columns(uri) == ("LBBB_", "RBBB")
    with pytest.raises(ConfigError, match=r"no column 'LBBB' \(1 of 2 classes .* 'LBBB_' may be 'LBBB'"):
        read_scores(uri, ["LBBB", "RBBB"])


def test_constant_scores_and_such_that_are_no_probabilities_are_flagged(tmp_path: Path) -> None:
    uri = write(tmp_path / "s.csv", "record_id,A,B,C\na,0.5,-3,0\nb,0.5,4,1\n")
    read = read_scores(uri)
    assert read.constant == ("A",)
    assert read.no_probabilities == ("B",)


def benchmark(record_ids: tuple[str, ...], classes: tuple[str, ...]) -> Benchmark:
    labels = np.random.default_rng(1).integers(0, 2, (len(record_ids), len(classes))).astype(np.int8)
    return Benchmark("b", record_ids, record_ids, record_ids, classes, labels)


def test_scores_written_and_read_back_are_those_of_the_summary(tmp_path: Path) -> None:
    source = scores(40)
    table = source.table().set_column(1, "AF", pa.array(source.values[:, 0].astype(np.float32)))
    pq.write_table(table, tmp_path / "s.parquet")
    b = benchmark(tuple(reversed(source.record_ids)), ("SB", "AF"))
    expected = summary.matrix([table], b)
    read = align(read_scores(str(tmp_path / "s.parquet"), b.classes, b.record_ids), b.record_ids, b.dataset)
    assert read.record_ids == b.record_ids
    assert np.array_equal(read.values, expected)
    assert np.array_equal(summary.matrix([read.table()], b), expected)
    assert benchmarks.POSITIVE in b.labels


def test_records_without_a_score_are_refused_and_others_left_out() -> None:
    source = scores(3)
    assert align(source, ["d/2", "d/0"], "b").values.tolist() == source.values[[2, 0]].tolist()
    with pytest.raises(ConfigError, match=r"no row for 1 of 2 records of ptbxl, first 'd/9': score every"):
        align(source, ["d/0", "d/9"], "ptbxl")
    with pytest.raises(ConfigError, match=r"2 of 2 records of ptbxl, first '0'; ids there look like 'd/0'"):
        align(source, ["0", "1"], "ptbxl")
