"""A bundle as the scoring engine runs it: answers to text queries, and the embedding of each ECG."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from supreme import ecg
from supreme.inference.convention import InputConvention
from supreme.inference.engine import Signal
from supreme.inference.query_model import EcgQueryModel
from supreme.inference.query_model import probabilities as probabilities
from supreme.inference.windows import windows_uv
from supreme.registry import versions


class Query(NamedTuple):
    """Texts whose logits are averaged to one answer."""

    texts: tuple[str, ...]
    verbatim: bool = False
    """Whether a text that names a known entity is asked as it stands, not in all phrasings of the entity."""


@dataclass(frozen=True)
class QueryGroup:
    """Queries that are put to a model together, as it takes them."""

    queries: tuple[Query, ...]
    embeddings: np.ndarray
    """float32 ``(M, dim)`` of all phrasings."""
    weights: np.ndarray
    """float64 ``(M, Q)``: the share of each phrasing in the logit of its query."""

    @classmethod
    def of(cls, model: EcgQueryModel, queries: tuple[Query, ...]) -> QueryGroup:
        """Embed the texts of queries as a model does."""
        parts, columns = [], []
        for verbatim in (False, True):
            rows = [q for q, query in enumerate(queries) if query.verbatim == verbatim]
            if not rows:
                continue
            query_of = [q for q in rows for _ in queries[q].texts]
            texts = [text for q in rows for text in queries[q].texts]
            embeddings, text_of = model.queries.embed(texts, verbatim=verbatim)
            phrasings = np.bincount(text_of, minlength=len(texts))
            weights = np.zeros((len(embeddings), len(queries)))
            for row, text in enumerate(text_of):
                weights[row, query_of[text]] = 1 / (phrasings[text] * len(queries[query_of[text]].texts))
            parts.append(embeddings)
            columns.append(weights)
        return cls(queries, np.concatenate(parts), np.concatenate(columns))


@dataclass(frozen=True)
class BundleScorer:
    """Logits of queries, and after them the mean of the encoder's tokens.

    Queries of one group are put to the model together. Without self-attention among queries an answer does
    not depend on the others of its group.
    """

    uri: str
    store: str | None
    convention: InputConvention
    groups: tuple[QueryGroup, ...]
    """Embedded where the scorer is made, so that the workers need no text encoder."""
    embedding_width: int
    has_gaps: bool = False

    @classmethod
    def of(
        cls, model: EcgQueryModel, uri: str, store: str | None, groups: tuple[tuple[Query, ...], ...]
    ) -> BundleScorer:
        """For a model that is loaded here already, to know its input and width."""
        embedded = tuple(QueryGroup.of(model, group) for group in groups)
        return cls(uri, store, model.convention, embedded, model.model.token_width)

    @property
    def queries(self) -> int:
        """How many answers stand before the embedding."""
        return sum(len(group.queries) for group in self.groups)

    @property
    def width(self) -> int:
        """Answers and embedding."""
        return self.queries + self.embedding_width

    def prepare(self, signal: Signal) -> np.ndarray:
        """int16 microvolts ``(W, 12, samples)``."""
        return windows_uv(signal.values, signal.rate_hz, self.convention)

    def load(self) -> Callable[[np.ndarray], np.ndarray]:
        """The model, on the GPU where there is one, in bfloat16 there."""
        model = versions.load(self.uri, self.store, quality_checked=True)
        return Answers(model, self.groups)


class Answers:
    """A loaded model with embedded queries: windows ``(N, 12, samples)`` to float64 ``(N, width)``."""

    def __init__(self, model: EcgQueryModel, groups: tuple[QueryGroup, ...]) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = model.model.to(self.device)
        self.groups = [
            (torch.from_numpy(group.embeddings), torch.from_numpy(group.weights)) for group in groups
        ]

    @torch.inference_mode()
    def __call__(self, windows: np.ndarray) -> np.ndarray:
        ecg_mv = torch.from_numpy(ecg.to_millivolts(windows)).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            tokens = self.model.encode(ecg_mv)
            parts = [tokens.float().mean(1).double()]
            assert self.model.fusion is not None
            for embeddings, weights in reversed(self.groups):
                logits = self.model.fusion(tokens, embeddings.to(self.device))
                parts.insert(0, logits.double() @ weights.to(self.device))
        return torch.cat(parts, dim=1).cpu().numpy()
