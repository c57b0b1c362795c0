"""Evaluation results as lines for the console."""

from __future__ import annotations

from supreme.evaluation.benchmark_results import ProtocolEvaluation
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
    for name, protocol in result.protocols.items():
        lines += ["", *_protocol(name, protocol)]
    if result.model.trained_on is None:
        lines.append("trained on: unknown; these numbers may contain records that the model has seen")
    return lines


def _protocol(name: str, protocol: ProtocolEvaluation) -> list[str]:
    """A line a benchmark, and the headline means."""
    columns = f"{'zero-shot':24} {'probe':>6} {'random':>7} {'by hand':>8}"
    lines = [f"{name}: {protocol.title}", f"{'':28} {columns}  records"]
    for key, one in protocol.benchmarks.items():
        macro = one.macro
        cell = "-"
        if macro is not None and macro.auroc is not None:
            interval = "" if macro.low is None else f" [{macro.low:.3f}, {macro.high:.3f}]"
            cell = f"{macro.auroc:.3f} ({macro.classes}){interval}"
        probes = ["-", "-", "-"]
        if one.probes is not None:
            fractions = (
                one.probes.model.fractions[-1].macro,
                one.probes.random_encoders[-1].macro,
                one.probes.handmade.fractions[-1].macro,
            )
            probes = ["-" if mean.auroc is None else f"{mean.auroc:.3f}" for mean in fractions]
        lines.append(f"{key:28} {cell:24} {probes[0]:>6} {probes[1]:>7} {probes[2]:>8}  {one.available}")
    for mean in protocol.means:
        value = f"no value: {len(mean.missing)} sets have none" if mean.value is None else f"{mean.value:.4f}"
        lines.append(f"mean of {mean.name}: {value}")
    return lines


def _text(macro: MacroAuroc) -> str:
    return "-" if macro.auroc is None else f"{macro.auroc:.3f} ({macro.classes})"
