"""AUROC of classes over the distance of their queries to those of pre-training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from matplotlib import rc_context
from matplotlib.figure import Figure

from supreme.reporting import figures
from supreme.reporting.figures import INK, LINE, SEEN, THIRD, UNSEEN

SeenBy = Literal["name", "relation", "neither"]
_COLORS: dict[SeenBy, str] = {"name": SEEN, "relation": THIRD, "neither": UNSEEN}
_LABELS: dict[SeenBy, str] = {"name": "seen by name", "relation": "a relative was seen", "neither": "neither"}


class ClassPoint(NamedTuple):
    """One class: cosine distance (0 to 2) to the nearest query of pre-training, AUROC, how it was seen."""

    distance: float
    auroc: float
    kind: SeenBy


def distances(panels: Mapping[str, Sequence[ClassPoint]]) -> str:
    """SVG with a panel a protocol."""
    every = [point for points in panels.values() for point in points]
    right = max(0.1, 1.08 * max(point.distance for point in every))
    low = min(0.4, min(point.auroc for point in every) - 0.03)
    with rc_context(figures.STYLE):
        figure = Figure(figsize=(3.2 * len(panels), 2.9))
        grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, (name, points) in zip(grid, panels.items(), strict=True):
            axes.axhline(0.5, color=LINE, lw=0.8)
            for kind, color in _COLORS.items():
                x = [point.distance for point in points if point.kind == kind]
                y = [point.auroc for point in points if point.kind == kind]
                axes.scatter(x, y, s=16, color=color, alpha=0.7, lw=0, label=_LABELS[kind])
            axes.set(xlim=(-0.03 * right, right), ylim=(max(0, low), 1.02))
            axes.set_xlabel("cosine distance")
            axes.set_title(name, fontsize=9, color=INK, loc="left")
        grid[0].set_ylabel("AUROC")
        used = {point.kind for point in every}
        handles = [handle for handle, kind in zip(grid[0].collections, _COLORS, strict=True) if kind in used]
        figure.tight_layout(rect=(0, 0, 1, 0.92))
        figure.legend(handles=handles, loc="upper right", ncols=3, frameon=False, fontsize=8)
        return figures.svg(figure)
