"""Measurements of speed and scale: each suite compares ways in one run on one machine."""

from __future__ import annotations

from collections.abc import Mapping

#: What a suite measured, for the result line: numbers and texts by name, in tables by way.
Measurements = dict[str, object]


def table(rows: Mapping[str, Mapping[str, object]]) -> list[str]:
    """Lines of a table: names to the left, values to the right under the names of their columns."""
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    cells = [["", *columns], *([name, *(str(row.get(c, "")) for c in columns)] for name, row in rows.items())]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for name, *values in cells:
        right = [value.rjust(width) for value, width in zip(values, widths[1:], strict=True)]
        lines.append("  ".join([name.ljust(widths[0]), *right]))
    return lines
