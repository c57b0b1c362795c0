"""What "zero-shot" means for a class: how near its query is to those of pre-training, in three ways.

By id or synonym (the very entity was a query), by relation (an ancestor or a descendant was), and by the
cosine to the nearest query of training, in the space that the model sees.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict

from supreme.evaluation.class_names import ClassName
from supreme.reports.vocabulary import Vocabulary, load_base

_ROWS = 1024


class EmbedsQueries(Protocol):
    """What embeds queries as a model takes them; `query_embeddings.QueryEmbeddings` does."""

    @property
    def vocabulary(self) -> Vocabulary: ...

    def entity_index(self, query: str) -> int | None:
        """Position in the vocabulary of the entity that a query names; None for an unseen query."""
        ...

    def embed(self, queries: Sequence[str], *, verbatim: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Embeddings ``(M, dim)`` of all phrasings, and the query ``(M,)`` of each."""
        ...


class ClassSeen(BaseModel):
    """Whether a class was seen in pre-training."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    by_name: str
    """The entity of training that the class is, by id or synonym; "" if none."""
    ancestors: tuple[str, ...]
    """Entities of training that the class implies."""
    descendants: tuple[str, ...]
    """Entities of training that imply the class, or are part of it."""
    nearest: str
    """The entity of training whose query is most like one of the class's."""
    cosine: float | None
    """Of the two queries, -1 to 1; None where one of them has no direction."""

    @property
    def by_relation(self) -> bool:
        """Whether an ancestor or descendant was seen."""
        return bool(self.ancestors or self.descendants)


def classes_seen(
    queries: EmbedsQueries, classes: Mapping[str, ClassName], texts: Mapping[str, Sequence[str]]
) -> dict[str, ClassSeen]:
    """How each class stands to the queries of pre-training.

    Args:
        queries: of the model; its vocabulary is that of training.
        texts: class -> the texts by which it is queried; a class without any is left out.

    Raises:
        BundleError: the text encoder here is not the one of training.
    """
    columns = [column for column in classes if texts.get(column)]
    if not columns or not len(queries.vocabulary):
        return {}
    every = [text for column in columns for text in texts[column]]
    embeddings, text_of = queries.embed(every, verbatim=True)
    class_of = np.repeat(np.arange(len(columns)), [len(texts[column]) for column in columns])[text_of]
    training, entity_of = queries.embed(queries.vocabulary.ids)
    cosines, rows = nearest(embeddings, training)
    result = {}
    for c, column in enumerate(columns):
        of_class = np.flatnonzero(class_of == c)
        best = of_class[np.argmax(cosines[of_class])]
        is_number = bool(np.isfinite(cosines[best]))
        ancestors, descendants = relatives(classes[column], queries.vocabulary)
        result[column] = ClassSeen(
            by_name=known_as(classes[column], queries),
            ancestors=ancestors,
            descendants=descendants,
            nearest=queries.vocabulary.ids[entity_of[rows[best]]] if is_number else "",
            cosine=float(cosines[best]) if is_number else None,
        )
    return result


def known_as(named: ClassName, queries: EmbedsQueries) -> str:
    """The entity of training that a class is, by id or synonym; "" if none."""
    if named.entity in queries.vocabulary:
        return named.entity
    index = queries.entity_index(named.name)
    return "" if index is None else queries.vocabulary.ids[index]


def relatives(named: ClassName, vocabulary: Vocabulary) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Ancestors and descendants of a class among the entities of a vocabulary, in its order."""
    base = load_base()
    up = base.ancestors(named.entity) if named.entity in base else frozenset()
    down = {
        one
        for one in vocabulary.ids
        if one in named.members or named.entity in (base if one in base else vocabulary).ancestors(one)
    }
    ancestors = tuple(one for one in vocabulary.ids if one in up)
    return ancestors, tuple(one for one in vocabulary.ids if one in down)


def nearest(queries: np.ndarray, training: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The largest cosine of each query ``(M,)``, -inf for one without direction, and its row of ``training``.

    Args:
        queries: ``(M, dim)``.
        training: ``(N, dim)``, at least one row.
    """
    unit, references = _unit(queries), _unit(training)
    cosines, rows = np.empty(len(unit)), np.empty(len(unit), int)
    for start in range(0, len(unit), _ROWS):  # a vocabulary has thousands of phrasings
        block = unit[start : start + _ROWS] @ references.T
        block[np.isnan(block)] = -np.inf
        rows[start : start + _ROWS] = block.argmax(axis=1)
        cosines[start : start + _ROWS] = block.max(axis=1)
    return np.where(np.isfinite(cosines), np.clip(cosines, -1, 1), -np.inf), rows


def _unit(rows: np.ndarray) -> np.ndarray:
    values = rows.astype(np.float64)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    return values / np.where(lengths > 0, lengths, np.nan)
