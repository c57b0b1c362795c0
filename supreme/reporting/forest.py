"""Forest plot: the difference of each class with its interval, and the mean as a diamond."""

from __future__ import annotations

import textwrap

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from supreme.evaluation.compare import ClassComparison, Comparison
from supreme.evaluation.verdict import ALPHA
from supreme.reporting import figures
from supreme.reporting.figures import INK, LINE, MUTED, SEEN, UNSEEN

_ROW_INCHES, _WIDTH_INCHES, _MAX_ROWS = 0.2, 8.4, 60


def forest(comparison: Comparison, margin: float) -> str:
    """SVG of a comparison; blue where A is better after Holm, orange where it is worse, grey otherwise.

    Args:
        margin: drawn as a band around no difference.
    """
    rows = sorted(comparison.by_class, key=lambda row: row.difference)[-_MAX_ROWS:]
    with rc_context(figures.STYLE):
        figure = Figure(figsize=(_WIDTH_INCHES, _ROW_INCHES * (len(rows) + 1) + 0.9))
        axes = figure.subplots()
        axes.axvspan(-margin, margin, color=LINE, alpha=0.35, lw=0)
        axes.axvline(0, color=MUTED, lw=0.8)
        for place, row in enumerate(rows, start=1):
            _draw_class(axes, place, row)
        _draw_mean(axes, comparison)
        names = ["mean over classes", *(textwrap.shorten(row.name, 44) for row in rows)]
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(-0.8, len(rows) + 0.8)
        axes.tick_params(axis="y", colors=INK)
        axes.set_xlabel("AUROC of A minus AUROC of B")
        axes.grid(axis="x", color=LINE, lw=0.5)
        axes.set_axisbelow(True)
        axes.spines["left"].set_visible(False)
        figure.tight_layout()
        return figures.svg(figure)


def _draw_class(axes: Axes, place: int, row: ClassComparison) -> None:
    color = MUTED if row.p_value >= ALPHA else SEEN if row.difference > 0 else UNSEEN
    axes.plot([row.low, row.high], [place, place], color=color, lw=1.4, solid_capstyle="butt")
    axes.plot(row.difference, place, "s", color=color, ms=3.6)


def _draw_mean(axes: Axes, comparison: Comparison) -> None:
    low, high, middle = comparison.low, comparison.high, comparison.difference
    axes.fill([low, middle, high, middle], [0, 0.28, 0, -0.28], color=INK, lw=0)
