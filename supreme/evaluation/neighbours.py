"""k nearest neighbours in embeddings: how far labels agree between similar ECGs, without any training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from supreme.evaluation.benchmarks import POSITIVE
from supreme.evaluation.embeddings import Embeddings
from supreme.evaluation.probes import CannotProbe, ProbeSplits, class_aurocs, features_of, scores_table

#: Numbers of neighbours; the largest validation macro AUROC selects one.
COUNTS = (5, 10, 20, 50, 100)
#: Where no validation record has labels.
DEFAULT_COUNT = 20
#: Similarities weigh as in Wu et al. 2018 (arXiv 1805.01978): exp(cosine / 0.07).
_TEMPERATURE = 0.07


class NeighbourResult(BaseModel):
    """AUROC of the share of positives among the nearest training records."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    neighbours: int
    selected_on: str
    """`validation`, or `default` where no validation record has labels."""
    macro: float
    classes: dict[str, float | None]
    """None: no positive or no negative in train or in test."""


@dataclass(frozen=True)
class NeighbourRun:
    """The result, and the test scores as :class:`ProbeRun` has them."""

    result: NeighbourResult
    scores: pa.Table


def nearest(embeddings: Embeddings, splits: ProbeSplits) -> NeighbourRun:
    """Score the test records by their neighbours in train: cosine of centred embeddings.

    Raises:
        CannotProbe: no class has a positive and a negative in train and in test.
        ValueError: a record has no embedding, or one that is not finite; the message names it.
    """
    parts = [features_of(embeddings, part, False) for part in (splits.train, splits.validation, splits.test)]
    mean = parts[0].mean(axis=0, dtype=np.float64)
    train, validation, test = (_unit(part - mean) for part in parts)
    labels = splits.train.labels
    candidates = [count for count in COUNTS if count <= len(train)] or [len(train)]
    macros = [
        _mean(class_aurocs(_shares(train, labels, validation, count), splits.validation.labels))
        for count in candidates
    ]
    selected = bool(np.isfinite(macros).any())
    count = candidates[int(np.nanargmax(macros))] if selected else min(DEFAULT_COUNT, len(train))
    scores = _shares(train, labels, test, count)
    aurocs = class_aurocs(scores, splits.test.labels)
    if not np.isfinite(aurocs).any():
        raise CannotProbe(
            f"{splits.test.dataset}: no class has a positive and a negative in train and in test"
        )
    result = NeighbourResult(
        neighbours=count,
        selected_on="validation" if selected else "default",
        macro=_mean(aurocs),
        classes={
            name: float(value) if np.isfinite(value) else None
            for name, value in zip(splits.test.classes, aurocs, strict=True)
        },
    )
    return NeighbourRun(result, scores_table(splits.test, scores))


def _shares(train: np.ndarray, labels: np.ndarray, others: np.ndarray, count: int) -> np.ndarray:
    """Weighted share of positives among the nearest annotated records ``(M, C)``; NaN: class not in train."""
    shares = np.full((len(others), labels.shape[1]), np.nan)
    groups: dict[bytes, list[int]] = {}
    for c in range(labels.shape[1]):
        groups.setdefault((labels[:, c] >= 0).tobytes(), []).append(c)
    for columns in groups.values():
        rows = np.flatnonzero(labels[:, columns[0]] >= 0)
        if not len(rows):
            continue
        similarity = others @ train[rows].T
        first = min(count, len(rows))
        near = np.argpartition(-similarity, first - 1, axis=1)[:, :first]
        weights = np.exp((np.take_along_axis(similarity, near, axis=1) - 1) / _TEMPERATURE)
        for c in columns:
            positive = labels[rows, c] == POSITIVE
            if positive.any() and not positive.all():
                shares[:, c] = (weights * positive[near]).sum(axis=1) / weights.sum(axis=1)
    return shares


def _unit(values: np.ndarray) -> np.ndarray:
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)


def _mean(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else float("nan")
