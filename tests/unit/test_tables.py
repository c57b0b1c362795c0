"""Tables of data sets: whatever file it is, the wanted columns as text, or an error that names the place."""

from __future__ import annotations

import contextlib
import csv
import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from supreme.config import ConfigError
from supreme.records import tables

pytestmark = pytest.mark.unit


@pytest.fixture
def write(tmp_path):
    def write(content: bytes | pa.Table) -> str:
        path = tmp_path / ("t.csv" if isinstance(content, bytes) else "t.parquet")
        path.write_bytes(content) if isinstance(content, bytes) else pq.write_table(content, path)
        return str(path)

    return write


def test_byte_order_mark_line_ends_quotes_and_blank_lines(write):
    text = '\ufeffid, report ,sex\r\n01,"a, ""b""\r\nc",F\r\n\r\n2,"",\r\n'
    table = tables.read(write(text.encode()), ("id",), ("report", "age"))
    assert table.to_pylist() == [{"id": "01", "report": 'a, "b"\r\nc'}, {"id": "2", "report": None}]


@pytest.mark.parametrize("content", [b"id,report", b"id,report\n", b"\xef\xbb\xbfid,report\r\n\r\n"])
def test_a_table_without_rows(write, content):
    table = tables.read(write(content), ("id",), ("report",))
    assert (table.num_rows, table.column_names) == (0, ["id", "report"])


def test_parquet_numbers_become_text_and_lists_are_joined(write):
    columns = {"id": [1, 2], "labels": [["a", "b"], None], "age": [56.0, None], "report": ["", "x"]}
    table = tables.read(write(pa.table(columns)), ("id",), ("labels", "age", "report"))
    assert table.to_pylist() == [
        {"id": "1", "labels": "a;b", "age": "56", "report": None},
        {"id": "2", "labels": None, "age": None, "report": "x"},
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"t\.csv is empty"),
        (b"\n", "no column 'id'; there is no other"),
        (b"ident,report\n1,x\n", "no column 'id'; nearest: 'ident'"),
        (b"NAME;REPORT\n1;x\n", "no column 'id'; its other columns: 'NAME'"),
        (b"id,id\n1,2\n", "two columns are called 'id'"),
        (b"id,reports\n1,2\n", "column 'reports' is not read: rename it to 'report'"),
        (b"id,report\n1,2\n3\n", "row 2 has not 2 cells"),
        (b"id,report\n1,2\n3,4\n5,6,7\n", "row 3 has not 2 cells"),
        (b"id,report\n1,x\n2,\xff\xfe\n3\n", "line 3 is not UTF-8"),
        (b"\xff\xfei\0d\0,\0", "line 1 is not UTF-8"),
        (b"id,report\r1,2\r", "t.csv: "),
        (pa.table({"report": ["x"]}), "no column 'id'"),
        (pa.table({"id": [[[1]]]}), "t.parquet: "),
    ],
)
def test_what_is_wrong_is_named(write, content, message):
    with pytest.raises(ConfigError, match=message):
        tables.read(write(content), ("id",), ("report",))


def test_what_calls_itself_parquet_and_is_not(tmp_path):
    (tmp_path / "t.parquet").write_bytes(b"PAR1 and then nothing of the kind")
    with pytest.raises(ConfigError, match=r"t\.parquet"):
        tables.read(str(tmp_path / "t.parquet"), ("id",))


_CELL = st.text('",;\r\n\t ab#ä', max_size=6)
_BYTES = st.binary(max_size=60) | st.text('",;\r\n\0aä', max_size=60).map(str.encode)
_SETTINGS = settings(
    max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)


@given(st.lists(st.tuples(_CELL.filter(bool), _CELL)), st.sampled_from(["\n", "\r\n"]))
@_SETTINGS
def test_what_was_written_is_read(write, rows, line_end):
    text = io.StringIO()
    csv.writer(text, lineterminator=line_end, quoting=csv.QUOTE_ALL).writerows([("id", "report"), *rows])
    table = tables.read(write(text.getvalue().encode()), ("id",), ("report",))
    assert [tuple(row.values()) for row in table.to_pylist()] == [(key, cell or None) for key, cell in rows]


def test_a_line_break_in_a_cell_at_the_end_of_a_block(write, monkeypatch):
    monkeypatch.setattr(tables, "_BLOCK_BYTES", 64)
    rows = b"".join(b'%d,"%s\nb"\n' % (number, b"a" * (number % 9)) for number in range(99))
    table = tables.read(write(b"id,report\n" + rows), ("id",), ("report",))
    assert table["id"].to_pylist() == [str(number) for number in range(99)]


@given(_BYTES)
@_SETTINGS
def test_no_csv_crashes_the_reader(write, rows):
    with contextlib.suppress(ConfigError):
        found = tables.read(write(b"id,report\n" + rows), ("id",), ("report",))
        assert found.column_names == ["id", "report"]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_separator_is_that_of_the_header(write, separator):
    rows = [("ID", "Report", "age"), ("1", "AF, LBBB; |x", "57,5")]
    text = io.StringIO()
    csv.writer(text, delimiter=separator).writerows(rows)
    for head in ("", f"sep={separator}\n", "\ufeff", f"\ufeffsep={separator}\r\n"):
        table = tables.read(write((head + text.getvalue()).encode()), ("id",), ("report", "age"))
        assert table.to_pylist() == [{"id": "1", "report": "AF, LBBB; |x", "age": "57,5"}]


@pytest.mark.parametrize(
    "word",
    ["", "nan", "NaN", "NAN", "None", "none", "null", "NULL", "NA", "N/A", "n/a", "<NA>", "#N/A", "NaT"],
)
def test_a_word_for_nothing_is_nothing_in_csv_and_parquet(write, word):
    for content in (f'id,report\n1,"{word}"\n'.encode(), pa.table({"id": ["1"], "report": [word]})):
        assert tables.read(write(content), ("id",), ("report",)).to_pylist() == [{"id": "1", "report": None}]
    lists = pa.table({"id": ["1", "2"], "report": [[word, "x", None], [word]]})
    table = tables.read(write(lists), ("id",), ("report",))
    assert table["report"].to_pylist() == ["x", None]


_LISTS = st.lists(
    st.none() | st.lists(st.none() | st.sampled_from(["AF", "LBBB", "ä b"]), max_size=4), min_size=1
)


@given(_LISTS, st.sampled_from([pa.list_, pa.large_list]))
@_SETTINGS
def test_a_null_in_a_list_drops_itself_alone(write, rows, kind):
    column = pa.array(rows, kind(pa.string()))
    table = tables.read(
        write(pa.table({"id": list(map(str, range(len(rows)))), "labels": column})), ("id", "labels")
    )
    expected = [";".join(item for item in row or [] if item is not None) or None for row in rows]
    assert table["labels"].to_pylist() == expected


@given(st.lists(st.integers(0, 2**53 - 1), min_size=1, unique=True))
@_SETTINGS
def test_keys_are_the_same_as_integers_floats_and_texts(write, numbers):
    expected = [str(number) for number in numbers]
    forms = [
        numbers,
        [float(number) for number in numbers],
        [str(number) for number in numbers],
        [f" {number}.0" for number in numbers],
    ]
    for form in forms:
        assert tables.read(write(pa.table({"id": form})), ("id",), keys=("id",))["id"].to_pylist() == expected
    text = "id\n" + "".join(f"{number}.0\n" for number in numbers)
    assert tables.read(write(text.encode()), ("id",), keys=("id",))["id"].to_pylist() == expected


def test_parquet_columns_of_every_plain_type_are_text(write):
    categories = pa.array(["a", None]).dictionary_encode()
    columns = {"id": pa.array([True, False]), "labels": categories, "age": pa.array([56.5, float("nan")])}
    lists = pa.array([[1.0, None], [2.5]], pa.list_(pa.float32()))
    table = tables.read(write(pa.table(columns | {"report": lists})), ("id", "labels", "age", "report"))
    assert table.to_pylist() == [
        {"id": "true", "labels": "a", "age": "56.5", "report": "1"},
        {"id": "false", "labels": None, "age": None, "report": "2.5"},
    ]


@pytest.mark.parametrize(
    ("matched", "records", "level"), [(0, 0, None), (5, 5, None), (91, 100, "INFO"), (90, 100, "WARNING")]
)
def test_records_without_a_row_are_told_and_from_one_in_ten_warned_of(caplog, matched, records, level):
    with caplog.at_level("INFO", "supreme"):
        tables.count_unmatched("t.csv", matched, records, "x")
    assert [record.levelname for record in caplog.records] == ([level] if level else [])
    with pytest.raises(ConfigError, match=r"t\.csv: no row for any of 7 records"):
        tables.count_unmatched("t.csv", 0, 7, "x")


def test_keys_are_there_and_unique():
    table = pa.table({"id": ["a", "b", "b", "c", "c"], "path": ["x", "x", None, "x", "x"]})
    with pytest.raises(ConfigError, match="t: row 3 has no path: "):
        tables.check("t", table, "id", ("path",))
    with pytest.raises(ConfigError, match="t: id b, c in more than one row"):
        tables.check("t", table, "id")
    tables.check("t", table.slice(0, 2), "id", ("path",))
    tables.check("t", table.slice(0, 0), "id", ("path",))
