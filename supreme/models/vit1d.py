"""1-D vision transformer over patches in time, of all leads at once or of each lead (tiny is MERL's ViT)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from supreme.ecg import N_LEADS
from supreme.models.attention import Attention, Mlp, rotary

_MLP_RATIO = 4


class _TransformerBlock(nn.Module):
    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm_attention, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention, self.mlp = Attention(width, heads), Mlp(width, dropout, _MLP_RATIO)

    def forward(self, x_BND: Tensor, rotation: Tensor | None) -> Tensor:
        normed = self.norm_attention(x_BND)
        x_BND = x_BND + self.attention(normed, normed, rotation)
        return x_BND + self.mlp(self.norm_mlp(x_BND))


class ViT1d(nn.Module):
    """``(B, 12, T) -> tokens (B, N, D)``: N = T / patch, or lead by lead 12 T / patch.

    Args:
        samples: T, a multiple of ``patch``.
        tokens: a token is a patch of all leads ("joint") or of one ("leadwise", with a learned lead vector).
        positions: encoding of a patch's time: "learned", or "rotary" in every attention.
    """

    def __init__(
        self,
        samples: int,
        *,
        patch: int,
        width: int,
        depth: int,
        heads: int,
        tokens: Literal["joint", "leadwise"] = "joint",
        positions: Literal["learned", "rotary"] = "learned",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if samples % patch:
            raise ValueError(f"model.patch={patch} does not divide the {samples} samples of a shard row")
        self.width, self.leadwise = width, tokens == "leadwise"
        count = samples // patch
        self.patches = nn.Conv1d(1 if self.leadwise else N_LEADS, width, patch, patch)
        self.position = nn.Parameter(torch.randn(1, count, width) * 0.02) if positions == "learned" else None
        self.lead = nn.Parameter(torch.randn(1, N_LEADS, 1, width) * 0.02) if self.leadwise else None
        self.blocks = nn.ModuleList(_TransformerBlock(width, heads, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        rotation = None
        if positions == "rotary":
            rotation = rotary(torch.arange(count).repeat(N_LEADS if self.leadwise else 1), width // heads)
        self.register_buffer("rotation", rotation, persistent=False)

    def forward(self, ecg_BLT: Tensor) -> Tensor:
        token_BND = self._embed(ecg_BLT)
        for block in self.blocks:
            token_BND = block(token_BND, self.rotation)
        return self.norm(token_BND)

    def _embed(self, ecg_BLT: Tensor) -> Tensor:
        """Tokens without context; leadwise, lead after lead."""
        x = ecg_BLT.flatten(0, 1)[:, None] if self.leadwise else ecg_BLT
        # The convolution as a matrix product: faster, and its memory layout fits what follows.
        patches = x.unflatten(2, (-1, self.patches.stride[0])).transpose(1, 2).flatten(2)
        token = F.linear(patches, self.patches.weight.flatten(1), self.patches.bias)
        if self.position is not None:
            token = token + self.position
        if self.lead is not None:
            token = (token.unflatten(0, (-1, N_LEADS)) + self.lead).flatten(1, 2)
        return token
