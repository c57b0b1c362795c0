"""What the baselines have in place of the fusion network: tokens (B, N, D), queries (Q, E), logits (B, Q)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class CommonSpace(nn.Module):
    """ECGs and texts as unit vectors of one space; a logit is their cosine over the temperature.

    The head of MERL (arXiv 2403.06659): two layers from the mean of the tokens, two from the frozen text
    embedding; without batch normalisation, for which one record is no batch.
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
        # In bfloat16 a cosine is off by 1/256, over the temperature by 1/18.
        with torch.autocast(ecg.device.type, enabled=False):
            return ecg @ text.T / self.temperature


class EntityHead(nn.Module):
    """One logit for each entity of training; a text is taken for the entity with the nearest known phrasing.

    It cannot tell a query that it was not trained on from the nearest one that it was: the baseline that text
    queries have to beat.

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
        # Whitened embeddings are of one length: the largest product is the nearest.
        with torch.autocast(query_QE.device.type, enabled=False):
            nearest = (query_QE.float() @ self.phrasings.T).argmax(1)
        return self.of_entities(token_BND)[:, self.owner[nearest]]


def _projection(inputs: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), nn.GELU(), nn.Linear(width, width))
