"""A closer look at a bundle: robustness curves, explanations of scores, labels that look wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from supreme import log, storage
from supreme.ecg import to_millivolts
from supreme.evaluation import label_audit, zeroshot
from supreme.evaluation.benchmarks import POSITIVE
from supreme.evaluation.bundle_scorer import BundleScorer, probabilities
from supreme.evaluation.class_results import ResultPart
from supreme.evaluation.datasets import UnseenPart
from supreme.evaluation.embeddings import Embeddings
from supreme.evaluation.explanation_stage import Explanations, QueriedEcg, explain
from supreme.evaluation.faithfulness import Faithfulness
from supreme.evaluation.label_audit import AuditedClass, LabelAudit
from supreme.evaluation.outputs import Outputs, collect
from supreme.evaluation.probes import CannotProbe
from supreme.evaluation.robustness import RobustnessCurve
from supreme.evaluation.robustness_stage import RobustnessStage
from supreme.evaluation.shard_reader import ShardReader
from supreme.inference.query_model import EcgQueryModel
from supreme.settings.examine import Examine

OUTPUTS = "outputs"

logger = log.get("examine")


class ExaminedDataset(ResultPart):
    """What was seen on one data set."""

    robustness: tuple[RobustnessCurve, ...]
    not_robust: str = ""
    """Why there are no curves."""
    audited: dict[str, AuditedClass]
    suspects: int
    """Labels in the sheet for a cardiologist."""
    not_audited: str = ""
    """Why there is no audit."""


class Examination(ResultPart):
    """Everything that an examination found out about one model."""

    schema_version: Literal[1] = 1
    recipe: str
    model_uri: str
    datasets: dict[str, ExaminedDataset]
    explanations: tuple[Faithfulness, ...]
    """Of each method, over the ECGs that are shown."""


@dataclass(frozen=True)
class Examiner:
    """One model on the records that it has not seen."""

    model: EcgQueryModel
    uri: str
    store: str | None
    settings: Examine
    folder: str
    min_positives: int
    replicates: int
    seed: int

    def robustness(self, part: UnseenPart) -> tuple[tuple[RobustnessCurve, ...], str]:
        """The curves of all perturbations, or why there are none."""
        if not self.settings.records:
            return (), "examine.records=0"
        scorer = self._scorer(part)
        stage = RobustnessStage(
            scorer,
            storage.join(self.folder, OUTPUTS),
            self.settings.records,
            self.min_positives,
            self.replicates,
            self.seed,
        )
        try:
            return stage.curves(part, lambda out: probabilities(out[:, : scorer.queries])), ""
        except ValueError as error:
            return (), str(error)

    def audit(self, part: UnseenPart) -> tuple[LabelAudit | None, str]:
        """The labels that probes of other patients believe least, or why there are none."""
        if not self.settings.suspects:
            return None, "examine.suspects=0"
        first = self._scorer(part).queries
        outputs = self._outputs(part)
        embeddings = Embeddings(outputs.record_ids, np.ascontiguousarray(outputs.values[:, first:]))
        try:
            return label_audit.audit(embeddings, part.benchmark, self.seed, self.settings.suspects), ""
        except CannotProbe as error:
            return None, str(error)

    def explain(self, part: UnseenPart) -> tuple[tuple[QueriedEcg, ...], Explanations | None]:
        """The positive records with the highest scores, each of another patient, and what these come from."""
        ecgs = tuple(self._best_hits(part)) if self.settings.explained else ()
        return ecgs, explain(self.model, ecgs, self.seed) if ecgs else None

    def _best_hits(self, part: UnseenPart) -> list[QueriedEcg]:
        bench, first = part.benchmark, self._scorer(part).queries
        scores = self._outputs(part).of(bench.record_ids, bench.dataset)[:, :first]
        usable = [c for c in range(len(bench.classes)) if bench.smaller_class(c) >= self.min_positives]
        ranked = {c: iter(np.argsort(-scores[:, c], kind="stable").tolist()) for c in usable}
        hits: list[tuple[int, int]] = []
        patients: set[str] = set()
        while len(hits) < self.settings.explained and ranked:
            for c in list(ranked):
                row = _next_positive(ranked[c], bench.labels[:, c], bench.patients, patients)
                if row is None:
                    del ranked[c]
                elif len(hits) < self.settings.explained:
                    patients.add(bench.patients[row])
                    hits.append((row, c))
        signals = _signals(part, [bench.record_ids[row] for row, _ in hits])
        return [
            QueriedEcg(bench.patients[row], bench.classes[c], *signals[bench.record_ids[row]])
            for row, c in hits
        ]

    def _scorer(self, part: UnseenPart) -> BundleScorer:
        queries = tuple(zeroshot.queries_of(one, self.model) for one in part.benchmark.classes)
        return BundleScorer.of(self.model, self.uri, self.store, (queries,))

    def _outputs(self, part: UnseenPart) -> Outputs:
        reader = ShardReader.of(part.data.shards, part.rows)
        uri = storage.join(self.folder, OUTPUTS, f"{part.data.name}.parquet")
        return collect(reader, self._scorer(part), uri, part.data.name)


def _next_positive(
    rows: Iterator[int], labels: np.ndarray, patients: Sequence[str], used: set[str]
) -> int | None:
    return next((row for row in rows if labels[row] == POSITIVE and patients[row] not in used), None)


def _signals(part: UnseenPart, record_ids: Sequence[str]) -> dict[str, tuple[np.ndarray, float]]:
    """Record id -> ``(12, T)`` mV and its rate."""
    every = part.data.shards.table(("record_id",)).column("record_id").to_pylist()
    reader = ShardReader.of(part.data.shards, np.isin(every, list(record_ids)))
    signals = {}
    for index in range(len(reader.units)):
        table, read = reader.read(index)
        for record, signal in zip(table.column("record_id").to_pylist(), read, strict=True):
            if signal is not None:
                signals[record] = (to_millivolts(signal.values), signal.rate_hz)
    return signals
