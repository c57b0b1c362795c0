"""What an evaluation logs to the MLflow run that made the model: numbers, files and their digests."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

from supreme import manifest, tracking
from supreme.evaluation.benchmark_results import BenchmarkResult
from supreme.evaluation.class_results import GROUPS
from supreme.evaluation.results import EvaluationResult
from supreme.tracking.logged import safe_name

_FOLDER = "evaluation"


def metrics(result: EvaluationResult) -> dict[str, float]:
    """Name -> value of every mean that is defined.

    `evaluation/DATASET/macro_auroc_headline`, `evaluation/PROTOCOL/BENCHMARK/macro_auroc_headline`,
    `evaluation/PROTOCOL/mean of SETS`.
    """
    values: dict[str, float | None] = {}
    for group in GROUPS:
        for dataset, auroc in result.macro(group).items():
            values[f"{_FOLDER}/{dataset}/macro_auroc_{group}"] = auroc
    for name, protocol in result.protocols.items():
        for key, benchmark in protocol.benchmarks.items():
            for metric, value in _of_benchmark(benchmark).items():
                values[f"{_FOLDER}/{name}/{key}/{metric}"] = value
        for mean in protocol.means:
            values[f"{_FOLDER}/{name}/mean of {mean.name}"] = mean.value
    return {name: value for name, value in values.items() if value is not None}


def log(run: tracking.TrackingRun, result: EvaluationResult, uris: Sequence[str]) -> None:
    """Log the means at the step after their last one, the files, and the sha256 of each as a tag."""
    last = run.last_steps()
    by_step: dict[int, dict[str, float]] = defaultdict(dict)
    for name, value in metrics(result).items():
        by_step[last.get(safe_name(name), -1) + 1][name] = value
    for step, values in by_step.items():
        run.log_metrics(values, step)
    digests = {}
    for uri in uris:
        run.log_file(uri, _FOLDER)
        name = uri.partition("?")[0].rpartition("/")[2]
        digests[f"supreme.{_FOLDER}.{name}.sha256"] = manifest.describe(uri).sha256
    run.set_tags(digests)


def _of_benchmark(one: BenchmarkResult) -> dict[str, float | None]:
    values: dict[str, float | None] = {}
    if one.zero_shot is not None:
        values |= {f"macro_auroc_{group}": mean.auroc for group, mean in one.zero_shot.macro.items()}
    if one.f1 is not None:
        values[re.sub(r"\W+", "_", one.f1.name.lower())] = one.f1.value
    for fraction, means in one.probe_means().items():
        end = f"probe_{100 * fraction:g}_percent"
        values[end] = means.model.auroc
        values[f"random_encoder_{end}"] = means.random_encoder.auroc if means.random_encoder else None
        values[f"handmade_{end}"] = means.handmade.auroc if means.handmade else None
    return values
