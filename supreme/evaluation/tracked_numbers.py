"""What an evaluation logs to the MLflow run that made the model: numbers, files and their digests."""

from __future__ import annotations

import re
from collections.abc import Sequence

from supreme import config, manifest
from supreme.evaluation.benchmark_results import BenchmarkResult
from supreme.evaluation.benchmarks import POOLED
from supreme.evaluation.results import EvaluationResult
from supreme.registry.facts import VersionValue
from supreme.tracking.run import Measurement, TrackingRun
from supreme.tracking.source import Dataset, dataset

_FOLDER = "evaluation"


def measurements(result: EvaluationResult) -> list[Measurement]:
    """Every mean that is defined, with the data it is of.

    `evaluation/DATASET/macro_auroc_headline`, `evaluation/PROTOCOL/BENCHMARK/macro_auroc_headline`,
    `evaluation/PROTOCOL/mean of SETS`.
    """
    numbers = []
    for name, part in result.datasets.items():
        for group, macro in part.zero_shot.macro.items():
            title = f"{_FOLDER}/{name}/macro_auroc_{group}"
            numbers.append((title, macro.auroc, _dataset(result, name)))
    for name, protocol in result.protocols.items():
        for key, benchmark in protocol.benchmarks.items():
            data = _benchmark_data(result, name, key)
            for metric, value in _of_benchmark(benchmark).items():
                numbers.append((f"{_FOLDER}/{name}/{key}/{metric}", value, data))
        for mean in protocol.means:
            data = _data(
                f"{name}/{mean.name}", [_benchmark_data(result, name, one) for one in mean.benchmarks]
            )
            numbers.append((f"{_FOLDER}/{name}/mean of {mean.name}", mean.value, data))
    return [Measurement(name, value, data) for name, value, data in numbers if value is not None]


def values(result: EvaluationResult) -> dict[str, VersionValue]:
    """The headline means with their intervals, for the description and the tag of a registered version."""
    rows = {name: part.zero_shot for name, part in result.datasets.items()}
    for name, protocol in result.protocols.items():
        for key, benchmark in protocol.benchmarks.items():
            if benchmark.zero_shot is not None:
                rows[f"{name}/{key}"] = benchmark.zero_shot
    return {
        name: VersionValue(
            auroc=mean.auroc, low=mean.low, high=mean.high, records=part.records, classes=mean.classes
        )
        for name, part in sorted(rows.items(), key=lambda row: (row[0] != POOLED, "/" in row[0], row[0]))
        if (mean := part.macro["headline"]).auroc is not None
    }


def log(run: TrackingRun, result: EvaluationResult, uris: Sequence[str], model_id: str = "") -> None:
    """Log the means, the files, and the sha256 of each file as a tag.

    Args:
        model_id: logged model to which the means belong as well.
    """
    run.log_measurements(measurements(result), model_id)
    digests = {}
    for uri in uris:
        run.log_file(uri, _FOLDER)
        name = uri.partition("?")[0].rpartition("/")[2]
        digests[f"supreme.{_FOLDER}.{name}.sha256"] = manifest.describe(uri).sha256
    run.set_tags(digests)


def _dataset(result: EvaluationResult, name: str) -> Dataset:
    """A data set, or the pool of the real ones, by the digest of its shards."""
    part = result.datasets[name]
    if part.shards_digest:
        return dataset(name, part.shards_digest, name)
    real = [one for one, other in result.datasets.items() if other.kind not in ("", "simulated")]
    return _data(name, [_dataset(result, one) for one in real])


def _benchmark_data(result: EvaluationResult, protocol: str, name: str) -> Dataset:
    """A benchmark: version of its labels, split, and the shards that its records come from."""
    one = result.protocols[protocol].benchmarks.get(name)
    if one is None:
        return dataset(f"{protocol}/{name}", "missing", name)
    shards = result.datasets.get(one.dataset)
    facts = (one.version, one.split, shards.shards_digest if shards else "")
    return dataset(f"{protocol}/{name}", config.digest(*facts), one.dataset)


def _data(name: str, parts: Sequence[Dataset]) -> Dataset:
    return dataset(name, config.digest([[part.name, part.digest] for part in parts]), name)


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
