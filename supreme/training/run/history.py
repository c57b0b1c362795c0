"""The history of a training run: ``metrics.jsonl``, one line a report, each time written as a whole."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from supreme import storage

METRICS = "metrics.jsonl"

#: Metrics of a report with ``samples_seen``, ``unix_time_s`` and ``curve``: the points since the one before.
Line = Mapping[str, Any]


@dataclass(frozen=True)
class Point:
    """Numbers of one moment."""

    samples_seen: int
    unix_time_s: float
    values: dict[str, float]


def read(folder: str) -> list[Line]:
    """The lines of a stage folder, oldest first; none before the first report."""
    uri = storage.join(folder, METRICS)
    text = storage.read_bytes(uri).decode() if storage.exists(uri) else ""
    return [json.loads(line) for line in text.splitlines()]


def write(folder: str, lines: Sequence[Line]) -> None:
    text = "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines)
    storage.write_bytes(storage.join(folder, METRICS), text.encode())


def points(lines: Sequence[Line]) -> Iterator[Point]:
    """Every point of the curve and every report, in order of time."""
    for line in lines:
        for moment in (*line["curve"], line):
            values = {
                name: float(value)
                for name, value in moment.items()
                if name not in ("samples_seen", "unix_time_s") and isinstance(value, int | float)
            }
            yield Point(int(moment["samples_seen"]), float(moment["unix_time_s"]), values)
