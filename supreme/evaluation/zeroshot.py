"""Scores of a model for a folder of shards, queried for conditions by name: no label is used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa

from supreme import storage
from supreme.evaluation.bundle_scorer import BundleScorer, Query, probabilities
from supreme.evaluation.shard_reader import ShardReader
from supreme.inference import engine
from supreme.reports.vocabulary import Vocabulary, load_base, query_texts
from supreme.storage.parquet import read_table, write_table


class KnowsEntities(Protocol):
    """What decides how a condition is put into words; `query_model.EcgQueryModel` is one."""

    @property
    def vocabulary(self) -> Vocabulary: ...

    def known_entity(self, query: str) -> str:
        """Id of the entity that a query names, "" for an unseen query."""
        ...


def queries_of(condition: str, model: KnowsEntities) -> Query:
    """The texts for a condition: its id where the model knows it, else its phrasings.

    A phrasing that names something the model was trained on is left out for an unseen condition.
    """
    if condition in model.vocabulary:
        return (condition,)
    base = load_base()
    if condition not in base:
        return (condition.replace("_", " "),)
    texts = query_texts(base[condition])
    return tuple(text for text in texts if not model.known_entity(text)) or (texts[0],)


def score(
    reader: ShardReader, scorer: BundleScorer, conditions: Sequence[str], uri: str, embeddings_uri: str = ""
) -> pa.Table:
    """Score records: ``record_id`` and one float32 probability a condition, which is also written to ``uri``.

    What is there already is read. An interrupted call goes on where it ended.

    Args:
        scorer: its queries are those of ``conditions``, in their order.
        embeddings_uri: where ``record_id`` and ``embedding`` are written; nowhere when empty.
    """
    names = ["record_id", *conditions]
    if storage.exists(uri) and (not embeddings_uri or storage.exists(embeddings_uri)):
        table = read_table(uri)
        if table.column_names == names:
            return table
    parts = f"{uri.removesuffix('.parquet')}.parts"
    engine.score(reader, scorer, parts, reader.shards.folder.rpartition("/")[2])
    tables = list(engine.read_parts(reader, parts))
    ids = pa.chunked_array([chunk for part in tables for chunk in part["record_id"].chunks], pa.string())
    outputs = np.concatenate([np.empty((0, scorer.width), np.float32), *map(engine.outputs_of, tables)])
    values = probabilities(outputs[:, : len(conditions)])
    table = pa.table([ids, *(pa.array(values[:, c]) for c in range(len(conditions)))], names)
    if embeddings_uri:
        flat = pa.array(np.ascontiguousarray(outputs[:, scorer.queries :]).ravel())
        vectors = pa.FixedSizeListArray.from_arrays(flat, scorer.embedding_width)
        write_table(embeddings_uri, pa.table({"record_id": ids, "embedding": vectors}))
    write_table(uri, table)
    engine.delete_parts(reader, parts)
    return table
