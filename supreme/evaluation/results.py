"""The result of an evaluation: one schema for the job, the page, comparisons, the gate and MLflow.

:class:`EvaluationResult` -> data set x protocol -> class. It is written as `results.json` and read by
:func:`read` alone, which checks its version.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from supreme import manifest, storage
from supreme.evaluation.benchmark_results import ProtocolEvaluation, QuerySetInvariance
from supreme.evaluation.class_results import (
    Group,
    LeftOut,
    ProtocolResult,
    ResultPart,
)
from supreme.inference.provenance import SeenDataset
from supreme.storage.documents import read_document

RESULTS = "results.json"
#: The same numbers as one long table, and as tables benchmark by method.
CSV, LATEX = "results.csv", "results.tex"
SCHEMA_VERSION: Literal[3] = 3
#: The protocol of this stage: every condition is queried by name or phrasing, no label is used.
ZERO_SHOT = "zero_shot"
#: The same with the labels of `evaluation.corrections`.
CORRECTED = "zero_shot_corrected"


class DatasetResult(ResultPart):
    """One data set, or all real ones pooled."""

    kind: str
    """Source kind; empty for the pool."""
    shards_digest: str
    """Empty for the pool."""
    splits: tuple[str, ...]
    """Splits of the evaluated records."""
    left_out: LeftOut
    protocols: dict[str, ProtocolResult]

    @property
    def zero_shot(self) -> ProtocolResult:
        return self.protocols[ZERO_SHOT]


class EvaluatedModel(ResultPart):
    """The model behind the numbers."""

    uri: str
    sha256: str
    """Of the bundle."""
    vocabulary: int
    """Entities queried in pre-training."""
    reads_reports: bool
    """Whether it learned from whole reports, which mention unseen conditions too."""
    selection_metric: str = ""
    selection_value: float | None = None
    selection_rule: str = ""
    """How its weights were selected; empty where that is not recorded."""
    validation_digest: str = ""
    trained_on: tuple[SeenDataset, ...] | None
    """From the bundle; None where it does not say what the model has seen."""


class EvaluationResult(ResultPart):
    """Everything that one evaluation found out about one model."""

    schema_version: Literal[3] = SCHEMA_VERSION
    recipe: str
    seed: int
    min_positives: int
    bootstrap: int
    model: EvaluatedModel
    datasets: dict[str, DatasetResult]
    protocols: dict[str, ProtocolEvaluation] = Field(default_factory=dict)
    """Published and own label sets under each protocol."""
    invariance: QuerySetInvariance | None = None
    """None without a record."""

    def named(self, uri: str) -> EvaluationResult:
        """The same numbers under another URI of the same bundle."""
        return self.model_copy(update={"model": self.model.model_copy(update={"uri": uri})})

    def macro(self, group: Group) -> dict[str, float | None]:
        """Zero-shot macro AUROC of each data set."""
        return {name: part.zero_shot.macro[group].auroc for name, part in self.datasets.items()}

    @property
    def left_out(self) -> dict[str, int]:
        """Records left out of each data set because the model has seen them."""
        return {name: part.left_out.records for name, part in self.datasets.items()}


class EvaluationPlan(ResultPart):
    """What an evaluation would do."""

    stage: str = "evaluation"
    model_uri: str
    at_most: dict[str, int | None]
    """Records of each data set, None where it is not sharded yet. Which of them the model has seen is in its
    bundle, which a plan does not open."""
    seconds: int


class EvaluationSummary(ResultPart):
    """What the manifest of a finished evaluation says: records evaluated of each data set."""

    records: dict[str, int]


EVALUATION = manifest.Stage(
    name="evaluation",
    job="evaluate",
    result=EvaluationSummary,
    files=(
        *(RESULTS, CSV, LATEX),
        *("scores/*.parquet", "labels/*.parquet", "outputs/*.parquet"),
        *("outputs/*.parts/*.parquet", "benchmarks/*.parquet"),
    ),
)


def read(folder: str) -> EvaluationResult:
    """The result in an evaluation folder.

    Raises:
        ConfigError: it is damaged or of another version; the message names the file and the remedy.
        StorageError: it is missing.
    """
    return read_document(storage.join(folder, RESULTS), EvaluationResult, remedy=EVALUATION.remedy)
