"""Validation on held-out pre-training records: loss and macro AUROC of the EMA weights.

Entities that the label stage holds out are scored too, by their names, as zero-shot probes. Their AUROC is
reported and decides nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist

from supreme.metrics import rankings
from supreme.objectives.task import PRESENT, UNCERTAIN
from supreme.training.data.batch import Batch, to_batch
from supreme.training.data.corpus import Corpus
from supreme.training.data.labels import LabelMatrix
from supreme.training.data.reports import Reports
from supreme.training.learner.finite import TrainingStopped
from supreme.training.learner.learner import Learner

METRIC, UNSEEN_METRIC, LOSS = (
    "validation_macro_auroc",
    "validation_unseen_macro_auroc",
    "validation_loss",
)
#: Enough for a macro AUROC to a tenth of a percent; a larger corpus is thinned to about this many.
MAX_RECORDS = 20_000


@dataclass(frozen=True)
class _Share:
    """What one worker scored."""

    scores: np.ndarray
    """(N, Q + U) float32."""
    codes: np.ndarray
    """(N, Q + U) int8."""
    loss: float
    """Sum over the records."""
    records: int


@torch.inference_mode()
def validate(
    learner: Learner,
    corpus: Corpus,
    labels: LabelMatrix,
    rank: int = 0,
    world: int = 1,
    reports: Reports | None = None,
) -> dict[str, float]:
    """Score this worker's share of the records and gather all; entities are asked by their names.

    Returns:
        The same on all workers: `LOSS`; `METRIC` where queries are answered and an entity has both classes;
        `UNSEEN_METRIC`, likewise over the entities that the labels hold out. The latter for a
        `Task.zero_shot` alone: merl and ked have read whole reports, linear and simclr cannot be asked.

    Raises:
        TrainingStopped: a score is not finite.
    """
    own = _score(learner, _batches(learner, corpus, labels, reports, rank, world), labels)
    shares = [own]
    if world > 1:
        shares = [own] * world
        dist.all_gather_object(shares, own)
    records = sum(share.records for share in shares)
    if not records:
        return {}
    areas = auroc(
        np.concatenate([share.scores for share in shares]), np.concatenate([share.codes for share in shares])
    )
    metrics = {LOSS: sum(share.loss for share in shares) / records}
    seen = labels.codes.shape[1]
    for name, group in ((METRIC, areas[:seen]), (UNSEEN_METRIC, areas[seen:])):
        if not np.isnan(group).all():
            metrics[name] = float(np.nanmean(group))
    return metrics


def _batches(
    learner: Learner, corpus: Corpus, labels: LabelMatrix, reports: Reports | None, rank: int, world: int
) -> Iterator[Batch]:
    """This worker's batches: every n-th row group, of a large corpus a sample of them."""
    size = learner.training.batch_size
    every = max(1, int(corpus.sizes.sum()) // MAX_RECORDS)
    for group in range(0, len(corpus.groups), every)[rank::world]:
        table = corpus.read(group)
        for first in range(0, len(table), size):
            yield to_batch(table.slice(first, size), corpus.samples, labels, reports)


def _score(learner: Learner, batches: Iterator[Batch], labels: LabelMatrix) -> _Share:
    width = labels.codes.shape[1] + labels.unseen.shape[1]
    scores, codes = [np.empty((0, width), np.float32)], [np.empty((0, width), np.int8)]
    loss, records = 0.0, 0
    for batch in batches:
        with learner.autocast():
            batch_loss, logits = learner.ema.validate(learner.validation_inputs(batch))
        loss += float(batch_loss) * len(batch.record_ids)
        records += len(batch.record_ids)
        if logits is not None:
            scores.append(logits.float().cpu().numpy())
            codes.append(np.hstack([batch.codes.numpy(), labels.unseen_of(batch.record_ids)]))
    return _Share(np.concatenate(scores), np.concatenate(codes), loss, records)


def auroc(scores: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """AUROC of each column, uncertain records left out; NaN with one class only.

    Args:
        scores: (N, Q).
        codes: (N, Q) int8.

    Raises:
        TrainingStopped: a score is not finite.
    """
    if not np.isfinite(scores).all():
        raise TrainingStopped(
            "a validation score is not finite: lower training.learning_rate or set training.precision=fp32"
        )
    labels = np.where(codes == UNCERTAIN, -1, codes == PRESENT)
    columns = zip(scores.T, labels.T, strict=True)
    return np.array([rankings.auroc(rankings.rank(*column))[0] for column in columns])


def score_of(metrics: Mapping[str, float]) -> float:
    """The number by which checkpoints are compared: macro AUROC; for an encoder alone the negative loss."""
    return metrics.get(METRIC, -metrics.get(LOSS, math.inf))
