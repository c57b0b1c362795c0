"""Probes of a model on its embeddings, and beside them the baselines that it has to beat."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from supreme import storage
from supreme.evaluation import handmade_features, splits
from supreme.evaluation.baselines import (
    SEEDS,
    HandmadeFeatures,
    RandomEncoder,
    probe_handmade,
    probe_random_encoders,
)
from supreme.evaluation.benchmark_results import ProbeComparison
from supreme.evaluation.benchmarks import Benchmark
from supreme.evaluation.datasets import UnseenPart
from supreme.evaluation.embeddings import Embeddings
from supreme.evaluation.model_outputs import ModelOutputs
from supreme.evaluation.probes import CannotProbe, ProbeSplits, probe
from supreme.evaluation.protocols import Protocol
from supreme.evaluation.splits import SplitBenchmark
from supreme.evaluation.subjects import Subject
from supreme.inference.convention import InputConvention
from supreme.settings.evaluation import Probes
from supreme.settings.model import Model

BASELINES = "baselines"
#: In the test of a probe: an AUROC of fewer is chance.
_LEAST_PATIENTS = 10


@dataclass(frozen=True)
class ProbeStage:
    """What is probed: the model's embeddings and those of the baselines."""

    settings: Probes
    seed: int
    subject: Subject
    random_encoders: tuple[ModelOutputs, ...]
    handmade: ModelOutputs

    @classmethod
    def of(
        cls,
        settings: Probes,
        seed: int,
        subject: Subject,
        architecture: Model,
        convention: InputConvention,
        folder: str,
    ) -> ProbeStage:
        """With random encoders of one architecture, cached in ``folder`` by what they are."""
        facts = [architecture.model_dump(mode="json"), convention.model_dump(mode="json")]
        digest = storage.sha256(json.dumps(facts, sort_keys=True).encode())[:16]
        encoders = tuple(
            ModelOutputs(
                RandomEncoder(architecture, convention, number),
                storage.join(folder, f"random-{digest}-{number}"),
                by_content=True,
            )
            for number in SEEDS
        )
        handmade = ModelOutputs(HandmadeFeatures(), storage.join(folder, "handmade"), by_content=True)
        return cls(settings, seed, subject, encoders, handmade)

    def compare(
        self, part: UnseenPart, protocol: Protocol, split: SplitBenchmark, test_split: str, unseen: set[str]
    ) -> ProbeComparison:
        """Probe the model and the baselines on the same records.

        Args:
            test_split: what the probes are tested on.
            unseen: records that the model has not seen; the others are in no test.

        Raises:
            CannotProbe: too few records or labels; the message says of what.
        """
        parts = _probe_splits(splits.patient_safe(split), test_split, unseen)
        outputs = self.subject.outputs(part, protocol)
        assert self.subject.first_embedding is not None
        embeddings = Embeddings(
            outputs.record_ids, np.ascontiguousarray(outputs.values[:, self.subject.first_embedding :])
        )
        mine = probe(embeddings, parts, self.settings, self.seed)
        random = [_embeddings(one, part, protocol) for one in self.random_encoders]
        _, means = probe_random_encoders(random, parts, self.settings, self.seed)
        table = part.data.shards.table(("record_id", "age", "sex"))
        ids, ages, sexes = (table.column(name).to_pylist() for name in ("record_id", "age", "sex"))
        features = handmade_features.with_age_and_sex(
            _embeddings(self.handmade, part, protocol),
            dict(zip(ids, ages, strict=True)),
            dict(zip(ids, sexes, strict=True)),
        )
        handmade = probe_handmade(features, parts, self.settings, self.seed)
        return ProbeComparison(model=mine.result, handmade=handmade.result, random_encoders=means)


def _embeddings(outputs: ModelOutputs, part: UnseenPart, protocol: Protocol) -> Embeddings:
    scored = outputs.of(part, protocol)
    return Embeddings(scored.record_ids, scored.values)


def _probe_splits(split: SplitBenchmark, test_split: str, unseen: set[str]) -> ProbeSplits:
    if test_split not in ("test", "validation"):
        raise CannotProbe(f"evaluation.split={test_split} leaves no record to test a probe on")
    test = _only(split.part(test_split), unseen)
    if len(set(test.patients)) < _LEAST_PATIENTS:
        raise CannotProbe(f"{len(set(test.patients))} test patients, and {_LEAST_PATIENTS} say something")
    validation = split.part("validation")
    if test_split == "validation":
        validation = validation.select(np.zeros(len(validation.record_ids), bool))
    return ProbeSplits(split.part("train"), validation, test)


def _only(benchmark: Benchmark, record_ids: Sequence[str] | set[str]) -> Benchmark:
    return benchmark.select(np.array([record in record_ids for record in benchmark.record_ids], bool))
