"""A comparison of models as one long CSV and as LaTeX tables."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence

from supreme.evaluation import latex
from supreme.evaluation.latex import EMPTY, LatexTable, escape, with_interval
from supreme.evaluation.leaderboard import Leaderboard
from supreme.evaluation.model_comparison import DatasetVerdict, ModelComparison, ModelPair
from supreme.evaluation.verdict import p_text

COLUMNS = (
    *("a", "b", "benchmark", "class", "name", "classes", "records", "patients", "positive_patients"),
    *("auroc_a", "auroc_b", "difference", "low", "high", "p_value", "verdict"),
)
_Cells = list[str | int | float]


def csv_text(result: ModelComparison) -> str:
    """A row for each pair and benchmark, then one for each of its classes; what has no value is empty."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for pair in result.pairs:
        for one in pair.datasets:
            writer.writerows([_cell(value) for value in row] for row in _rows(pair, one))
    return text.getvalue()


def latex_text(result: ModelComparison) -> str:
    """Leaderboards, benchmark by model, of all models; then the verdicts about the first model."""
    boards = [_boards(result.leaderboards)] if result.leaderboards else []
    about = f"Comparison of {', '.join(result.models)}"
    return latex.document(about, [*boards, *(_verdicts(pair, result.margin) for pair in result.pairs)])


def _rows(pair: ModelPair, one: DatasetVerdict) -> list[_Cells]:
    whole = one.comparison
    start: _Cells = [pair.a, pair.b, whole.dataset]
    mean: _Cells = ["", "", whole.classes, whole.records, whole.patients, "", whole.auroc_a, whole.auroc_b]
    rows = [start + mean + [whole.difference, whole.low, whole.high, whole.p_value, one.verdict]]
    for row in whole.by_class:
        cells: _Cells = [row.condition, row.name, "", "", "", row.positive_patients]
        cells += [row.auroc_a, row.auroc_b, row.difference, row.low, row.high, row.p_value, ""]
        rows.append(start + cells)
    return rows


def _cell(value: str | float) -> str | float:
    return "" if isinstance(value, float) and not math.isfinite(value) else value


def _boards(boards: Sequence[Leaderboard]) -> LatexTable:
    """Models in the order of the first board."""
    models = [row.model for row in boards[0].rows]
    body = []
    for board in boards:
        cells = {}
        for row in board.rows:
            number = with_interval(row.auroc, row.low, row.high)
            cells[row.model] = rf"{number}\textsuperscript{{{escape(row.letters)}}}"
        body.append([escape(board.dataset), str(board.classes), *(cells.get(one, EMPTY) for one in models)])
    return LatexTable(
        r"Macro AUROC on the same records and classes. Brackets: 95\,\% interval, patients as units. "
        "Models that share a letter cannot be told apart (every pair tested, after Holm).",
        ("Benchmark", "Classes", *(rf"\texttt{{{escape(model)}}}" for model in models)),
        (body,),
    )


def _verdicts(pair: ModelPair, margin: float) -> LatexTable:
    body = []
    for one in pair.datasets:
        whole = one.comparison
        difference = with_interval(whole.difference, whole.low, whole.high, signed=True)
        p_value = (
            escape(p_text(whole.p_value).removeprefix("p ").removeprefix("= "))
            if math.isfinite(whole.p_value)
            else EMPTY
        )
        aurocs = [latex.number(whole.auroc_a), latex.number(whole.auroc_b)]
        body.append([escape(whole.dataset), *aurocs, difference, p_value, one.verdict])
    return LatexTable(
        rf"A: \texttt{{{escape(pair.a)}}} against B: \texttt{{{escape(pair.b)}}}. Macro AUROC and the "
        rf"difference with its 95\,\% interval; patients as units. Margin of \emph{{not worse}}: {margin:g}.",
        ("Benchmark", "A", "B", "Difference", "p", "A is"),
        (body,),
    )
