"""Evaluation results as lines for the console."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from supreme.evaluation.benchmarks import POOLED


def table(parts: Mapping[str, Any]) -> list[str]:
    """Lines for the console: macro AUROC of every data set."""
    lines = [f"{'':28} {'macro AUROC':24} {'seen':11} {'unseen':11} records"]
    for name in sorted(parts, key=lambda name: (name == POOLED, name != "simulated", name)):
        part = parts[name]
        macro = part["macro"]
        low, high = macro["headline"]["low"], macro["headline"]["high"]
        interval = "" if low is None else f" [{low:.3f}, {high:.3f}]"
        cells = [f"{_text(macro['headline'])}{interval}", _text(macro["seen"]), _text(macro["unseen"])]
        lines.append(f"{name:28} {cells[0]:24} {cells[1]:11} {cells[2]:11} {part['records']:,}")
    return lines


def _text(macro: Mapping[str, Any]) -> str:
    return "-" if macro["auroc"] is None else f"{macro['auroc']:.3f} ({macro['classes']})"
