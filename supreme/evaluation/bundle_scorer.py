"""A bundle as the scoring engine runs it: answers to text queries, and the embedding of each ECG."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from supreme import ecg
from supreme.inference.convention import InputConvention
from supreme.inference.engine import Signal
from supreme.inference.query_model import EcgQueryModel
from supreme.inference.windows import windows_uv
from supreme.registry import versions

#: Texts whose logits are averaged to one answer.
Query = tuple[str, ...]


@dataclass(frozen=True)
class BundleScorer:
    """Logits of queries, and after them the mean of the encoder's tokens.

    Queries of one group are put to the model together. Without self-attention among queries an answer does
    not depend on the others of its group.
    """

    uri: str
    store: str | None
    convention: InputConvention
    groups: tuple[tuple[Query, ...], ...]
    embedding_width: int

    @classmethod
    def of(
        cls, model: EcgQueryModel, uri: str, store: str | None, groups: tuple[tuple[Query, ...], ...]
    ) -> BundleScorer:
        """For a model that is loaded here already, to know its input and width."""
        return cls(uri, store, model.convention, groups, model.model.token_width)

    @property
    def queries(self) -> int:
        """How many answers stand before the embedding."""
        return sum(map(len, self.groups))

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

    def __init__(self, model: EcgQueryModel, groups: tuple[tuple[Query, ...], ...]) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = model.model.to(self.device)
        self.groups = [_embedded(model, group) for group in groups]

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


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Logits of any shape to float32 in [0, 1]."""
    return (1 / (1 + np.exp(-logits.astype(np.float64)))).astype(np.float32)


def _embedded(model: EcgQueryModel, group: tuple[Query, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings ``(M, dim)`` of all phrasings, and the weight ``(M, Q)`` of each in its query's logit."""
    texts = [text for query in group for text in query]
    embeddings, text_of = model.queries.embed(texts)
    query_of = np.repeat(np.arange(len(group)), [len(query) for query in group])
    weights = np.zeros((len(embeddings), len(group)))
    phrasings = np.bincount(text_of, minlength=len(texts))
    for row, text in enumerate(text_of):
        query = query_of[text]
        weights[row, query] = 1 / (phrasings[text] * len(group[query]))
    return torch.from_numpy(embeddings), torch.from_numpy(weights)
