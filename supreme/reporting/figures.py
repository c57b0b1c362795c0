"""Figures as inline SVG: ROC curves, calibration, the course of pre-training, a data set's population."""

from __future__ import annotations

import base64
import io
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

#: Okabe and Ito: told apart by every kind of colour vision.
SEEN, UNSEEN, THIRD = "#0072b2", "#d55e00", "#009e73"
INK, MUTED, LINE = "#22252b", "#6b7078", "#d9dce1"
_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 8,
    "text.color": INK,
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


def roc_rows(curves: Sequence[Mapping[str, Any]], columns: int = 6) -> list[str]:
    """Small multiples, one a class, a figure a row: a printed page can end between two rows.

    Args:
        curves: dictionaries with name, false, true (rates), auroc, seen.
    """
    rows = [curves[start : start + columns] for start in range(0, len(curves), columns)]
    return [_roc_row(row, columns) for row in rows]


def _roc_row(curves: Sequence[Mapping[str, Any]], columns: int) -> str:
    with rc_context(_STYLE):
        figure = Figure(figsize=(1.75 * columns, 2.05))
        grid = figure.subplots(1, columns, sharey=True)
        for axes, curve in zip(grid, curves, strict=False):
            _roc(axes, curve)
        for axes in grid[len(curves) :]:
            axes.axis("off")
        figure.subplots_adjust(left=0.02, right=0.995, top=0.8, bottom=0.08, wspace=0.14)
        return svg(figure)


def _roc(axes: Axes, curve: Mapping[str, Any]) -> None:
    color = SEEN if curve["seen"] else UNSEEN
    false, true = thinned(curve["false"], curve["true"])
    axes.plot([0, 1], [0, 1], color=LINE, lw=0.8)
    axes.fill_between(false, true, color=color, alpha=0.08, lw=0)
    axes.plot(false, true, color=color, lw=1.4)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xticks=(0, 1), yticks=(0, 1), aspect="equal")
    axes.set_title(textwrap.fill(curve["name"], 25), fontsize=7.2, color=INK, loc="left", pad=3)
    axes.text(0.97, 0.06, f"{curve['auroc']:.2f}", ha="right", fontsize=10, color=color, weight="bold")


def thinned(x: Sequence[float], y: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """At most 200 points of a curve, ends included: the page holds dozens of curves."""
    chosen = np.unique(np.linspace(0, len(x) - 1, min(len(x), _MAX_POINTS)).round().astype(int))
    return np.asarray(x)[chosen], np.asarray(y)[chosen]


def calibration(parts: Mapping[str, Mapping[str, Any]]) -> str:
    """Reliability diagrams side by side, one a data set, with how many answers stand behind each point."""
    with rc_context(_STYLE):
        figure = Figure(figsize=(3.1 * len(parts), 3.3))
        grid = figure.subplots(1, len(parts), sharey=True, squeeze=False)[0]
        for axes, (name, part) in zip(grid, parts.items(), strict=True):
            predicted = [row["predicted"] for row in part["bins"]]
            observed = [row["observed"] for row in part["bins"]]
            share = np.array([row["count"] for row in part["bins"]]) / max(part["pairs"], 1)
            axes.plot([0, 1], [0, 1], color=LINE, lw=0.8)
            axes.plot(predicted, observed, color=SEEN, lw=1.4, zorder=2)
            axes.scatter(predicted, observed, s=14 + 160 * share, color=SEEN, zorder=3, alpha=0.85, lw=0)
            axes.set(
                xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1), aspect="equal"
            )
            axes.set_xlabel("probability given")
            axes.set_title(f"{name}   ECE {part['ece']:.3f}", fontsize=9, color=INK, loc="left")
        grid[0].set_ylabel("share that were positive")
        figure.tight_layout()
        return svg(figure)


def training(lines: Sequence[Mapping[str, Any]]) -> str:
    """Loss, validation AUROC, throughput and learning rate against samples seen, from ``metrics.jsonl``."""
    curve = [point for line in lines for point in line.get("curve", [])]
    panels = [
        ("loss", [("training", curve, "step_loss", LINE), ("training, mean", lines, "loss", SEEN)]),
        ("validation macro AUROC", [("vocabulary", lines, "validation_macro_auroc", SEEN)]),
        ("records per second", [("", lines, "records_per_s", SEEN)]),
        ("learning rate", [("", curve or lines, "learning_rate", SEEN)]),
    ]
    panels[0][1].append(("validation", lines, "validation_loss", UNSEEN))
    panels[1][1].append(("unseen", lines, "validation_unseen_macro_auroc", UNSEEN))
    shown = [(title, series) for title, series in panels if any(_series(s[1], s[2])[0] for s in series)]
    with rc_context(_STYLE):
        figure = Figure(figsize=(2.65 * max(len(shown), 1), 2.5))
        grid = figure.subplots(1, max(len(shown), 1), squeeze=False)[0]
        for axes, (title, series) in zip(grid, shown, strict=False):
            _course(axes, title, series)
        figure.tight_layout(w_pad=1.6)
        return svg(figure)


def population(ages: np.ndarray, durations_s: np.ndarray, words: np.ndarray) -> str:
    """How old the patients are, how long the ECGs and their reports: a histogram each, where there is any."""
    panels = [
        ("age, years", ages, np.arange(0, 126, 5)),
        ("valid signal, seconds", durations_s, np.linspace(0, max(durations_s.max(initial=0.0), 1.0), 26)),
        ("words in a report", words, np.linspace(0, max(words.max(initial=0), 10), 26)),
    ]
    with rc_context(_STYLE):
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


def _course(
    axes: Axes, title: str, series: Sequence[tuple[str, Sequence[Mapping[str, Any]], str, str]]
) -> None:
    for label, rows, key, color in series:
        x, y = _series(rows, key)
        if x:
            thick = 0.9 if color == LINE else 1.5
            marker = "o" if len(x) <= 12 else None
            axes.plot(
                x, y, color="#b9bec7" if color == LINE else color, lw=thick, marker=marker, ms=3, label=label
            )
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


def _series(rows: Sequence[Mapping[str, Any]], key: str) -> tuple[list[float], list[float]]:
    found = [(row["samples_seen"], row[key]) for row in rows if isinstance(row.get(key), int | float)]
    return [x for x, _ in found], [y for _, y in found]


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


def on_paper(figure: Figure) -> dict[str, Any]:
    """What a page needs to show a figure at its true size: ``image``, ``width_mm`` and ``height_mm``."""
    width_mm, height_mm = (round(25.4 * inches, 2) for inches in figure.get_size_inches())
    return {"image": png(figure), "width_mm": width_mm, "height_mm": height_mm}
