"""1-D vision transformer: patches of all twelve leads in time (MERL's ViT: width 192, depth 12, 3 heads)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from supreme.config import Model
from supreme.ecg import N_LEADS

_MLP_RATIO = 4
_FUSED = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


class Attention(nn.Module):
    """Multi-head attention of ``(B, Q, D)`` over ``(B, N, D)``; self-attention when both are the same."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of {heads} heads")
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x_BQD: Tensor, context_BND: Tensor) -> Tensor:
        batch, queries, width = x_BQD.shape
        query = self.query(x_BQD).view(batch, queries, self.heads, -1).transpose(1, 2)
        key_value = self.key_value(context_BND).view(
            context_BND.shape[0], context_BND.shape[1], 2, self.heads, -1
        )
        key, value = key_value.permute(2, 0, 3, 1, 4)
        # On a CPU the fused kernel is slower than plain products for a few dozen tokens.
        backends = [SDPBackend.MATH] if query.device.type == "cpu" else _FUSED
        with sdpa_kernel(backends):
            mixed = F.scaled_dot_product_attention(query, key, value)
        return self.out(mixed.transpose(1, 2).reshape(batch, queries, width))


class Mlp(nn.Sequential):
    """Linear, GELU, dropout, linear."""

    def __init__(self, width: int, dropout: float, ratio: int = _MLP_RATIO) -> None:
        super().__init__(
            nn.Linear(width, ratio * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(ratio * width, width)
        )


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm_attention, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention, self.mlp = Attention(width, heads), Mlp(width, dropout)

    def forward(self, x_BND: Tensor) -> Tensor:
        normed = self.norm_attention(x_BND)
        x_BND = x_BND + self.attention(normed, normed)
        return x_BND + self.mlp(self.norm_mlp(x_BND))


class ViT1d(nn.Module):
    """``(B, 12, T) -> tokens (B, T // patch, D)``; T must be a multiple of the patch."""

    def __init__(self, config: Model, samples: int) -> None:
        super().__init__()
        if samples % config.patch:
            raise ValueError(
                f"model.patch={config.patch} does not divide the {samples} samples of a shard row"
            )
        self.width = config.width
        self.patches = nn.Conv1d(N_LEADS, config.width, config.patch, config.patch)
        self.position = nn.Parameter(torch.randn(1, samples // config.patch, config.width) * 0.02)
        self.blocks = nn.Sequential(
            *(_Block(config.width, config.heads, config.dropout) for _ in range(config.depth))
        )
        self.norm = nn.LayerNorm(config.width)

    def forward(self, ecg_BLT: Tensor) -> Tensor:
        tokens = self.patches(ecg_BLT).transpose(1, 2) + self.position
        return self.norm(self.blocks(tokens))
