"""12-lead plates at true scale (25 mm/s, 10 mm/mV): three rows of four leads and a rhythm strip."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from supreme.ecg import LEADS

MM_PER_SECOND = 25.0
MM_PER_MILLIVOLT = 10.0
COLUMN_S = 2.5
STRIP = "II"
#: From the left edge to the first sample; the calibration pulse stands there.
MARGIN_MM = 10.0
WIDTH_MM = 4 * COLUMN_S * MM_PER_SECOND + MARGIN_MM + 5
ROW_MM = 25.0
#: Beyond this, rows overlap as on a recorder: the plate stays on one page.
MOST_ROW_MM = 36.0
_GAP_MM = 1.5
_GRID = ((1.0, "#f7e3e0", 0.25), (5.0, "#ecc3bd", 0.45))
_TRACE = "#1b1b1f"
_MM_PER_INCH = 25.4


def plate(signal_mv: np.ndarray, rate_hz: float) -> Figure:
    """One ECG as a figure whose size on paper is its size in millimetres.

    Rows are I aVR V1 V4, II aVL V2 V5, III aVF V3 V6, each lead for 2.5 s of its own time, and lead II for
    10 s. Rows are 25 to 36 mm apart, as their deflections need; nothing is scaled or cut off.

    Args:
        signal_mv: ``(12, T)`` in contract order; only the first 10 s are drawn.
    """
    signal_mm = _levelled(signal_mv[:, : round(4 * COLUMN_S * rate_hz)]) * MM_PER_MILLIVOLT
    strips = _strips(signal_mm, rate_hz)
    columns = [[y for _, _, y in row] for row in strips]
    baselines, height_mm = _layout([*columns[:3], np.array_split(columns[3][0], 4)])
    figure = Figure(figsize=(WIDTH_MM / _MM_PER_INCH, height_mm / _MM_PER_INCH), facecolor="#fffdfc")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH_MM), ylim=(0, height_mm))
    axes.axis("off")
    _paper(axes, height_mm)
    for row, base_mm in zip(strips, baselines, strict=True):
        _pulse(axes, base_mm)
        for lead, x_mm, y_mm in row:
            axes.plot(x_mm, y_mm + base_mm, color=_TRACE, lw=0.75, solid_joinstyle="round")
            if len(x_mm):
                _name(axes, lead, x_mm[0], base_mm)
    axes.text(WIDTH_MM - 5, 1.6, "25 mm/s   10 mm/mV", fontsize=6.5, color="#5b5560", ha="right", va="bottom")
    return figure


def _levelled(signal_mv: np.ndarray) -> np.ndarray:
    """Each lead about its median, as a recorder's baseline filter would place it."""
    if not signal_mv.shape[1]:
        return signal_mv.astype(float)
    return signal_mv - np.median(signal_mv, axis=1, keepdims=True)


def _strips(signal_mm: np.ndarray, rate_hz: float) -> list[list[tuple[str, np.ndarray, np.ndarray]]]:
    """Rows of (lead, x, y) in millimetres, x from the left edge, y from the baseline."""
    x_mm = MARGIN_MM + np.arange(signal_mm.shape[1]) / rate_hz * MM_PER_SECOND
    column = round(COLUMN_S * rate_hz)
    rows = []
    for row in range(3):
        parts = []
        for number in range(4):
            lead = LEADS[3 * number + row]
            # One sample into the next column, so that the trace does not break.
            window = slice(number * column, (number + 1) * column + (number < 3))
            parts.append((lead, x_mm[window], signal_mm[LEADS.index(lead), window]))
        rows.append(parts)
    return [*rows, [(STRIP, x_mm, signal_mm[LEADS.index(STRIP)])]]


def _layout(rows: list[list[np.ndarray]]) -> tuple[list[float], float]:
    """Baseline of each row from the bottom, and the height, both on whole millimetres.

    Two rows stand as close as their four columns allow: a tall lead seldom meets a deep one above it.
    """
    extents = [[_extent(part) for part in row] for row in rows]
    top_mm = max(ROW_MM / 2, max(up for up, _ in extents[0]) + _GAP_MM)
    steps = [top_mm]
    for upper, lower in pairwise(extents):
        meeting = max(down + up for (_, down), (up, _) in zip(upper, lower, strict=True))
        steps.append(min(max(ROW_MM, meeting + _GAP_MM), MOST_ROW_MM))
    depths = np.cumsum(np.ceil(steps))
    bottom_mm = max(ROW_MM / 2, max(down for _, down in extents[-1]) + _GAP_MM)
    height_mm = float(depths[-1] + np.ceil(bottom_mm))
    return [float(height_mm - depth) for depth in depths], height_mm


def _extent(y_mm: np.ndarray) -> tuple[float, float]:
    """How far a trace, its name and its calibration pulse reach above and below the baseline."""
    values = np.append(y_mm, [0.0, MM_PER_MILLIVOLT + 1])
    return float(values.max()), float(-values.min())


def _paper(axes: Axes, height_mm: float) -> None:
    for step, color, width in _GRID:
        upright = [[(x, 0), (x, height_mm)] for x in np.arange(0, WIDTH_MM + 0.1, step)]
        level = [[(0, y), (WIDTH_MM, y)] for y in np.arange(0, height_mm + 0.1, step)]
        axes.add_collection(LineCollection(upright + level, colors=color, linewidths=width, zorder=0))


def _pulse(axes: Axes, base_mm: float) -> None:
    """1 mV for 0.2 s."""
    x = np.array([1.5, 2.5, 2.5, 7.5, 7.5, 8.5])
    y = base_mm + MM_PER_MILLIVOLT * np.array([0, 0, 1, 1, 0, 0])
    axes.plot(x, y, color=_TRACE, lw=0.75)


def _name(axes: Axes, lead: str, x_mm: float, base_mm: float) -> None:
    box = {"facecolor": "#fffdfc", "edgecolor": "none", "pad": 0.6, "alpha": 0.8}
    axes.text(
        x_mm + 1.2, base_mm + 8.2, lead, fontsize=7.5, color=_TRACE, weight="bold", bbox=box, va="bottom"
    )
