"""The statement table: unique statements of all reports, each extracted once, with what was found in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa

from supreme import storage
from supreme.reports import statements
from supreme.reports.extract import Mention
from supreme.shards.read import ShardDataset
from supreme.storage import parquet

STATEMENTS = "statements.parquet"

_MENTION = pa.struct(
    [
        ("entity", pa.string()),
        ("assertion", pa.string()),
        ("grade", pa.string()),
        ("cue", pa.string()),
        ("start", pa.int32()),
        ("end", pa.int32()),
    ]
)
STATEMENT_SCHEMA = pa.schema(
    [
        ("statement_id", pa.string()),
        ("text", pa.string()),
        ("reports", pa.int64()),
        ("mentions", pa.list_(_MENTION)),
        ("extractor", pa.string()),
        ("extractor_version", pa.string()),
        ("refusal", pa.string()),
        ("corrected", pa.bool_()),
    ]
)


class ShardSlice(NamedTuple):
    """Some files of one shard folder, which are read by one task."""

    shards: ShardDataset
    files: tuple[str, ...]
    rows: int


class Statement(NamedTuple):
    """One unique statement and what was found in it."""

    text: str
    """As it was first written."""
    records: int
    """How many records hold it."""
    mentions: Sequence[Mention] = ()
    extractor: str = ""
    extractor_version: str = ""
    refusal: str = ""
    """Why a language model gave no usable reply, where the rules stand in for it."""
    corrected: bool = False


def parts(folders: Iterable[str], rows: int) -> list[ShardSlice]:
    """The shards of finished folders in their order, in parts of one folder and at least ``rows`` records."""
    result = []
    for folder in folders:
        rows_by_file: dict[str, int] = {}
        shards = ShardDataset.open(folder)
        for name, size in shards.files.items():
            rows_by_file[name] = size
            if sum(rows_by_file.values()) >= rows or name == list(shards.files)[-1]:
                result.append(ShardSlice(shards, tuple(rows_by_file), sum(rows_by_file.values())))
                rows_by_file = {}
    return result


def read_columns(part: ShardSlice, columns: Sequence[str]) -> Iterator[pa.Table]:
    """The named columns of each shard of a part; signals stay where they are."""
    return (part.shards.read_file(name, columns) for name in part.files)


def unique_reports(table: pa.Table) -> tuple[list[str], pa.Array]:
    """The different reports of a table, and for each of its rows which one it has."""
    encoded = table.column("report").combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    return encoded.dictionary.to_pylist(), encoded.indices


def keys_of(report: str) -> dict[str, str]:
    """The statements of a report: folded text, which decides what is the same -> text as written."""
    result: dict[str, str] = {}
    for statement in statements.split(report):
        result.setdefault(statements.fold(statement), statement)
    return result


def collect(part: ShardSlice, _: None = None) -> dict[str, Statement]:
    """The unique statements of a part by folded text, in order of appearance."""
    result: dict[str, Statement] = {}
    for table in read_columns(part, ["report"]):
        reports, indices = unique_reports(table)
        shared = {item["values"]: item["counts"] for item in indices.value_counts().to_pylist()}
        for number, report in enumerate(reports):
            add(result, {key: Statement(text, shared[number]) for key, text in keys_of(report).items()})
    return result


def add(total: dict[str, Statement], more: Mapping[str, Statement]) -> None:
    """Count what ``more`` holds into ``total``; a text that is known stays as it was first written."""
    for key, statement in more.items():
        known = total.get(key)
        total[key] = known._replace(records=known.records + statement.records) if known else statement


def to_table(result: Mapping[str, Statement]) -> pa.Table:
    """One row a statement, sorted by folded text."""
    rows = [result[key] for key in sorted(result)]
    return pa.table(
        {
            "statement_id": [statements.digest(row.text) for row in rows],
            "text": [row.text for row in rows],
            "reports": [row.records for row in rows],
            "mentions": [[_as_row(mention) for mention in row.mentions] for row in rows],
            "extractor": [row.extractor for row in rows],
            "extractor_version": [row.extractor_version for row in rows],
            "refusal": [row.refusal for row in rows],
            "corrected": [row.corrected for row in rows],
        },
        schema=STATEMENT_SCHEMA,
    )


def read(folder: str) -> dict[str, Statement]:
    """The statement table of a finished label stage, by folded text."""
    table = parquet.read_table(storage.join(folder, STATEMENTS), schema=STATEMENT_SCHEMA)
    names = ("text", "reports", "mentions", "extractor", "extractor_version", "refusal", "corrected")
    result = {}
    for values in zip(*(table[name].to_pylist() for name in names), strict=True):
        text, records, mentions, *rest = values
        own = [Mention(**mention) for mention in mentions]
        result[statements.fold(text)] = Statement(text, records, own, *rest)
    return result


def _as_row(mention: Mention) -> dict[str, str | int]:
    return {name: getattr(mention, name) for name in _MENTION.names}
