"""Evaluation results with planted numbers, for pages and tables."""

from __future__ import annotations

from supreme.evaluation.baselines import EncoderMean
from supreme.evaluation.benchmark_results import (
    F1,
    BenchmarkResult,
    ProbeComparison,
    ProtocolEvaluation,
    QuerySetInvariance,
)
from supreme.evaluation.class_results import (
    GROUPS,
    ClassResult,
    LeftOut,
    LiteralMacro,
    MacroAuroc,
    ProtocolResult,
)
from supreme.evaluation.probes import DrawMean, ProbeFraction, ProbeResult
from supreme.evaluation.prompts import spread
from supreme.evaluation.protocols import MeanOfSets
from supreme.evaluation.results import DatasetResult, EvaluatedModel, EvaluationResult
from supreme.evaluation.seen import ClassSeen

HOSTILE = '<script>&_%#$\\~^{}",\n=1'
F1_NAME = "F1 at the test split's best threshold"


def macro(auroc: float | None, classes: int = 2) -> MacroAuroc:
    bounds = (None, None) if auroc is None else (auroc - 0.05, auroc + 0.05)
    return MacroAuroc(auroc=auroc, low=bounds[0], high=bounds[1], classes=classes)


def class_result(name: str, auroc: float | None, *, headline: bool = True) -> ClassResult:
    return ClassResult(
        name=name,
        auroc=auroc,
        low=None if auroc is None else auroc - 0.1,
        high=None if auroc is None else auroc + 0.1,
        auprc=0.4321,
        prevalence=0.1234,
        sensitivity_at_95=0.5678,
        records=1234,
        positives=56,
        positive_patients=43,
        negative_patients=987,
        left_open=0,
        seen=headline,
        headline=headline,
    )


def zero_shot(auroc: float | None, classes: dict[str, float | None]) -> ProtocolResult:
    return ProtocolResult(
        records=1234,
        patients=1030,
        macro={
            group: macro(auroc and auroc - (0 if group == "headline" else 0.1), len(classes))
            for group in GROUPS
        },
        classes={key: class_result(key, value, headline=value != 0.25) for key, value in classes.items()},
        calibration=None,
        literal=LiteralMacro(auroc=auroc, classes=len(classes)),
    )


def draw_mean(auroc: float | None) -> DrawMean:
    return DrawMean(auroc=auroc, low=None, high=None, draws=3)


def probe(*values: float | None) -> ProbeResult:
    fractions = [
        ProbeFraction(
            fraction=fraction,
            draws=3,
            records=100 * fraction,
            macro=draw_mean(value),
            shared_macro=draw_mean(None),
            classes={"CD": draw_mean(value)},
            left_out={},
            c=0.1,
        )
        for fraction, value in zip((0.01, 1.0), values, strict=True)
    ]
    return ProbeResult(
        draw="plain", selected_on="validation", fractions=tuple(fractions), shared_classes=(), undefined=()
    )


def bare(name: str = "csn", available: str = "0 of 2,158 records of the test split") -> BenchmarkResult:
    """A benchmark without a record."""
    return BenchmarkResult(
        dataset=name,
        version="1",
        split="test",
        split_rule="by fold",
        available=available,
        left_out=0,
        unknown_codes={},
        unannotated=0,
        other_labels=0,
    )


def full(odd: str = "") -> BenchmarkResult:
    """A benchmark with everything; ``odd`` is added to what may come from files and users."""
    seen = ClassSeen(by_name="", ancestors=(), descendants=("long_qt",), nearest="long_qt", cosine=0.75)
    classes: dict[str, float | None] = {"CD": 0.8125, f"MI{odd}": None, "HYP": 0.25}
    values = {"phrasings": classes, f"mine{odd}": {"CD": 0.75, "HYP": 0.5}}
    return bare("ptbxl", f"463 of 21,388 records of the test split{odd}").model_copy(
        update={
            "split_rule": f"released files{odd}",
            "unknown_codes": {f"12345{odd}": 17},
            "left_out": 21,
            "prompts": "phrasings",
            "zero_shot": zero_shot(0.7654, classes),
            "f1": F1(name=F1_NAME, value=0.4567, classes=3),
            "seen": {"CD": seen},
            "spread": spread(values, classes),
            "probes": ProbeComparison(
                model=probe(0.6111, 0.7222),
                handmade=probe(0.5111, 0.8222),
                random_encoders=(
                    EncoderMean(fraction=0.01, macro=draw_mean(None)),
                    EncoderMean(fraction=1.0, macro=draw_mean(0.6333)),
                ),
            ),
        }
    )


def evaluation(odd: str = "", *, invariant: bool = True) -> EvaluationResult:
    """One data set; one protocol with two benchmarks, of which one has no record."""
    means = (
        MeanOfSets(name=f"six sets{odd}", value=None, benchmarks=("ptbxl", "csn"), missing=("csn",)),
        MeanOfSets(name="one set", value=0.76543, benchmarks=("ptbxl",), missing=()),
    )
    protocol = ProtocolEvaluation(
        version="1",
        title=f"as published{odd}",
        benchmarks={f"ptbxl-superclass{odd}": full(odd), "csn-legacy": bare()},
        means=means,
    )
    dataset = DatasetResult(
        kind="ptbxl",
        shards_digest="d",
        splits=("test",),
        left_out=LeftOut(),
        protocols={"zero_shot": zero_shot(0.6543, {"long_qt": 0.6543})},
    )
    return empty().model_copy(
        update={
            "datasets": {f"ptbxl{odd}": dataset},
            "protocols": {f"merl{odd}": protocol},
            "invariance": QuerySetInvariance(
                records=8, queries=12, alone=1e-7 if invariant else 0.31, in_vocabulary=0.0
            ),
        }
    )


def empty() -> EvaluationResult:
    """An evaluation of nothing."""
    model = EvaluatedModel(
        uri="models:/m_1/2", sha256="ab" * 32, vocabulary=3, reads_reports=False, trained_on=None
    )
    return EvaluationResult(recipe="r", seed=0, min_positives=5, bootstrap=0, model=model, datasets={})
