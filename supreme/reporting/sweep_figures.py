"""Figures of a sweep: its history, parallel coordinates, the curve of each trial, the importance of keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pydantic import JsonValue

from supreme.reporting import figures
from supreme.reporting.figures import INK, LINE, MUTED, SEEN, UNSEEN
from supreme.sweep import space
from supreme.sweep.summary import TrialOutcome

_STOPPED = "#b9bec7"
_MAP = colormaps["viridis"]


@dataclass(frozen=True)
class TrialCurve:
    """Values that a trial reported."""

    outcome: TrialOutcome
    samples: tuple[int, ...]
    values: tuple[float, ...]
    is_best: bool


@dataclass(frozen=True)
class Coordinates:
    """One axis of the parallel coordinates: a key, and its value in each trial."""

    key: str
    values: Sequence[JsonValue]
    is_log: bool = False

    def places(self) -> tuple[np.ndarray, list[tuple[float, str]]]:
        """Height of each trial, 0 to 1, and the ticks of the axis."""
        numbers = [value for value in self.values if isinstance(value, int | float)]
        if len(numbers) == len(self.values) and len(set(numbers)) > 5:
            scaled = np.log(numbers) if self.is_log else np.asarray(numbers, float)
            low, high = scaled.min(), scaled.max()
            ends = (min(numbers), max(numbers))
            return (scaled - low) / (high - low), [(0.0, space.shown(ends[0])), (1.0, space.shown(ends[1]))]
        levels = sorted(set(map(space.shown, self.values)), key=lambda text: (len(text), text))
        heights = {text: (place + 0.5) / len(levels) for place, text in enumerate(levels)}
        return np.array([heights[space.shown(value)] for value in self.values]), [
            (height, text) for text, height in heights.items()
        ]


def history(outcomes: Sequence[TrialOutcome], recipe_value: float | None) -> str:
    """Value of each trial in the order in which they began, the best so far, and the recipe's own line."""
    ordered = sorted(outcomes, key=lambda outcome: (outcome.full, outcome.number, outcome.seed))
    with rc_context(figures.STYLE):
        figure = Figure(figsize=(5.2, 2.7))
        axes = figure.subplots()
        best, trace = -np.inf, []
        for place, outcome in enumerate(ordered):
            if outcome.value is None:
                continue
            _mark(axes, place, outcome.value, outcome)
            if outcome.status == "finished" and not outcome.full:
                best = max(best, outcome.value)
            trace.append((place, best))
        reached = [(place, value) for place, value in trace if np.isfinite(value)]
        if reached:
            axes.step(*zip(*reached, strict=True), where="post", color=SEEN, lw=1, alpha=0.5)
        if recipe_value is not None:
            axes.axhline(recipe_value, color=MUTED, lw=0.8, ls=(0, (4, 3)))
            axes.text(
                1, recipe_value, " recipe", transform=axes.get_yaxis_transform(), fontsize=7, va="center"
            )
        for place in (number for number, one in enumerate(ordered) if one.status == "failed"):
            axes.text(place, 0.02, "×", transform=axes.get_xaxis_transform(), color=UNSEEN, ha="center")
        axes.set_xticks(range(len(ordered)), [_tick(outcome) for outcome in ordered])
        axes.set_xlabel("trial")
        _finish(axes, "macro AUROC on held-out records")
        figure.tight_layout()
        return figures.svg(figure)


def curves(trials: Sequence[TrialCurve]) -> str:
    """Macro AUROC against ECGs seen, a line a trial."""
    with rc_context(figures.STYLE):
        figure = Figure(figsize=(5.2, 2.7))
        axes = figure.subplots()
        for trial in sorted(trials, key=lambda trial: trial.is_best):
            stopped = trial.outcome.status != "finished"
            color = UNSEEN if trial.is_best else _STOPPED if stopped else SEEN
            style = (0, (2, 2)) if trial.outcome.full and not trial.is_best else "-"
            width = 1.8 if trial.is_best else 1.0
            axes.plot(
                trial.samples, trial.values, color=color, lw=width, ls=style, alpha=0.9, marker="o", ms=2
            )
            if trial.is_best or (trial.outcome.number == 0 and not trial.outcome.full):
                label = " winner" if trial.is_best else " recipe"
                axes.text(trial.samples[-1], trial.values[-1], label, fontsize=7, color=color, va="center")
        axes.set_xlabel("ECGs seen")
        axes.set_xlim(left=0)
        axes.margins(x=0.08)
        _finish(axes, "macro AUROC while training")
        figure.tight_layout()
        return figures.svg(figure)


def parallel(axes_of: Sequence[Coordinates], outcomes: Sequence[TrialOutcome]) -> str:
    """A line a trial through the values of its keys to its own value, coloured by it."""
    values = np.array([np.nan if outcome.value is None else outcome.value for outcome in outcomes])
    finished = np.array([outcome.status == "finished" for outcome in outcomes])
    # Values at an early stop would squeeze those of whole trials together: they stand at the bottom.
    scale = values[finished] if finished.any() else values
    low, high = np.nanmin(scale), np.nanmax(scale)
    heights = np.clip((values - low) / max(high - low, 1e-9), 0, 1)
    rows = [coordinates.places() for coordinates in axes_of]
    names = [*space.short_keys([coordinates.key for coordinates in axes_of]), "macro AUROC"]
    with rc_context(figures.STYLE):
        figure = Figure(figsize=(10.6, 2.9))
        axes = figure.subplots()
        for place, height in enumerate(heights):
            if not np.isnan(height):
                line = [*(row[0][place] for row in rows), height]
                color = _MAP(0.9 * height) if finished[place] else _STOPPED
                axes.plot(line, color=color, lw=1.4 if finished[place] else 0.8, zorder=1 + height)
        ticks = [*(row[1] for row in rows), [(0.0, f"{low:.3f}"), (1.0, f"{high:.3f}")]]
        for column, marks in enumerate(ticks):
            axes.axvline(column, color=MUTED, lw=0.8, zorder=0)
            for height, text in marks:
                halo = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1}
                axes.text(column, height, f" {text}", fontsize=7.5, color=INK, va="center", bbox=halo)
        axes.set(xticks=range(len(names)), yticks=(), ylim=(-0.06, 1.06), xlim=(-0.1, len(names) - 0.72))
        axes.set_xticklabels(names, color=INK)
        axes.spines[["left", "bottom"]].set_visible(False)
        figure.tight_layout()
        return figures.svg(figure)


def importance(shares: Mapping[str, float]) -> str:
    """A bar a key: the share of the variance of the value that it explains."""
    names = space.short_keys(list(shares))
    with rc_context(figures.STYLE):
        figure = Figure(figsize=(5.2, 0.28 * len(shares) + 0.6))
        axes = figure.subplots()
        bars = axes.barh(names, list(shares.values()), color=SEEN, height=0.6)
        axes.bar_label(bars, [f" {100 * share:.0f} %" for share in shares.values()], fontsize=7.5)
        axes.invert_yaxis()
        axes.set(xlim=(0, 1.1), xticks=())
        axes.tick_params(axis="y", colors=INK)
        axes.spines["bottom"].set_visible(False)
        figure.tight_layout()
        return figures.svg(figure)


def _mark(axes: Axes, place: int, value: float, outcome: TrialOutcome) -> None:
    color = UNSEEN if outcome.full else SEEN if outcome.status == "finished" else _STOPPED
    face = color if outcome.status == "finished" else "white"
    marker = "D" if outcome.full else "o"
    axes.plot(place, value, marker, color=color, mfc=face, ms=5 if outcome.full else 5.5, zorder=3)


def _tick(outcome: TrialOutcome) -> str:
    return f"{outcome.number}\nfull" if outcome.full else str(outcome.number)


def _finish(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=9, color=INK, loc="left")
    axes.grid(axis="y", color=LINE, lw=0.5)
    axes.set_axisbelow(True)
