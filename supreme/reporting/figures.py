"""Figures as inline SVG: ROC curves, calibration, the history of pre-training, a data set's population."""

from __future__ import annotations

import base64
import io
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from supreme.evaluation.class_results import CalibrationCurve

#: Okabe and Ito: told apart by every kind of colour vision.
SEEN, UNSEEN, THIRD = "#0072b2", "#d55e00", "#009e73"
INK, MUTED, LINE = "#22252b", "#6b7078", "#d9dce1"
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 8,
    "text.color": INK,
    # Names come from users: a data set called $$ is no formula.
    "text.parse_math": False,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "svg.hashsalt": "supreme",
    "svg.fonttype": "path",
}
_MAX_POINTS = 200


@dataclass(frozen=True)
class RocCurve:
    """The ROC curve of one class."""

    name: str
    false: np.ndarray
    """False positive rates."""
    true: np.ndarray
    """True positive rates."""
    auroc: float
    seen: bool


@dataclass(frozen=True)
class Series:
    """One line in a panel of the training figure."""

    label: str
    rows: Sequence[Mapping[str, Any]]
    key: str
    color: str

    def points(self) -> tuple[list[float], list[float]]:
        """Samples seen and values, where there is a number."""
        pairs = [
            (row["samples_seen"], row[self.key])
            for row in self.rows
            if isinstance(row.get(self.key), int | float)
        ]
        return [x for x, _ in pairs], [y for _, y in pairs]


class PaperImage(TypedDict):
    """What a page needs to show a figure at its true size."""

    image: str
    """PNG as a data URI."""
    width_mm: float
    height_mm: float


def roc_rows(curves: Sequence[RocCurve], columns: int = 6) -> list[str]:
    """Small multiples, one a class, a figure a row: a printed page can end between two rows."""
    rows = [curves[start : start + columns] for start in range(0, len(curves), columns)]
    return [_roc_row(row, columns) for row in rows]


def _roc_row(curves: Sequence[RocCurve], columns: int) -> str:
    with rc_context(STYLE):
        figure = Figure(figsize=(1.75 * columns, 2.05))
        grid = figure.subplots(1, columns, sharey=True)
        for axes, curve in zip(grid, curves, strict=False):
            _roc(axes, curve)
        for axes in grid[len(curves) :]:
            axes.axis("off")
        figure.subplots_adjust(left=0.02, right=0.995, top=0.8, bottom=0.08, wspace=0.14)
        return svg(figure)


def _roc(axes: Axes, curve: RocCurve) -> None:
    color = SEEN if curve.seen else UNSEEN
    false, true = thinned(curve.false, curve.true)
    axes.plot([0, 1], [0, 1], color=LINE, lw=0.8)
    axes.fill_between(false, true, color=color, alpha=0.08, lw=0)
    axes.plot(false, true, color=color, lw=1.4)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xticks=(0, 1), yticks=(0, 1), aspect="equal")
    axes.set_title(textwrap.fill(curve.name, 25), fontsize=7.2, color=INK, loc="left", pad=3)
    axes.text(0.97, 0.06, f"{curve.auroc:.2f}", ha="right", fontsize=10, color=color, weight="bold")


def thinned(
    x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """At most 200 points of a curve, ends included: the page holds dozens of curves."""
    places = np.unique(np.linspace(0, len(x) - 1, min(len(x), _MAX_POINTS)).round().astype(int))
    return np.asarray(x)[places], np.asarray(y)[places]


def calibration(parts: Sequence[tuple[str, CalibrationCurve]]) -> str:
    """Reliability diagrams side by side, one a data set; a point's area is its share of the answers."""
    with rc_context(STYLE):
        figure = Figure(figsize=(3.1 * len(parts), 3.3))
        grid = figure.subplots(1, len(parts), sharey=True, squeeze=False)[0]
        for axes, (name, part) in zip(grid, parts, strict=True):
            predicted = [row.predicted for row in part.bins]
            observed = [row.observed for row in part.bins]
            share = np.array([row.count for row in part.bins]) / max(part.pairs, 1)
            axes.plot([0, 1], [0, 1], color=LINE, lw=0.8)
            axes.plot(predicted, observed, color=SEEN, lw=1.4, zorder=2)
            axes.scatter(predicted, observed, s=14 + 160 * share, color=SEEN, zorder=3, alpha=0.85, lw=0)
            axes.set(
                xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1), aspect="equal"
            )
            axes.set_xlabel("probability given")
            axes.set_title(f"{name}   ECE {part.ece:.3f}", fontsize=9, color=INK, loc="left")
        grid[0].set_ylabel("share that were positive")
        figure.tight_layout()
        return svg(figure)


def training(lines: Sequence[Mapping[str, Any]]) -> str:
    """Loss, validation AUROC, throughput and learning rate against samples seen, from ``metrics.jsonl``."""
    steps = [point for line in lines for point in line.get("curve", [])]
    panels = {
        "loss": [
            Series("training", steps, "step_loss", LINE),
            Series("training, mean", lines, "loss", SEEN),
            Series("validation", lines, "validation_loss", UNSEEN),
        ],
        "validation macro AUROC": [
            Series("vocabulary", lines, "validation_macro_auroc", SEEN),
            Series("unseen", lines, "validation_unseen_macro_auroc", UNSEEN),
        ],
        "records per second": [Series("", lines, "records_per_s", SEEN)],
        "learning rate": [Series("", steps or lines, "learning_rate", SEEN)],
    }
    filled = {title: series for title, series in panels.items() if any(one.points()[0] for one in series)}
    with rc_context(STYLE):
        figure = Figure(figsize=(2.65 * max(len(filled), 1), 2.5))
        grid = figure.subplots(1, max(len(filled), 1), squeeze=False)[0]
        for axes, (title, series) in zip(grid, filled.items(), strict=False):
            _draw_history(axes, title, series)
        figure.tight_layout(w_pad=1.6)
        return svg(figure)


def population(ages: np.ndarray, durations_s: np.ndarray, words: np.ndarray) -> str:
    """How old the patients are, how long the ECGs and their reports: a histogram each, where there is any."""
    panels = [
        ("age, years", ages, np.arange(0, 126, 5)),
        ("valid signal, seconds", durations_s, np.linspace(0, max(durations_s.max(initial=0.0), 1.0), 26)),
        ("words in a report", words, np.linspace(0, max(words.max(initial=0), 10), 26)),
    ]
    with rc_context(STYLE):
        figure = Figure(figsize=(2.9 * len(panels), 2.1))
        for axes, (title, values, edges) in zip(figure.subplots(1, len(panels)), panels, strict=True):
            if len(values):
                axes.hist(values, edges, color=SEEN, alpha=0.75)
            else:
                axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center", color=MUTED)
                axes.set(xticks=(), yticks=())
            axes.set_title(title, fontsize=9, color=INK, loc="left")
            axes.locator_params(axis="y", nbins=4)
        figure.tight_layout(w_pad=1.6)
        return svg(figure)


def _draw_history(axes: Axes, title: str, series: Sequence[Series]) -> None:
    for one in series:
        x, y = one.points()
        if x:
            color, width = ("#b9bec7", 0.9) if one.color == LINE else (one.color, 1.5)
            marker = "o" if len(x) <= 12 else None
            axes.plot(x, y, color=color, lw=width, marker=marker, ms=3, label=one.label)
    axes.set_title(title, fontsize=9, color=INK, loc="left")
    axes.set_xlabel("ECGs seen")
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:g}k" if value else "0")
    axes.locator_params(axis="both", nbins=4)
    axes.grid(axis="y", color=LINE, lw=0.5)
    axes.set_axisbelow(True)
    if title == "records per second":
        axes.set_ylim(bottom=0)
    if len(axes.lines) > 1:
        axes.legend(frameon=False, fontsize=7)


def svg(figure: Figure) -> str:
    """The figure as an inline SVG element that scales to the width of its container."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    head, rest = text.split(">", 1)
    width = re.search(r'width="([^"]+)"', head)
    assert width is not None
    bare = re.sub(r' (width|height)="[^"]*"', "", head)
    return f'{bare} style="max-width:{width[1]}">{rest}'


def png(figure: Figure, dpi: int = 144) -> str:
    """The figure as a data URI."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def on_paper(figure: Figure) -> PaperImage:
    """The figure as a PNG with its size on paper."""
    width_mm, height_mm = (round(25.4 * inches, 2) for inches in figure.get_size_inches())
    return {"image": png(figure), "width_mm": width_mm, "height_mm": height_mm}
