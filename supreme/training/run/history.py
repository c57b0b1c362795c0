"""The history of a training run: ``metrics.jsonl``, one line per report, each time written as a whole."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from supreme import storage
from supreme.config import ConfigError

METRICS = "metrics.jsonl"
_MOMENT = ("samples_seen", "unix_time_s")
_REMEDY = (
    "delete the file and run the same command again, which writes it anew from the last checkpoint, or start "
    "afresh with --new"
)


@dataclass(frozen=True)
class Point:
    """Metrics at one moment, such as a point of the loss curve."""

    samples_seen: int
    unix_time_s: float
    values: dict[str, float]

    def line(self) -> dict[str, Any]:
        """Moment and values in one flat mapping."""
        return {"samples_seen": self.samples_seen, "unix_time_s": self.unix_time_s, **self.values}


@dataclass(frozen=True)
class Report:
    """Metrics at a checkpoint, and the loss curve since the report before."""

    samples_seen: int
    unix_time_s: float
    metrics: dict[str, float]
    curve: tuple[Point, ...] = ()

    @property
    def point(self) -> Point:
        """Moment and metrics without the curve."""
        return Point(self.samples_seen, self.unix_time_s, self.metrics)

    def line(self) -> dict[str, Any]:
        """A line of ``metrics.jsonl``: moment and metrics flat, the curve as a list."""
        return self.point.line() | {"curve": [point.line() for point in self.curve]}

    @classmethod
    def from_line(cls, line: Mapping[str, Any]) -> Report:
        """The inverse of `line`.

        Raises:
            ValueError: something is missing, or no number.
        """
        fields = _nested(line, "metrics", exclude="curve")
        curve = [_nested(point, "values") for point in line.get("curve", [])]
        return _REPORT.validate_python(fields | {"curve": curve})


_REPORT = TypeAdapter(Report)


def _nested(line: Mapping[str, Any], name: str, exclude: str = "") -> dict[str, Any]:
    """A flat mapping with everything but the moment below ``name``."""
    values = {key: value for key, value in line.items() if key not in (*_MOMENT, exclude)}
    return {key: line[key] for key in _MOMENT if key in line} | {name: values}


def read(folder: str) -> list[Report]:
    """The reports of a stage folder, oldest first; none before the first report.

    Raises:
        ConfigError: a line is damaged; the message names file, line and remedy.
    """
    uri = storage.join(folder, METRICS)
    if not storage.exists(uri):
        return []
    reports = []
    for number, line in enumerate(storage.read_bytes(uri).splitlines(), 1):
        try:
            reports.append(Report.from_line(json.loads(line)))
        except (ValueError, AttributeError, TypeError) as error:
            raise ConfigError(f"{uri}, line {number}, is damaged ({_reason(error)}): {_REMEDY}") from None
    if not reports:
        raise ConfigError(f"{uri} is empty: {_REMEDY}")
    return reports


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return "no valid JSON" if isinstance(error, ValueError) else "no JSON object"


def write(folder: str, reports: Sequence[Report]) -> None:
    """Write all reports, as a whole."""
    text = "".join(json.dumps(report.line(), sort_keys=True) + "\n" for report in reports)
    storage.write_bytes(storage.join(folder, METRICS), text.encode())


def points(reports: Sequence[Report]) -> Iterator[Point]:
    """Every point of the curve and every report, in order of time."""
    for report in reports:
        yield from (*report.curve, report.point)
