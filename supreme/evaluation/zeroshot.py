"""Scores of a model for a folder of shards, queried for conditions by name: no label is used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import pyarrow as pa

from supreme import storage
from supreme.evaluation.benchmarks import CONDITIONS
from supreme.evaluation.bundle_scorer import Query
from supreme.evaluation.datasets import UnseenPart
from supreme.evaluation.outputs import Outputs
from supreme.evaluation.subjects import Subject
from supreme.reports.vocabulary import Vocabulary, load_base, query_texts
from supreme.storage.parquet import write_table


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
        return Query((condition,))
    base = load_base()
    if condition not in base:
        return Query((condition.replace("_", " "),))
    texts = query_texts(base[condition])
    return Query(tuple(text for text in texts if not model.known_entity(text)) or (texts[0],))


def condition_scores(
    subject: Subject, outputs: Outputs, part: UnseenPart, conditions: Sequence[str], folder: str
) -> pa.Table:
    """Scores of the unseen records: ``record_id`` and one column a condition; also written."""
    record_ids = part.benchmark.record_ids
    values = subject.scores(CONDITIONS, conditions, outputs.of(record_ids, part.data.name))
    columns = {name: pa.array(values[:, c]) for c, name in enumerate(conditions)}
    table = pa.table({"record_id": pa.array(record_ids, pa.string()), **columns})
    write_table(storage.join(folder, "scores", f"{part.data.name}.parquet"), table)
    return table
