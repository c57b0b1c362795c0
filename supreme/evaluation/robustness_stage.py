"""Robustness of a model on the records of a data set: scored by the engine at every strength."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from supreme import storage
from supreme.evaluation.datasets import UnseenPart
from supreme.evaluation.outputs import collect
from supreme.evaluation.perturbations import PERTURBATIONS, Perturbation
from supreme.evaluation.robustness import RobustnessCurve, curve
from supreme.evaluation.shard_reader import ShardReader
from supreme.inference.engine import ScoringModel

#: Outputs ``(N, width)`` of the model to scores ``(N, C)`` of a benchmark's classes; NaN: not asked.
ScoresOf = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class RobustnessStage:
    """What is perturbed, and how the curves are summed up."""

    model: ScoringModel
    folder: str
    """Of the outputs, one file for each data set, perturbation and strength: an interrupted call goes on."""
    records: int
    """At most so many of a data set, drawn at random."""
    min_positives: int
    replicates: int
    seed: int
    perturbations: tuple[Perturbation, ...] = PERTURBATIONS

    def curves(self, part: UnseenPart, scores_of: ScoresOf) -> tuple[RobustnessCurve, ...]:
        """The curve of every perturbation on the records that the model has not seen.

        Raises:
            ValueError: no class has scores and enough positive and negative patients.
        """
        selected = self._draw(part)
        names = part.data.shards.table(("record_id", "source_rate_hz")).filter(selected)
        ids = names.column("record_id").to_pylist()
        rates_hz = [part.data.shards.rate_hz or rate for rate in names.column("source_rate_hz").to_pylist()]
        drawn = set(ids)
        benchmark = part.benchmark.select(np.array([record in drawn for record in part.benchmark.record_ids]))
        unchanged = self._scores(part, selected, benchmark.record_ids, None, 0, scores_of)
        curves = []
        for one in self.perturbations:
            scores, changed = [unchanged], [0]
            for strength in one.strengths[1:]:
                changed.append(sum(one.changes(rate, strength) for rate in rates_hz))
                if changed[-1]:
                    scores.append(
                        self._scores(part, selected, benchmark.record_ids, one, strength, scores_of)
                    )
                else:
                    scores.append(unchanged)
            rng = np.random.default_rng([self.seed, zlib.crc32(benchmark.dataset.encode())])
            curves.append(curve(one, scores, changed, benchmark, self.min_positives, self.replicates, rng))
        return tuple(curves)

    def _draw(self, part: UnseenPart) -> np.ndarray:
        """bool ``(N,)`` of the rows of the shards."""
        rows = np.flatnonzero(part.rows)
        rng = np.random.default_rng([self.seed, zlib.crc32(part.data.name.encode())])
        selected = np.zeros(len(part.rows), bool)
        selected[rng.permutation(rows)[: self.records]] = True
        return selected

    def _scores(
        self,
        part: UnseenPart,
        selected: np.ndarray,
        record_ids: tuple[str, ...],
        one: Perturbation | None,
        strength: float,
        scores_of: ScoresOf,
    ) -> np.ndarray:
        crop = partial(one, strength=strength, seed=self.seed) if one else None
        reader = ShardReader.of(part.data.shards, selected, crop)
        name = f"{one.name}-{strength:g}" if one else "unchanged"
        digest = storage.sha256(selected.tobytes() + str(self.seed).encode())[:8]
        uri = storage.join(self.folder, f"{part.data.name}-{digest}-{name}.parquet")
        return scores_of(collect(reader, self.model, uri, f"{part.data.name} ({name})").of(record_ids, part.data.name))
