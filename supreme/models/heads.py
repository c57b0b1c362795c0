"""Heads of the baselines instead of the fusion network: tokens (B, N, D), queries (Q, E), logits (B, Q)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class JointEmbeddingHead(nn.Module):
    """ECGs and texts as unit vectors of one space; a logit is their cosine over the temperature.

    The head of MERL (arXiv 2403.06659): two layers on the mean of the tokens, two on the frozen text
    embedding; without batch normalisation, which cannot train on a batch of one record.
    """

    def __init__(self, token_width: int, text_width: int, width: int, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.project_ecg = _projection(token_width, width)
        self.project_text = _projection(text_width, width)

    def ecg(self, token_BND: Tensor) -> Tensor:
        """Unit vectors (B, width) float32."""
        return F.normalize(self.project_ecg(token_BND.mean(1)).float(), dim=-1)

    def text(self, text_QE: Tensor) -> Tensor:
        """Unit vectors (Q, width) float32."""
        return F.normalize(self.project_text(text_QE).float(), dim=-1)

    def forward(self, token_BND: Tensor, query_QE: Tensor) -> Tensor:
        ecg, text = self.ecg(token_BND), self.text(query_QE)
        # In bfloat16 a cosine is off by 1/256; divided by the temperature, by 1/18.
        with torch.autocast(ecg.device.type, enabled=False):
            return ecg @ text.T / self.temperature


class EntityHead(nn.Module):
    """One logit per trained entity; a text query is answered by the entity with the nearest known phrasing.

    A query that was not trained on gets the score of the nearest one that was: the baseline that text queries
    have to beat.

    Args:
        phrasings: (P, E), whitened embeddings of the entities' phrasings.
        owner: (P,) int64, the entity of each.
    """

    phrasings: Tensor
    owner: Tensor

    def __init__(self, token_width: int, phrasings: Tensor, owner: Tensor) -> None:
        super().__init__()
        self.register_buffer("phrasings", phrasings.float().clone())
        self.register_buffer("owner", owner.clone())
        self.score = nn.Linear(token_width, int(owner.max()) + 1)

    def of_entities(self, token_BND: Tensor) -> Tensor:
        """Logits (B, entities)."""
        return self.score(token_BND.mean(1))

    def forward(self, token_BND: Tensor, query_QE: Tensor) -> Tensor:
        # Whitened embeddings have equal length: the largest product is the nearest.
        with torch.autocast(query_QE.device.type, enabled=False):
            nearest = (query_QE.float() @ self.phrasings.T).argmax(1)
        return self.of_entities(token_BND)[:, self.owner[nearest]]


def _projection(inputs: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), nn.GELU(), nn.Linear(width, width))
