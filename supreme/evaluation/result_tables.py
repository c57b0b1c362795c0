"""An evaluation as LaTeX tables, benchmark by method: `results.tex`."""

from __future__ import annotations

from supreme.evaluation import latex
from supreme.evaluation.benchmark_results import BenchmarkResult, ProtocolEvaluation
from supreme.evaluation.benchmarks import POOLED
from supreme.evaluation.class_results import Auroc
from supreme.evaluation.latex import EMPTY, LatexTable, escape, number, percent, with_interval
from supreme.evaluation.probes import DrawMean
from supreme.evaluation.results import EvaluationResult

INTERVAL = r"Brackets: 95\,\% interval, patients as units."


def latex_text(result: EvaluationResult) -> str:
    """One table of the data sets, and one for each protocol."""
    tables = [_datasets(result), *(_protocol(name, one) for name, one in result.protocols.items())]
    return latex.document(f"Evaluation of {result.model.uri}, bundle {result.model.sha256}", tables)


def _datasets(result: EvaluationResult) -> LatexTable:
    alone: list[list[str]] = []
    pool: list[list[str]] = []
    for name, part in result.datasets.items():
        protocol = part.zero_shot
        means = [protocol.macro[group] for group in ("headline", "seen", "unseen")]
        counts = [f"{protocol.records:,}", str(means[0].classes)]
        row = [escape(name), *counts, *map(auroc, means)]
        (pool if name == POOLED else alone).append(row)
    least = result.min_positives
    return LatexTable(
        f"Zero-shot macro AUROC over classes with at least {least} positive and {least} negative patients, "
        f"and over those of them that pre-training queried (seen) and did not (unseen). {INTERVAL}",
        ("Data set", "Records", "Classes", "All", "Seen", "Unseen"),
        (alone, pool),
    )


def _protocol(name: str, protocol: ProtocolEvaluation) -> LatexTable:
    fractions = protocol.fractions
    header = ["Benchmark", "Records", "Classes", "Zero-shot", "F1"]
    header += [f"Probe, {percent(fraction)}" for fraction in fractions]
    header += [
        f"{baseline}, {percent(one)}"
        for baseline in ("Random encoder", "Hand-made")
        for one in fractions[-1:]
    ]
    body = [_benchmark(key, one, fractions) for key, one in protocol.benchmarks.items()]
    empty = [""] * (len(header) - 4)
    means = [[escape(f"Mean of {mean.name}"), "", "", number(mean.value), *empty] for mean in protocol.means]
    return LatexTable(_caption(name, protocol), header, (body, means))


def _caption(name: str, protocol: ProtocolEvaluation) -> str:
    sentences = [
        f"Macro AUROC under {escape(f'{name} {protocol.version}')}: {escape(protocol.title)}.",
        INTERVAL,
    ]
    if protocol.fractions:
        sentences.append(
            r"Probes: mean over draws of so many \% of the training patients, over all fitted classes."
        )
    if protocol.f1_name:
        sentences.append(f"F1: {escape(protocol.f1_name)}.")
    sentences += [
        escape(f"No mean of {mean.name}: no number of {', '.join(mean.missing)}.")
        for mean in protocol.means
        if mean.missing
    ]
    return " ".join(sentences)


def _benchmark(key: str, one: BenchmarkResult, fractions: list[float]) -> list[str]:
    cells = [escape(key), "0", EMPTY, EMPTY, number(one.f1.value if one.f1 else None)]
    if one.zero_shot is not None and one.macro is not None:
        cells[1:4] = [f"{one.zero_shot.records:,}", str(one.macro.classes), auroc(one.macro)]
    probes = one.probe_means()
    cells += [_draws(probes[f].model) if f in probes else EMPTY for f in fractions]
    for largest in fractions[-1:]:
        means = probes.get(largest)
        cells += [_draws(means and means.random_encoder), _draws(means and means.handmade)]
    return cells


def auroc(mean: Auroc | None) -> str:
    """`0.812 [0.790, 0.833]`."""
    return EMPTY if mean is None else with_interval(mean.auroc, mean.low, mean.high)


def _draws(mean: DrawMean | None) -> str:
    return number(mean.auroc if mean else None)
