"""Scores that another program wrote: one row a record, one column a class."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from supreme import log
from supreme.config import ConfigError
from supreme.evaluation.record_tables import RECORD_ID, batches, read_header
from supreme.records.columns import alike

_MAX_NAMES = 5

logger = log.get("evaluation")


@dataclass(frozen=True)
class Scores:
    """Finite scores of records, larger where a class is more likely; they need not be probabilities."""

    uri: str
    """Where they were read, for messages."""
    record_ids: tuple[str, ...]
    classes: tuple[str, ...]
    values: np.ndarray
    """float64 ``(N, C)``."""

    @property
    def constant(self) -> tuple[str, ...]:
        """Classes with one score for all records, which say nothing."""
        if not len(self.values):
            return ()
        same = np.asarray((self.values == self.values[:1]).all(axis=0))
        return self._classes_where(same)

    @property
    def no_probabilities(self) -> tuple[str, ...]:
        """Classes with scores outside of [0, 1]: they rank, but there is no calibration of them."""
        outside = np.asarray(((self.values < 0) | (self.values > 1)).any(axis=0))
        return self._classes_where(outside)

    def table(self) -> pa.Table:
        """``record_id`` and one float64 column a class."""
        values = {name: self.values[:, c] for c, name in enumerate(self.classes)}
        return pa.table({RECORD_ID: pa.array(self.record_ids, pa.string()), **values})

    def _classes_where(self, mask: np.ndarray) -> tuple[str, ...]:
        return tuple(name for name, here in zip(self.classes, mask, strict=True) if here)


def score_columns(uri: str) -> tuple[str, ...]:
    """The classes that a file of scores has.

    Raises:
        ConfigError: as :func:`read_scores`.
    """
    return read_header(uri).names


def read_scores(
    uri: str, classes: Sequence[str] | None = None, record_ids: Collection[str] | None = None
) -> Scores:
    """Read scores, Parquet or CSV, local or on S3; never more in memory than what is asked for.

    Args:
        classes: the columns that are read, in this order; all when None. Others are named in the log.
        record_ids: the records whose scores are kept; all when None.

    Raises:
        ConfigError: no such file or column, it is damaged or empty, a record id is missing or there twice,
            a cell is empty, text, NaN or infinite; the message names file, column, record and remedy.
    """
    header = read_header(uri)
    names = tuple(header.names if classes is None else classes)
    _refuse_absent(uri, names, header.names)
    if unread := [name for name in header.names if name not in names]:
        logger.info(f"{uri}: columns that are not evaluated: {_listed(unread)}")
    only = None if record_ids is None else frozenset(record_ids)
    selected: list[str] = []
    parts = [np.empty((0, len(names)))]
    for records, values in batches(uri, header, names):
        if only is not None:
            mask = np.array([record in only for record in records], bool)
            records = [record for record, here in zip(records, mask, strict=True) if here]
            values = values[mask]
        selected += records
        parts.append(values)
    scores = Scores(uri, tuple(selected), names, np.concatenate(parts))
    _report(scores)
    return scores


def align(scores: Scores, record_ids: Sequence[str], benchmark: str) -> Scores:
    """The scores of a benchmark's records, in their order; what the file has beyond is counted in the log.

    Raises:
        ConfigError: a record of the benchmark has no score; the message names the first and the remedy.
    """
    row_of = {record: row for row, record in enumerate(scores.record_ids)}
    rows = rows_of(scores.uri, row_of, record_ids, benchmark)
    return replace(scores, record_ids=tuple(record_ids), values=scores.values[rows])


def rows_of(uri: str, row_of: dict[str, int], record_ids: Sequence[str], benchmark: str) -> np.ndarray:
    """The row of each of a benchmark's records in a file.

    Raises:
        ConfigError: as :func:`align`.
    """
    absent = [record for record in record_ids if record not in row_of]
    if absent:
        matched = len(record_ids) - len(absent)
        example = f"; ids there look like {next(iter(row_of))!r}" if row_of and not matched else ""
        raise ConfigError(
            f"{uri}: no row for {len(absent):,} of {len(record_ids):,} records of {benchmark}, first "
            f"{absent[0]!r}{example}: score every record of the benchmark, under the ids that jobs/export.py "
            "writes, so that models are compared on the same records"
        )
    if extra := len(row_of) - len(set(record_ids)):
        logger.info(f"{uri}: {extra:,} records are not in {benchmark}: they are not evaluated")
    return np.array([row_of[record] for record in record_ids], int)


def _refuse_absent(uri: str, names: Sequence[str], there: Sequence[str]) -> None:
    absent = [name for name in names if name not in there]
    if not absent:
        return
    near = {name: candidates[0] for name in absent if (candidates := alike(name, there))}
    advice = "; ".join(f"{own!r} may be {name!r}" for name, own in list(near.items())[:_MAX_NAMES])
    raise ConfigError(
        f"{uri}: no column {_listed(absent)} ({len(absent)} of {len(names)} classes are missing)"
        + (f"; {advice}: rename it" if advice else f"; its columns: {_listed(there)}: add what is missing")
    )


def _report(scores: Scores) -> None:
    if scores.constant:
        logger.warning(f"{scores.uri}: one score for all records: {_listed(scores.constant)}")
    if scores.no_probabilities:
        logger.warning(
            f"{scores.uri}: scores outside of [0, 1], so there is no calibration: "
            f"{_listed(scores.no_probabilities)}"
        )


def _listed(names: Sequence[str]) -> str:
    more = f", and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return ", ".join(map(repr, names[:_MAX_NAMES])) + more
