"""Scores of a model for a folder of shards, queried for conditions by name: no label is used."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa

from supreme import log, storage
from supreme.ecg import to_millivolts
from supreme.reports.vocabulary import Vocabulary, load_base, query_texts
from supreme.shards.read import ShardDataset, signals_uv
from supreme.storage.parquet import read_table, write_table

BATCH_SIZE = 128

logger = log.get("evaluation")


class QueryModel(Protocol):
    """What is evaluated; `query_model.EcgQueryModel` is one."""

    @property
    def vocabulary(self) -> Vocabulary: ...

    def known_entity(self, query: str) -> str:
        """Id of the entity that a query names, "" for an unseen query."""
        ...

    def logits(self, ecg_mv: np.ndarray, rate_hz: float, queries: Sequence[str]) -> np.ndarray:
        """``(B, 12, T)`` mV to float64 logits ``(B, Q)``."""
        ...


def queries_of(condition: str, model: QueryModel) -> list[str]:
    """The queries for a condition: its id where the model knows it, else its phrasings.

    A phrasing that names something the model was trained on is left out for an unseen condition.
    """
    if condition in model.vocabulary:
        return [condition]
    base = load_base()
    if condition not in base:
        return [condition.replace("_", " ")]
    texts = query_texts(base[condition])
    return [text for text in texts if not model.known_entity(text)] or [texts[0]]


def score(
    shards: ShardDataset,
    model: QueryModel,
    conditions: Sequence[str],
    splits: Sequence[str] | None = None,
    record_ids: Collection[str] | None = None,
) -> pa.Table:
    """Score the records of the splits: ``record_id`` and one float32 column a condition.

    The logits of several phrasings of a condition are averaged.

    Args:
        record_ids: score these records only; None for all.
    """
    queries = [queries_of(condition, model) for condition in conditions]
    texts = [text for group in queries for text in group]
    owner = np.repeat(np.arange(len(queries)), [len(group) for group in queries])
    only = None if record_ids is None else frozenset(record_ids)
    total = sum(group.rows for group in shards.row_groups(splits)) if only is None else len(only)
    progress = log.Progress(logger, f"scored {shards.folder.rpartition('/')[2]}", total)
    records: list[str] = []
    parts = [np.empty((0, len(conditions)), np.float32)]
    for batch in shards.batches(splits, BATCH_SIZE, ["record_id", "signal"]):
        if only is not None:
            batch = batch.filter(
                pa.array([record in only for record in batch.column("record_id").to_pylist()])
            )
        if not len(batch):
            continue
        ecg_mv = to_millivolts(signals_uv(batch, shards.samples))
        parts.append(_probabilities(model.logits(ecg_mv, shards.rate_hz, texts), owner))
        records += batch.column("record_id").to_pylist()
        progress.update(len(records))
    values = np.concatenate(parts)
    columns = {name: values[:, c] for c, name in enumerate(conditions)}
    return pa.table({"record_id": pa.array(records, pa.string()), **columns})


def cached(
    uri: str,
    shards: ShardDataset,
    model: QueryModel,
    conditions: Sequence[str],
    splits: Sequence[str] | None = None,
    record_ids: Collection[str] | None = None,
) -> pa.Table:
    """Scores from the Parquet file ``uri`` where it holds these conditions; else they are written there."""
    if storage.exists(uri):
        table = read_table(uri)
        if table.column_names == ["record_id", *conditions]:
            return table
    table = score(shards, model, conditions, splits, record_ids)
    write_table(uri, table)
    return table


def _probabilities(logits: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """Logits ``(B, Q)`` to float32 ``(B, C)``; ``owner`` ``(Q,)`` is the condition of each query."""
    means = [logits[:, owner == index].mean(axis=1) for index in range(owner[-1] + 1)]
    return (1 / (1 + np.exp(-np.stack(means, axis=1)))).astype(np.float32)
