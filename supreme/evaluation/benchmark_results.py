"""Results of published and own label sets under a protocol: part of an `EvaluationResult`."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from supreme.evaluation.baselines import EncoderMean
from supreme.evaluation.class_results import ProtocolResult
from supreme.evaluation.probes import ProbeResult
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


class ProbeComparison(_BenchmarkFacts):
    """Linear probes on the model's embeddings, and on those of the baselines."""

    model: ProbeResult
    handmade: ProbeResult
    random_encoders: tuple[EncoderMean, ...]
    """At each fraction of the training patients."""


class BenchmarkResult(_BenchmarkFacts):
    """One benchmark under one protocol."""

    dataset: str
    version: str
    """Of the label set."""
    split: str
    split_rule: str
    """In words, where the splits come from."""
    found: str
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
    f1: F1 | None = None
    seen: dict[str, ClassSeen] = {}
    spread: PromptSpread | None = None
    """Over prompt sets, where there are several."""
    probes: ProbeComparison | None = None
    not_probed: str = ""
    """Why there are no probes."""


class ProtocolEvaluation(_BenchmarkFacts):
    """All benchmarks under one protocol."""

    version: str
    title: str
    benchmarks: dict[str, BenchmarkResult]
    means: tuple[MeanOfSets, ...]
    """Plain means of the protocol's six sets; without a value where a set has no record here."""


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
