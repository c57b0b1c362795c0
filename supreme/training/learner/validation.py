"""Validation on held-out pre-training records: loss and macro AUROC over the vocabulary, averaged weights.

Where the label stage holds entities out, they are asked for as well, by their names: zero-shot probes. What
they give is reported and decides nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from scipy.stats import rankdata

from supreme.objectives.task import PRESENT, UNCERTAIN
from supreme.shards.read import signals_uv
from supreme.training.data.batch import Batch
from supreme.training.data.corpus import Corpus
from supreme.training.data.labels import Labels
from supreme.training.data.reports import Reports
from supreme.training.learner.learner import Learner

METRIC, UNSEEN_METRIC = "validation_macro_auroc", "validation_unseen_macro_auroc"
#: Enough for a macro AUROC to a tenth of a percent; a large corpus is thinned to about this many.
MAX_RECORDS = 20_000


def auroc(scores: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """AUROC of each column by ranks (ties count half), uncertain records left out; NaN with one class only.

    Args:
        scores: (N, Q).
        codes: (N, Q) int8.
    """
    areas = np.full(scores.shape[1], np.nan)
    for column in range(scores.shape[1]):
        certain = codes[:, column] != UNCERTAIN
        positive = codes[certain, column] == PRESENT
        n_positive, n_negative = int(positive.sum()), int((~positive).sum())
        if n_positive and n_negative:
            ranks = rankdata(scores[certain, column])
            areas[column] = (ranks[positive].sum() - n_positive * (n_positive + 1) / 2) / (
                n_positive * n_negative
            )
    return areas


def chosen_groups(corpus: Corpus) -> list[int]:
    """The row groups that are validated on: all, or every n-th of a large corpus."""
    return list(range(0, len(corpus.groups), max(1, int(corpus.sizes.sum()) // MAX_RECORDS)))


@torch.inference_mode()
def validate(
    learner: Learner,
    corpus: Corpus,
    labels: Labels,
    rank: int = 0,
    world: int = 1,
    reports: Reports | None = None,
) -> dict[str, float]:
    """Score this worker's share and gather; each entity is asked by its name, its first phrasing.

    All workers get the same ``validation_loss``, ``validation_macro_auroc`` (without it when no entity has
    both classes, or no query is answered) and, likewise, ``validation_unseen_macro_auroc`` over the entities
    that the labels hold out. This one for a `Task.zero_shot` alone: who reads whole reports (merl, ked) has
    read of them, and linear and simclr cannot be asked.
    """
    size, seen = learner.training.batch_size, len(learner.offsets) - 1
    width = seen + labels.unseen.shape[1]
    scores, codes, loss, count = [], [], 0.0, 0
    for group in chosen_groups(corpus)[rank::world]:
        table = corpus.read(group)
        for first in range(0, len(table), size):
            part = table.slice(first, size)
            batch = to_batch(part, corpus.samples, labels, reports)
            with learner.autocast():
                batch_loss, logits = learner.averaged.validate(learner.held_out(batch))
            loss += float(batch_loss) * len(part)
            count += len(part)
            if logits is not None:
                scores.append(logits.float().cpu().numpy())
                codes.append(np.hstack([batch.codes.numpy(), labels.unseen_of(batch.record_ids)]))
    mine = (
        np.concatenate([np.empty((0, width), np.float32), *scores]),
        np.concatenate([np.empty((0, width), np.int8), *codes]),
        loss,
        count,
    )
    parts: list[Any] = [mine]
    if world > 1:
        parts = [None] * world
        dist.all_gather_object(parts, mine)
    total = sum(part[3] for part in parts)
    if not total:
        return {}
    areas = auroc(np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts]))
    found = {"validation_loss": sum(part[2] for part in parts) / total}
    for name, some in ((METRIC, areas[:seen]), (UNSEEN_METRIC, areas[seen:])):
        if not np.isnan(some).all():
            found[name] = float(np.nanmean(some))
    return found


def score_of(metrics: Mapping[str, float]) -> float:
    """What checkpoints are chosen by: macro AUROC; for an encoder alone its loss, negated."""
    return metrics.get(METRIC, -metrics.get("validation_loss", math.inf))


def to_batch(table: Any, samples: int, labels: Labels, reports: Reports | None = None) -> Batch:
    """A table of record ids and signals with the records' labels, and their reports where they are given."""
    record_ids = table.column("record_id").to_pylist()
    # The copy is aligned, contiguous and writable, which the shared memory that it comes from is not.
    signal = torch.from_numpy(signals_uv(table, samples).copy())
    found = reports.of(record_ids) if reports else None
    return Batch(record_ids, signal, torch.from_numpy(labels.of(record_ids)), found)
