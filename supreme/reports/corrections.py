"""Human corrections: one CSV (statement, entity, assertion) that overrides every extractor."""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from supreme import storage
from supreme.config import ConfigError
from supreme.reports import statements
from supreme.reports.extract import Mention
from supreme.reports.vocabulary import Vocabulary

COLUMNS = ("statement", "entity", "assertion")
NONE = "none"
ASSERTIONS = ("present", "absent", "uncertain", NONE)
#: What a corrected mention has as its cue.
CUE = "correction"


class Correction(NamedTuple):
    """One row: what a statement says about an entity; ``assertion`` "none": nothing."""

    line: int
    statement: str
    entity: str
    assertion: str


class Corrections:
    """The rows of a file by folded statement; ``digest`` is that of the file, empty without one."""

    def __init__(self, uri: str = "", rows: Iterable[Correction] = (), digest: str = "") -> None:
        self.uri, self.digest = uri, digest
        self.by_statement: dict[str, list[Correction]] = {}
        for row in rows:
            self.by_statement.setdefault(statements.fold(row.statement), []).append(row)

    def check(self, vocabulary: Vocabulary) -> None:
        """See that every entity exists.

        Raises:
            ConfigError: with line numbers and the nearest entity.
        """
        rows = sorted(row for rows in self.by_statement.values() for row in rows)
        _refuse(
            self.uri,
            [
                f"line {row.line}: no entity {row.entity!r}; nearest: {vocabulary.nearest(row.entity)!r}"
                for row in rows
                if row.entity not in vocabulary
            ],
        )

    def apply(self, key: str, mentions: Iterable[Mention]) -> list[Mention]:
        """The mentions of the statement with the folded text ``key``, corrected.

        What a row says about its entity replaces all that was extracted about it; its place is kept.
        """
        remaining = list(mentions)
        for row in self.by_statement.get(key, ()):
            old = [mention for mention in remaining if mention.entity == row.entity]
            remaining = [mention for mention in remaining if mention.entity != row.entity]
            if row.assertion != NONE:
                start, end = (old[0].start, old[0].end) if old else (0, 0)
                remaining.append(Mention(row.entity, row.assertion, "", CUE, start, end))  # type: ignore[arg-type]
        return sorted(remaining, key=lambda mention: (mention.start, mention.end))


def load(uri: str) -> Corrections:
    """Read a corrections file; an empty ``uri`` gives none.

    Raises:
        ConfigError: a missing file, wrong columns, and bad rows with their line numbers.
    """
    if not uri:
        return Corrections()
    try:
        content = storage.read_bytes(uri)
    except storage.NotFound as error:
        raise ConfigError(f"labels.corrections: {uri} does not exist") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"labels.corrections: {uri} is not UTF-8: {error}") from error
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    rows: list[Correction] = []
    problems: list[str] = []
    try:
        if set(reader.fieldnames or ()) != set(COLUMNS):
            raise ConfigError(
                f"labels.corrections: {uri} needs a first line with {','.join(COLUMNS)}, "
                f"it has {','.join(reader.fieldnames or ()) or 'none'}"
            )
        for values in reader:
            row = _row(reader.line_num, values, problems)
            if row:
                rows.append(row)
    except csv.Error as error:
        problems.append(f"line {reader.line_num + 1}: {error}")
    problems += _contradictions(rows)
    _refuse(uri, problems)
    return Corrections(uri, rows, storage.sha256(content))


def _row(line: int, values: Mapping[str | None, str | None], problems: list[str]) -> Correction | None:
    cells = [(values.get(name) or "").strip() for name in COLUMNS]
    statement, entity, assertion = cells
    if None in values or not all(cells):
        problems.append(f"line {line}: not {len(COLUMNS)} cells with a statement, an entity and an assertion")
    elif assertion not in ASSERTIONS:
        near = difflib.get_close_matches(assertion, ASSERTIONS, n=1, cutoff=0)[0]
        problems.append(f"line {line}: assertion {assertion!r} is none of {', '.join(ASSERTIONS)}; {near!r}?")
    elif len(parts := statements.split(statement)) != 1:
        problems.append(f"line {line}: {len(parts)} statements, not one: {statement!r}")
    else:
        return Correction(line, parts[0], entity, assertion)
    return None


def _contradictions(rows: Iterable[Correction]) -> list[str]:
    first: dict[tuple[str, str], Correction] = {}
    problems = []
    for row in rows:
        earlier = first.setdefault((statements.fold(row.statement), row.entity), row)
        if earlier.assertion != row.assertion:
            problems.append(
                f"line {row.line}: {row.entity} is {row.assertion} here and {earlier.assertion} "
                f"in line {earlier.line}, of the same statement"
            )
    return problems


def _refuse(uri: str, problems: list[str]) -> None:
    if problems:
        shown = "\n  ".join(problems[:20])
        more = f"\n  and {len(problems) - 20} more" if len(problems) > 20 else ""
        raise ConfigError(f"labels.corrections: {uri} has {len(problems)} bad row(s):\n  {shown}{more}")
