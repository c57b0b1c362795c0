"""The tables that data sets bring along, CSV or Parquet: the columns that are asked for, as text."""

from __future__ import annotations

import csv
import io
import logging
import re
from collections.abc import Callable, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from supreme import log, storage
from supreme.config import ConfigError
from supreme.records import cells, columns
from supreme.storage.parquet import check_types, open_parquet, read_row_groups

#: A row of a CSV file may be this long.
_BLOCK_BYTES = 1 << 24
#: MIMIC-IV-ECG's statements take a tenth of it.
_MAX_BYTES = 1 << 31
_DELIMITERS = (",", ";", "\t", "|")
#: Excel writes "sep=;" before the header of a table that is not separated by commas.
_EXCEL_SEPARATOR = re.compile(rb"sep=(.)\r?\n", re.IGNORECASE)
_MISSING = pa.array(sorted(cells.MISSING))
#: More unmatched records than this are worth a warning.
_WARN_FRACTION = 0.1
#: Integers beyond it are not all floats.
_MAX_EXACT = 2**53

#: Chooses columns from a table's names: column -> the table's own name.
_Matcher = Callable[[list[str]], dict[str, str]]


def read(
    uri: str,
    required: Sequence[str],
    optional: Sequence[str] = (),
    *,
    keys: Sequence[str] = (),
    synonyms: Mapping[str, Sequence[str]] | None = None,
    within: str | None = None,
    on_unread: Callable[[list[str]], None] = lambda names: None,
) -> pa.Table:
    """The ``required`` columns and those of ``optional`` that are there, by these names, as strings.

    A cell that is empty, or says "nan", "None", "NA" or the like, is null. Numbers of a Parquet file become
    text, its lists are joined by ";", without their nulls. CSV is separated by comma, semicolon, tab or "|".

    Args:
        keys: columns by which tables are joined: trimmed, whole floats as integers (:func:`cells.key`).
        synonyms: other names of a column.
        within: refuse a link that leads out of this folder.
        on_unread: is called with the names of the columns that are not read.

    Raises:
        ConfigError: no such table; columns as :func:`columns.match`; a row with too many or too few cells
            (naming its number, counted from 1 without the header).
    """
    try:
        content = storage.read_bytes(uri, _MAX_BYTES, within=within)
    except (storage.NotRegular, storage.OutsideFolder, storage.TooLarge) as error:
        raise ConfigError(f"{error}: copy the table into the folder") from error
    if not content:
        raise ConfigError(f"{uri} is empty: copy it again")

    def match(names: list[str]) -> dict[str, str]:
        return columns.match(uri, names, required, optional, synonyms)

    is_parquet = storage.filesystem(uri)[1].casefold().endswith(".parquet")
    try:
        names, table = _parquet(uri, content, match) if is_parquet else _csv(uri, content, match)
    except storage.StorageError as error:
        raise ConfigError(str(error)) from error
    except (pa.ArrowException, csv.Error) as error:
        raise ConfigError(f"{uri}: {error}: repair it or copy it again") from error
    for name in keys:
        if name in table.column_names:
            table = table.set_column(table.column_names.index(name), name, _keys(table[name]))
    on_unread(columns.unread(names, match(names)))
    return table


def count_unmatched(where: str, matched: int, records: int, what: str) -> None:
    """Say how many ``records`` have no row in a side table: a warning from one in ten.

    Raises:
        ConfigError: none has one, where there are records and the table has rows.
    """
    absent = records - matched
    if records and not matched:
        raise ConfigError(f"{where}: no row for any of {records:,} records: do the keys agree? e.g. {what}")
    if absent:
        level = logging.WARNING if absent >= _WARN_FRACTION * records else logging.INFO
        log.get(__name__).log(level, f"{where}: no row for {absent:,} of {records:,} records")


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


def _csv(uri: str, content: bytes, match: _Matcher) -> tuple[list[str], pa.Table]:
    try:
        content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{uri}: line {line} is not UTF-8: save the file as UTF-8") from error
    content = content.removeprefix(b"\xef\xbb\xbf")
    excel = _EXCEL_SEPARATOR.match(content)
    first, _, rows = content[excel.end() if excel else 0 :].partition(b"\n")
    if rows.strip() and not first.strip():
        raise ConfigError(
            f"{uri}: the first line is blank: remove it, so that the first has the column names"
        )
    delimiter = excel[1].decode("ascii", "replace") if excel else _delimiter(first.decode(), match)
    names = _header(first.decode(), delimiter)
    matches = match(names)
    if not rows.strip():
        return names, pa.table({column: pa.array([], pa.string()) for column in matches})
    bad: list[int] = []

    def remember(row: arrow_csv.InvalidRow) -> str:
        bad.append(row.number)
        return "skip"

    # Names may be there twice, where nothing reads them.
    numbered = [str(number) for number in range(len(names))]
    columns_read = [numbered[names.index(name)] for name in matches.values()]
    table = arrow_csv.read_csv(
        pa.BufferReader(rows),
        # Rows have numbers only where one thread reads.
        arrow_csv.ReadOptions(use_threads=False, column_names=numbered, block_size=_BLOCK_BYTES),
        arrow_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True, invalid_row_handler=remember),
        arrow_csv.ConvertOptions(
            include_columns=columns_read,
            column_types=dict.fromkeys(columns_read, pa.string()),
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
            null_values=_MISSING.to_pylist(),
        ),
    )
    if bad:
        raise ConfigError(f"{uri}: row {bad[0]} has not {len(names)} cells: repair or remove it")
    return names, table.rename_columns(list(matches))


def _header(line: str, delimiter: str) -> list[str]:
    return [name.strip() for name in next(csv.reader(io.StringIO(line), delimiter=delimiter), [])]


def _delimiter(line: str, match: _Matcher) -> str:
    """The separator with which the header has the columns that are asked for; else the first that cuts it."""
    for delimiter in _DELIMITERS:
        try:
            match(_header(line, delimiter))
        except ConfigError:
            continue
        return delimiter
    others = [delimiter for delimiter in _DELIMITERS if len(_header(line, delimiter)) > 1]
    return "," if not others or "," in others else others[0]


def _parquet(uri: str, content: bytes, match: _Matcher) -> tuple[list[str], pa.Table]:
    file = open_parquet(pa.BufferReader(content))
    names = file.schema_arrow.names
    matches = match(names)
    check_types(uri, pa.schema([file.schema_arrow.field(name) for name in matches.values()]))
    table = read_row_groups(file, list(matches.values()))
    return names, pa.table({column: _text(table.column(name)) for column, name in matches.items()})


def _text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        items = _plain(pa.chunked_array([chunk.flatten() for chunk in column.chunks], kind.value_type))
        rest = iter(items.to_pylist())
        # Flattened lists of nulls are gone: each list takes as many items as it has.
        lengths = pc.list_value_length(column).to_pylist()
        rows = [[next(rest) for _ in range(length or 0)] for length in lengths]
        joined = [";".join(item for item in row if item is not None) or None for row in rows]
        return pa.chunked_array([pa.array(joined, pa.string())])
    return _plain(column)


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Numbers and texts as strings: whole floats as integers, what says that it is missing as null."""
    if pa.types.is_floating(column.type):
        double = column.cast(pa.float64())
        is_whole = pc.and_(pc.equal(pc.floor(double), double), pc.less(pc.abs(double), _MAX_EXACT))
        whole = pc.if_else(is_whole, double, None).cast(pa.int64()).cast(pa.string())
        text = pc.if_else(pc.fill_null(is_whole, False), whole, double.cast(pa.string()))
    else:
        text = column.cast(pa.string())
    return pc.if_else(pc.is_in(text, _MISSING), pa.scalar(None, pa.string()), text)


def _keys(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """:func:`cells.key` of every cell."""
    text = pc.replace_substring_regex(pc.utf8_trim_whitespace(column), r"^([0-9]+)\.0+$", r"\1")
    if pc.any(pc.match_substring_regex(text, r"^[0-9].*[eE]")).as_py():
        text = pa.chunked_array(
            [pa.array([cell and cells.key(cell) for cell in text.to_pylist()], pa.string())]
        )
    return pc.if_else(pc.is_in(text, _MISSING), pa.scalar(None, pa.string()), text)
