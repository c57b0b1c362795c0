"""Queries as a model takes them: embeddings, stored for the vocabulary and computed for other texts."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from supreme import text
from supreme.inference.bundle.layout import BundleError
from supreme.inference.convention import TextEncoderSpec
from supreme.reports.queries import known_entity
from supreme.reports.vocabulary import Vocabulary

_CACHED_TEXTS = 4096


def normalize_query(query: str) -> str:
    """A query without case, question mark and spacing: equal results mean the same query."""
    return re.sub(r"[\s_-]+", " ", query.casefold()).strip(" ?¿.!")


class QueryEmbeddings:
    """Embeddings of any text query.

    Args:
        query_texts: phrasings of each entity of ``vocabulary``.
        embeddings: raw float32 ``(N, dim)``, the phrasings of all entities one after the other.
        encoder: what made them, opened at the first query that is none of them.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        query_texts: Sequence[Sequence[str]],
        embeddings: np.ndarray,
        whitening: text.Whitening,
        encoder: TextEncoderSpec,
    ) -> None:
        self.vocabulary, self.whitening, self.spec = vocabulary, whitening, encoder
        self._encoder: text.TextEncoder | None = None
        self._encoded: dict[str, np.ndarray] = {}
        sizes = np.cumsum([len(texts) for texts in query_texts])[:-1]
        self._of_entity = np.split(whitening.apply(embeddings), sizes)
        self._index: dict[str, int] = {}
        entities = list(vocabulary)
        # Ids and names win over synonyms that two entities might share.
        for phrases in (
            [[e.id, e.name] for e in entities],
            [[s for synonyms in e.synonyms.values() for s in synonyms] for e in entities],
            query_texts,
        ):
            for index, group in enumerate(phrases):
                for phrase in group:
                    self._index.setdefault(normalize_query(phrase), index)

    def entity_index(self, query: str) -> int | None:
        """Position in the vocabulary of the entity that a query names; None for an unseen query.

        Names of the bundle's own vocabulary come first, then the rules that read everyday words.
        """
        index = self._index.get(normalize_query(query))
        if index is None and (entity := known_entity(query, self.vocabulary)):
            return self.vocabulary.ids.index(entity)
        return index

    def embed(self, queries: Sequence[str], *, verbatim: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Whitened embeddings float32 ``(M, dim)`` of all phrasings, and the query ``(M,)`` of each.

        Args:
            verbatim: embed each text as it stands, also one that names an entity of the vocabulary.

        Raises:
            ValueError: no list of texts, or an empty text.
            BundleError: the text encoder here is not the one of training.
        """
        texts = check_queries(queries)
        normal = [normalize_query(query) for query in texts]
        indices = [None if verbatim else self.entity_index(query) for query in texts]
        self._encode([query for query, index in zip(normal, indices, strict=True) if index is None])
        groups = [
            self._encoded[query] if index is None else self._of_entity[index]
            for query, index in zip(normal, indices, strict=True)
        ]
        return np.concatenate(groups), np.repeat(np.arange(len(groups)), [len(group) for group in groups])

    def _encode(self, texts: Sequence[str]) -> None:
        missing = sorted(set(texts) - self._encoded.keys())
        if not missing:
            return
        if len(self._encoded) + len(missing) > _CACHED_TEXTS:
            self._encoded.clear()
            missing = sorted(set(texts))
        self._encoder = self._encoder or self._open_encoder()
        whitened = self.whitening.apply(self._encoder.encode(missing))
        self._encoded |= {query: row[None] for query, row in zip(missing, whitened, strict=True)}

    def _open_encoder(self) -> text.TextEncoder:
        encoder = text.open_encoder(self.spec.settings)
        if encoder.digest != self.spec.digest or encoder.dim != self.spec.dim:
            raise BundleError(
                f"text encoder {encoder.id!r} here has digest {encoder.digest[:16]}, that of training was "
                f"{self.spec.digest[:16]}: install that version, or ask queries of the vocabulary only"
            )
        return encoder


def check_queries(queries: Sequence[str]) -> list[str]:
    """The queries as a list.

    Raises:
        ValueError: no list of texts, or one without letters; the message gives its position.
    """
    if isinstance(queries, str | bytes | dict) or not hasattr(queries, "__iter__"):
        raise ValueError(
            'queries must be a list of texts: give a list, for instance ["atrial fibrillation?"]'
        )
    texts = list(queries)
    if not texts:
        raise ValueError('no queries: give a list of texts, for instance ["atrial fibrillation?"]')
    for number, query in enumerate(texts, 1):
        if not isinstance(query, str):
            raise ValueError(f"query {number} of {len(texts)} is a {type(query).__name__}: give texts only")
        if not normalize_query(query):
            raise ValueError(f"query {number} of {len(texts)} is empty: remove it")
        try:
            query.encode()
        except UnicodeEncodeError:
            raise ValueError(
                f"query {number} of {len(texts)} is no text: {query!r} cannot be encoded"
            ) from None
    return texts
