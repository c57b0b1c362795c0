"""CSV files in which people judge: every bad row is named by its line, and none is taken for good."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from supreme import storage
from supreme.config import ConfigError

Row = TypeVar("Row")
#: The cells of a line by column; None: cells without a column.
Cells = Mapping[str | None, str | None]
_SHOWN = 20


def read(
    setting: str,
    uri: str,
    check_header: Callable[[Sequence[str]], None],
    parse: Callable[[int, Cells, list[str]], Row | None],
    contradictions: Callable[[Sequence[Row]], list[str]],
) -> tuple[list[Row], str]:
    """The rows of a file, and its sha256.

    Args:
        setting: that names the file, for messages.
        check_header: raises ConfigError for columns that cannot be used.
        parse: a row from line number and cells; None for none, with what is wrong appended to the list.
        contradictions: what rows have against each other.

    Raises:
        ConfigError: a missing file, wrong columns, and bad rows with their line numbers.
    """
    try:
        content = storage.read_bytes(uri)
    except storage.NotFound as error:
        raise ConfigError(f"{setting}: {uri} does not exist") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{setting}: {uri} is not UTF-8: {error}") from error
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    rows: list[Row] = []
    problems: list[str] = []
    try:
        check_header(reader.fieldnames or ())
        for cells in reader:
            if (row := parse(reader.line_num, cells, problems)) is not None:
                rows.append(row)
    except csv.Error as error:
        problems.append(f"line {reader.line_num + 1}: {error}")
    problems += contradictions(rows)
    refuse(setting, uri, problems)
    return rows, storage.sha256(content)


def refuse(setting: str, uri: str, problems: Sequence[str]) -> None:
    """Raises ConfigError with the first problems, if there are any."""
    if problems:
        shown = "\n  ".join(problems[:_SHOWN])
        more = f"\n  and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise ConfigError(f"{setting}: {uri} has {len(problems)} bad row(s):\n  {shown}{more}")
