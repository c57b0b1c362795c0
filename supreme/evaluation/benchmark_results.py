"""Results of published and own label sets under a protocol: part of an `EvaluationResult`."""

from __future__ import annotations

from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from supreme.evaluation.baselines import EncoderMean
from supreme.evaluation.class_results import MacroAuroc, ProtocolResult
from supreme.evaluation.probes import DrawMean, ProbeResult
from supreme.evaluation.prompts import PromptSpread
from supreme.evaluation.protocols import MeanOfSets
from supreme.evaluation.seen import ClassSeen


class _BenchmarkFacts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class F1(_BenchmarkFacts):
    """The mean F1 over classes at a threshold of each."""

    name: str
    """Says where the thresholds come from: at the test's own best ones it flatters."""
    value: float | None
    classes: int


class CorrectedLabels(_BenchmarkFacts):
    """The macro mean with a cardiologist's verdicts on suspect labels, as `evaluation.corrections` has them.

    Only labels that looked wrong were judged: the mean is not free of bias.
    """

    labels: int
    """Labels that differ."""
    macro: MacroAuroc


class ProbeMeans(NamedTuple):
    """Macro AUROC of probes at one fraction of the training patients, beside that of the baselines."""

    fraction: float
    model: DrawMean
    random_encoder: DrawMean | None
    handmade: DrawMean | None


class ProbeComparison(_BenchmarkFacts):
    """Linear probes on the model's embeddings, and on those of the baselines."""

    model: ProbeResult
    handmade: ProbeResult
    random_encoders: tuple[EncoderMean, ...]
    """At each fraction of the training patients."""

    def means(self) -> list[ProbeMeans]:
        """Smallest fraction first."""
        random = {part.fraction: part.macro for part in self.random_encoders}
        handmade = {part.fraction: part.macro for part in self.handmade.fractions}
        return [
            ProbeMeans(one.fraction, one.macro, random.get(one.fraction), handmade.get(one.fraction))
            for one in sorted(self.model.fractions, key=lambda part: part.fraction)
        ]


class BenchmarkResult(_BenchmarkFacts):
    """One benchmark under one protocol."""

    dataset: str
    version: str
    """Of the label set."""
    split: str
    split_rule: str
    """In words, where the splits come from."""
    available: str
    """How many records of the split are here, as `0 of 2,158 records of the test split`."""
    left_out: int
    """Of these, records that the model has seen."""
    unknown_codes: dict[str, int]
    """Codes in no column that are not known to be negative -> records."""
    unannotated: int
    other_labels: int
    """Records whose released labels are not those of their codes."""
    prompts: str = ""
    """Prompt set of the numbers."""
    scores: str = ""
    """File in the evaluation's folder with labels and scores; empty without a record."""
    zero_shot: ProtocolResult | None = None
    """None without a record."""
    corrected: CorrectedLabels | None = None
    """None without a verdict on this benchmark."""
    f1: F1 | None = None
    seen: dict[str, ClassSeen] = {}
    spread: PromptSpread | None = None
    """Over prompt sets, where there are several."""
    probes: ProbeComparison | None = None
    not_probed: str = ""
    """Why there are no probes."""

    @property
    def macro(self) -> MacroAuroc | None:
        """Zero-shot mean over the classes that count under the protocol; None without a record."""
        return None if self.zero_shot is None else self.zero_shot.macro["headline"]

    def probe_means(self) -> dict[float, ProbeMeans]:
        """Of each fraction of the training patients, smallest first; empty without probes."""
        return {one.fraction: one for one in self.probes.means()} if self.probes else {}


class ProtocolEvaluation(_BenchmarkFacts):
    """All benchmarks under one protocol."""

    version: str
    title: str
    benchmarks: dict[str, BenchmarkResult]
    means: tuple[MeanOfSets, ...]
    """Plain means of the protocol's six sets; without a value where a set has no record here."""

    @property
    def fractions(self) -> list[float]:
        """Fractions of the training patients at which some benchmark was probed, smallest first."""
        return sorted({fraction for one in self.benchmarks.values() for fraction in one.probe_means()})

    @property
    def f1_name(self) -> str:
        """What the F1 of its benchmarks is; empty where there is none."""
        return "; ".join(dict.fromkeys(one.f1.name for one in self.benchmarks.values() if one.f1))


class QuerySetInvariance(_BenchmarkFacts):
    """How much an answer depends on which other queries are put with it."""

    records: int
    queries: int
    alone: float
    """Largest difference of a logit: the query alone against in its set."""
    in_vocabulary: float
    """The same, put among the whole vocabulary."""

    @property
    def is_invariant(self) -> bool:
        """Whether differences are those of rounding."""
        return max(self.alone, self.in_vocabulary) <= 1e-5
