"""Evaluation results as lines for the console."""

from __future__ import annotations

from supreme.evaluation.benchmarks import POOLED
from supreme.evaluation.class_results import MacroAuroc
from supreme.evaluation.results import EvaluationResult


def table(result: EvaluationResult) -> list[str]:
    """Lines for the console: macro AUROC of every data set, and what was left out."""
    lines = [f"{'':28} {'macro AUROC':24} {'seen':11} {'unseen':11} {'records':>8} {'left out':>9}"]
    for name in sorted(result.datasets, key=lambda name: (name == POOLED, name != "simulated", name)):
        part = result.datasets[name]
        macro = part.zero_shot.macro
        headline = macro["headline"]
        interval = "" if headline.low is None else f" [{headline.low:.3f}, {headline.high:.3f}]"
        cells = [f"{_text(headline)}{interval}", _text(macro["seen"]), _text(macro["unseen"])]
        left_out = f"{part.left_out.records:,}" if result.model.trained_on is not None else "unknown"
        counts = f"{part.zero_shot.records:8,} {left_out:>9}"
        lines.append(f"{name:28} {cells[0]:24} {cells[1]:11} {cells[2]:11} {counts}")
    if result.model.trained_on is None:
        lines.append("trained on: unknown; these numbers may contain records that the model has seen")
    return lines


def _text(macro: MacroAuroc) -> str:
    return "-" if macro.auroc is None else f"{macro.auroc:.3f} ({macro.classes})"
