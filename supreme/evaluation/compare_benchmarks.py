"""Comparison of two models on label sets under each protocol, and on the protocol's headline means."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence

import numpy as np

from supreme.evaluation import protocols
from supreme.evaluation.compare import (
    Comparison,
    NotComparable,
    PairedScores,
    compare_means,
    pair_scores,
    unseen_by_all,
)
from supreme.evaluation.folder import EvaluationFolder
from supreme.evaluation.protocols import Protocol


def compare_benchmarks(a: EvaluationFolder, b: EvaluationFolder) -> list[Comparison]:
    """Compare two evaluations under every protocol of both: the headline means, then each benchmark.

    A patient may be in several benchmarks of a mean, as those of PTB-XL are: means are tested by patient too.
    A mean is left out where one of its benchmarks has no record or no class to compare.
    """
    comparisons = []
    for protocol in common_protocols([a, b]):
        name = protocol.name
        parts = dict(_parts(a, b, name, max(1, protocol.min_positive_patients)))
        groups = {f"{name}: mean of {mean}": sets for mean, sets in protocol.means.items()}
        groups |= {f"{name}: {benchmark}": (benchmark,) for benchmark in parts}
        for title, sets in groups.items():
            if all(one in parts for one in sets):
                rng = np.random.default_rng([a.result.seed, zlib.crc32(title.encode())])
                own = [parts[one] for one in sets]
                comparisons.append(compare_means(own, title, a.result.bootstrap, rng))
    return comparisons


def common_protocols(folders: Sequence[EvaluationFolder]) -> list[Protocol]:
    """Protocols of all evaluations, in the version of this program."""
    return [
        protocol
        for name, protocol in protocols.load().items()
        if all(
            name in folder.result.protocols and folder.result.protocols[name].version == protocol.version
            for folder in folders
        )
    ]


def common_benchmarks(folders: Sequence[EvaluationFolder], protocol: str) -> list[str]:
    """Benchmarks that all evaluations scored under a protocol, in the same version and on the same data."""
    first, *others = folders
    names = []
    for name, mine in first.result.protocols[protocol].benchmarks.items():
        same = [folder.result.protocols[protocol].benchmarks.get(name) for folder in others]
        if mine.scores and all(
            other is not None
            and other.scores
            and (other.version, other.dataset, other.split) == (mine.version, mine.dataset, mine.split)
            and folder.manifest.inputs.get(mine.dataset) == first.manifest.inputs.get(mine.dataset)
            for folder, other in zip(others, same, strict=True)
        ):
            names.append(name)
    return names


def _parts(
    a: EvaluationFolder, b: EvaluationFolder, protocol: str, min_positives: int
) -> Iterator[tuple[str, PairedScores]]:
    for name in common_benchmarks([a, b], protocol):
        mine, other = a.published(protocol, name), b.published(protocol, name)
        if mine and other:
            shared = unseen_by_all([mine[0], other[0]])
            try:
                yield name, pair_scores(mine[1], other[1], shared, min_positives)
            except NotComparable:
                continue
