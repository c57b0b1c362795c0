"""Tables for LaTeX, in the style of booktabs: escaped text, a value or `--` in every cell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

#: A comment for the head of a file.
NEEDS = r"% Needs \usepackage{booktabs}"
EMPTY = "--"
_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    **{sign: rf"\{sign}" for sign in "&%$#_{}"},
}


def escape(text: str) -> str:
    """Text that LaTeX sets as it is, in one line."""
    return "".join(_SPECIAL.get(sign, sign) for sign in " ".join(text.split()))


def number(value: float | None, places: int = 3) -> str:
    """A number, or `--` where there is none."""
    return EMPTY if value is None or not math.isfinite(value) else f"{value:.{places}f}"


def with_interval(value: float | None, low: float | None, high: float | None, *, signed: bool = False) -> str:
    """`0.812 [0.790, 0.833]`; without the brackets where there is no interval."""
    if value is None or not math.isfinite(value):
        return EMPTY
    style = "+.3f" if signed else ".3f"
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return _minus(f"{value:{style}}")
    return _minus(f"{value:{style}} [{low:{style}}, {high:{style}}]")


def percent(fraction: float) -> str:
    """`1\\,\\%`."""
    return rf"{100 * fraction:g}\,\%"


@dataclass(frozen=True)
class LatexTable:
    """One table; cells are LaTeX already."""

    caption: str
    header: Sequence[str]
    groups: Sequence[Sequence[Sequence[str]]]
    """Rows, in groups that a rule divides."""

    def render(self) -> str:
        """The `table` environment.

        Raises:
            ValueError: a row has more or fewer cells than the header.
        """
        for row in (row for group in self.groups for row in group):
            if len(row) != len(self.header):
                raise ValueError(f"{len(row)} cells in a table of {len(self.header)} columns: {row}")
        filled = ["\n".join(_row(row) for row in group) for group in self.groups if group]
        body = "\n\\midrule\n".join([_row(self.header), *filled])
        return "\n".join(
            (
                r"\begin{table}",
                r"\centering",
                rf"\caption{{{self.caption}}}",
                rf"\begin{{tabular}}{{l{'r' * (len(self.header) - 1)}}}",
                r"\toprule",
                body,
                r"\bottomrule",
                r"\end{tabular}",
                r"\end{table}",
            )
        )


def document(about: str, tables: Sequence[LatexTable]) -> str:
    """A file to `\\input`: a comment that says what it is about, and the tables."""
    head = f"% {' '.join(about.split())}\n{NEEDS}"
    return "\n\n".join([head, *(table.render() for table in tables)]) + "\n"


def _row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _minus(text: str) -> str:
    return text.replace("-", "$-$")
