"""What an evaluation left in its folder, for the page, for comparisons and for the gate."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from supreme import config, manifest, storage
from supreme.evaluation import benchmark_scores, results
from supreme.evaluation.benchmarks import POOLED, Benchmark
from supreme.evaluation.results import EVALUATION, EvaluationResult, EvaluationSummary
from supreme.evaluation.targets import Target, folder_of
from supreme.manifest import Manifest
from supreme.storage.parquet import read_table

_IDS = ("record_id", "patient_id")


@dataclass(frozen=True)
class EvaluationFolder:
    """A finished evaluation: result, scores and labels."""

    folder: str
    manifest: Manifest[EvaluationSummary]
    result: EvaluationResult

    @classmethod
    def open(cls, recipe: config.Recipe, model: Target) -> EvaluationFolder:
        """The evaluation of a model.

        Raises:
            ConfigError: there is none, or one of its files is damaged or of another version.
        """
        folder = folder_of(recipe, model)
        finished = manifest.require(folder, EVALUATION)
        result = results.read(folder)  # says more about an older version
        manifest.verify(folder, EVALUATION, finished)
        return cls(folder, finished, result)

    def scores(self) -> pa.Table:
        """Probabilities of every evaluated record: ``record_id`` and one column a condition."""
        names = [name for name in self.result.datasets if name != POOLED]
        return pa.concat_tables(
            [read_table(storage.join(self.folder, "scores", f"{name}.parquet")) for name in names]
        )

    def published(self, protocol: str, name: str) -> tuple[Benchmark, pa.Table] | None:
        """Labels and scores of a label set under a protocol; None where no record was scored."""
        file = self.result.protocols[protocol].benchmarks[name].scores
        if not file:
            return None
        return benchmark_scores.read(storage.join(self.folder, file), f"{protocol}: {name}")

    def benchmark(self, dataset: str) -> Benchmark:
        """The labels of the records that were evaluated of a data set."""
        table = read_table(storage.join(self.folder, "labels", f"{dataset}.parquet"))
        return Benchmark.from_table(
            dataset, table, {name: name for name in table.column_names if name not in _IDS}
        )
