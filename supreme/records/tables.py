"""The tables that data sets bring along, CSV or Parquet: the wanted columns, as text."""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv as arrow_csv

from supreme import storage
from supreme.config import ConfigError

#: A row of a CSV file may be this long.
_BLOCK_BYTES = 1 << 24


def read(uri: str, required: Sequence[str], optional: Sequence[str] = ()) -> pa.Table:
    """The ``required`` columns and those of ``optional`` that are there: strings, null where a cell is empty.

    Numbers of a Parquet file become text, its lists are joined by ";".

    Raises:
        ConfigError: not such a table; a column missing, twice, or misspelt (naming the nearest); a row with
            too many or too few cells (naming its number, counted from 1 without the header).
    """
    content = storage.read_bytes(uri)
    if not content:
        raise ConfigError(f"{uri} is empty: copy it again")
    parse = _parquet if storage.filesystem(uri)[1].endswith(".parquet") else _csv
    try:
        return parse(uri, content, required, optional)
    except (pa.ArrowException, csv.Error) as error:
        raise ConfigError(f"{uri}: {error}: repair it or copy it again") from error


def check(uri: str, table: pa.Table, key: str, filled: Sequence[str] = ()) -> None:
    """Every row has a ``key`` of its own and something in the columns ``filled``.

    Raises:
        ConfigError: naming the first such row, or the keys that stand in more than one.
    """
    for name in (key, *filled):
        row = pc.index(pc.is_null(table[name]), True).as_py()
        if row >= 0:
            raise ConfigError(f"{uri}: row {row + 1} has no {name}: repair or remove it")
    if pc.count_distinct(table[key]).as_py() == len(table):
        return
    counted = pc.value_counts(table[key])
    twice = counted.field("values").filter(pc.greater(counted.field("counts"), 1)).to_pylist()
    examples = ", ".join(twice[:3]) + (", ..." if len(twice) > 3 else "")
    raise ConfigError(f"{uri}: {key} {examples} in more than one row: keep one row of each")


def _present(uri: str, names: list[str], required: Sequence[str], optional: Sequence[str]) -> list[str]:
    """Which of the wanted columns a table with columns ``names`` has."""
    wanted = [name for name in dict.fromkeys([*required, *optional]) if name in names]
    others = [name for name in names if name not in wanted]
    for name in required:
        if name not in names:
            nearest = difflib.get_close_matches(name, others, n=3, cutoff=0.5) or others[:20]
            found = f"nearest: {', '.join(map(repr, nearest))}" if nearest else "there is no other"
            raise ConfigError(f"{uri}: no column {name!r}; {found}: rename the right one")
    for name in optional:
        # A column that is left out because of its spelling would be missed late: patients in two splits.
        nearest = difflib.get_close_matches(name, others, n=1, cutoff=0.8)
        if name not in names and nearest:
            raise ConfigError(f"{uri}: column {nearest[0]!r} is not read: rename it to {name!r}, or drop it")
    for name in wanted:
        if names.count(name) > 1:
            raise ConfigError(f"{uri}: two columns are called {name!r}: rename or drop one")
    return wanted


def _csv(uri: str, content: bytes, required: Sequence[str], optional: Sequence[str]) -> pa.Table:
    try:
        content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{uri}: line {line} is not UTF-8: save the file as UTF-8") from error
    header, _, rows = content.partition(b"\n")
    names = [name.strip() for name in next(csv.reader(io.StringIO(header.decode("utf-8-sig"))), [])]
    wanted = _present(uri, names, required, optional)
    if not rows.strip():
        return pa.table({name: pa.array([], pa.string()) for name in wanted})
    bad: list[int] = []

    def remember(row: arrow_csv.InvalidRow) -> str:
        bad.append(row.number)
        return "skip"

    table = arrow_csv.read_csv(
        pa.BufferReader(rows),
        # Rows have numbers only where one thread reads.
        arrow_csv.ReadOptions(use_threads=False, column_names=names, block_size=_BLOCK_BYTES),
        arrow_csv.ParseOptions(newlines_in_values=True, invalid_row_handler=remember),
        arrow_csv.ConvertOptions(
            include_columns=wanted,
            column_types=dict.fromkeys(wanted, pa.string()),
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
            null_values=[""],
        ),
    )
    if bad:
        raise ConfigError(f"{uri}: row {bad[0]} has not {len(names)} cells: repair or remove it")
    return table


def _parquet(uri: str, content: bytes, required: Sequence[str], optional: Sequence[str]) -> pa.Table:
    file = pq.ParquetFile(pa.BufferReader(content))
    wanted = _present(uri, file.schema_arrow.names, required, optional)
    table = file.read(columns=wanted)
    return pa.table({name: _text(table.column(name)) for name in wanted})


def _text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        column = pc.binary_join(column.cast(pa.list_(pa.string())), ";")
    text = column.cast(pa.string())
    return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)
