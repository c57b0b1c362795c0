"""The Cardiac Fusion Network: text queries attend to ECG tokens, and each gets one score.

Source: SuPreME (arXiv 2502.19668). Self-attention among the queries, as in MedKLIP and KED, is a switch:
without it a score does not depend on the other queries.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from supreme.models.attention import Attention, Mlp
from supreme.settings.model import Model

_MLP_RATIO = 2


class _Layer(nn.Module):
    def __init__(self, config: Model) -> None:
        super().__init__()
        width, heads, dropout = config.fusion_width, config.fusion_heads, config.dropout
        # The names of these modules are keys of stored weights.
        self.among = Attention(width, heads) if config.query_self_attention else None
        self.norm_among = nn.LayerNorm(width) if config.query_self_attention else None
        self.norm_cross, self.cross = nn.LayerNorm(width), Attention(width, heads)
        self.norm_mlp, self.mlp = nn.LayerNorm(width), Mlp(width, dropout, _MLP_RATIO)

    def forward(self, query_BQD: Tensor, token_BND: Tensor, maps: list[Tensor] | None) -> Tensor:
        """Updated queries; the attention to the tokens is appended to ``maps``."""
        if self.among is not None and self.norm_among is not None:
            normed = self.norm_among(query_BQD)
            query_BQD = query_BQD + self.among(normed, normed)
        normed = self.norm_cross(query_BQD)
        if maps is None:
            attended = self.cross(normed, token_BND)
        else:
            attended, weights = self.cross.with_weights(normed, token_BND)
            maps.append(weights)
        query_BQD = query_BQD + attended
        return query_BQD + self.mlp(self.norm_mlp(query_BQD))


class CardiacFusionNetwork(nn.Module):
    """Tokens ``(B, N, token_width)`` and queries ``(Q, text_width)`` to logits ``(B, Q)``."""

    def __init__(self, config: Model, token_width: int, text_width: int, tokens: int) -> None:
        super().__init__()
        width = config.fusion_width
        self.token_projection = nn.Sequential(nn.Linear(token_width, width), nn.LayerNorm(width))
        self.position = nn.Parameter(torch.randn(1, tokens, width) * 0.02)
        self.query_projection = nn.Sequential(nn.Linear(text_width, width), nn.LayerNorm(width))
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.fusion_depth))
        self.norm = nn.LayerNorm(width)
        self.score = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, 1))

    def forward(self, token_BND: Tensor, query_QE: Tensor) -> Tensor:
        return self._scores(token_BND, query_QE, None)

    def with_attention(self, token_BND: Tensor, query_QE: Tensor) -> tuple[Tensor, Tensor]:
        """Logits, and the attention weights ``(B, layers, heads, Q, N)``, which sum to one over N."""
        maps: list[Tensor] = []
        logits = self._scores(token_BND, query_QE, maps)
        return logits, torch.stack(maps, dim=1)

    def _scores(self, token_BND: Tensor, query_QE: Tensor, maps: list[Tensor] | None) -> Tensor:
        token_BND = self.token_projection(token_BND) + self.position
        # Batch size 1 up to the first cross-attention: until then the queries are the same for all ECGs.
        query_BQD = self.query_projection(query_QE)[None]
        for layer in self.layers:
            query_BQD = layer(query_BQD, token_BND, maps)
        return self.score(self.norm(query_BQD)).squeeze(-1)
