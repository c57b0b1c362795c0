"""A cardiologist's verdicts on suspect labels: a CSV that goes out with plates and comes back filled in."""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from supreme.config import ConfigError
from supreme.evaluation.benchmarks import NEGATIVE, POSITIVE, UNKNOWN, Benchmark
from supreme.evaluation.label_audit import Suspect
from supreme.storage import judgements
from supreme.storage.judgements import Cells

#: What a row needs; other columns, such as a comment, are for people.
REQUIRED = ("benchmark", "record_id", "class", "verdict")
_COLUMNS = ("rank", "benchmark", "record_id", "class", "label", "probability", "plate", "verdict", "comment")
#: Verdict -> label; an empty one leaves the label as it is.
VERDICTS = {"present": POSITIVE, "absent": NEGATIVE, "uncertain": UNKNOWN}
_SETTING = "evaluation.corrections"


@dataclass(frozen=True)
class Verdict:
    """One row with a verdict."""

    line: int
    benchmark: str
    """Name of the label set, or `conditions`."""
    record_id: str
    class_name: str
    label: int


@dataclass(frozen=True)
class Verdicts:
    """The rows of a file that have a verdict; ``digest`` is that of the file, empty without one."""

    uri: str = ""
    rows: tuple[Verdict, ...] = ()
    digest: str = ""

    def check(self, benchmarks: Collection[Benchmark]) -> None:
        """See that every row names a class and a record of a benchmark.

        Raises:
            ConfigError: with line numbers, and the nearest name.
        """
        records: dict[str, set[str]] = {}
        classes: dict[str, set[str]] = {}
        for item in benchmarks:
            records.setdefault(item.name, set()).update(item.record_ids)
            classes.setdefault(item.name, set()).update(item.classes)
        problems = []
        for row in self.rows:
            if row.benchmark not in records:
                near = _near(row.benchmark, records)
                problems.append(f"line {row.line}: no benchmark {row.benchmark!r}{near}")
            elif row.class_name not in classes[row.benchmark]:
                near = _near(row.class_name, classes[row.benchmark])
                problems.append(f"line {row.line}: {row.benchmark} has no class {row.class_name!r}{near}")
            elif row.record_id not in records[row.benchmark]:
                problems.append(f"line {row.line}: {row.benchmark} has no record {row.record_id!r}")
        judgements.refuse(_SETTING, self.uri, problems)

    def apply(self, benchmark: Benchmark) -> tuple[Benchmark, int]:
        """The benchmark with corrected labels, and how many of them differ from before."""
        labels = benchmark.labels.copy()
        row_of = {record: row for row, record in enumerate(benchmark.record_ids)}
        column_of = {name: c for c, name in enumerate(benchmark.classes)}
        for row in self.rows:
            if row.benchmark == benchmark.name and row.record_id in row_of and row.class_name in column_of:
                labels[row_of[row.record_id], column_of[row.class_name]] = row.label
        return replace(benchmark, labels=labels), int((labels != benchmark.labels).sum())


def sheet(benchmark: str, suspects: Sequence[Suspect], plates: Mapping[str, str]) -> str:
    """The CSV to fill in: ``verdict`` is empty; write present, absent or uncertain.

    Args:
        plates: record id -> file of its plate; empty for those without.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for rank, item in enumerate(suspects, 1):
        label = "present" if item.label == POSITIVE else "absent"
        plate = plates.get(item.record_id, "")
        writer.writerow(
            (
                *(rank, benchmark, item.record_id, item.class_name, label),
                *(f"{item.probability:.3f}", plate, "", ""),
            )
        )
    return text.getvalue()


def read_verdicts(uri: str) -> Verdicts:
    """Read a filled-in sheet; an empty ``uri`` gives none.

    Raises:
        ConfigError: a missing file, missing columns, and bad or contradictory rows with their line numbers.
    """
    if not uri:
        return Verdicts()

    def check_header(names: Sequence[str]) -> None:
        missing = [name for name in REQUIRED if name not in names]
        if missing:
            raise ConfigError(
                f"{_SETTING}: {uri} has no column {', '.join(missing)}: its first line names "
                f"{','.join(names) or 'nothing'}"
            )

    rows, digest = judgements.read(_SETTING, uri, check_header, _row, _contradictions)
    return Verdicts(uri, tuple(rows), digest)


def _row(line: int, values: Cells, problems: list[str]) -> Verdict | None:
    benchmark, record, class_name, verdict = ((values.get(name) or "").strip() for name in REQUIRED)
    if not verdict:
        return None
    if not (benchmark and record and class_name):
        problems.append(f"line {line}: a verdict needs benchmark, record_id and class")
    elif verdict.casefold() not in VERDICTS:
        problems.append(f"line {line}: verdict {verdict!r} is none of {', '.join(VERDICTS)}")
    else:
        return Verdict(line, benchmark, record, class_name, VERDICTS[verdict.casefold()])
    return None


def _contradictions(rows: Sequence[Verdict]) -> list[str]:
    first: dict[tuple[str, str, str], Verdict] = {}
    problems = []
    for row in rows:
        earlier = first.setdefault((row.benchmark, row.record_id, row.class_name), row)
        if earlier.label != row.label:
            label = f"{row.class_name} of {row.record_id}"
            problems.append(f"line {row.line}: another verdict on {label} than line {earlier.line}")
    return problems


def _near(name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(names), n=1, cutoff=0)
    return f"; nearest: {near[0]!r}" if near else ""
