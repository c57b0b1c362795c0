"""Human corrections: one CSV (statement, entity, assertion) that overrides every extractor."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from supreme.config import ConfigError
from supreme.reports import statements
from supreme.reports.extract import Mention
from supreme.reports.vocabulary import Vocabulary
from supreme.storage import judgements
from supreme.storage.judgements import Cells

COLUMNS = ("statement", "entity", "assertion")
NONE = "none"
ASSERTIONS = ("present", "absent", "uncertain", NONE)
#: What a corrected mention has as its cue.
CUE = "correction"
_SETTING = "labels.corrections"


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
        judgements.refuse(
            _SETTING,
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

    def check_header(names: Sequence[str]) -> None:
        if set(names) != set(COLUMNS):
            raise ConfigError(
                f"{_SETTING}: {uri} needs a first line with {','.join(COLUMNS)}, "
                f"it has {','.join(names) or 'none'}"
            )

    rows, digest = judgements.read(_SETTING, uri, check_header, _row, _contradictions)
    return Corrections(uri, rows, digest)


def _row(line: int, values: Cells, problems: list[str]) -> Correction | None:
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


def _contradictions(rows: Sequence[Correction]) -> list[str]:
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
