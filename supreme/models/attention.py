"""Multi-head attention and the two-layer perceptron: the parts of both transformers."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Multi-head attention of ``(B, Q, D)`` over ``(B, N, D)``; self-attention when both are the same tensor.

    Queries with batch size 1 are broadcast over the contexts.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of {heads} heads")
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x_BQD: Tensor, context_BND: Tensor, rotation: Tensor | None = None) -> Tensor:
        """Mixed values ``(B, Q, D)``; ``rotation``: cosines and sines of :func:`rotary`, of both sides."""
        query, key, value = self._project(x_BQD, context_BND, rotation)
        # The CPU's fused kernel is four times slower than plain products in bfloat16, but not in float32.
        if query.device.type == "cpu" and query.dtype == torch.bfloat16:
            return self._join(_weights(query, key) @ value)
        return self._join(F.scaled_dot_product_attention(query, key, value))

    def with_weights(self, x_BQD: Tensor, context_BND: Tensor) -> tuple[Tensor, Tensor]:
        """As :meth:`forward`, and the weights ``(B, heads, Q, N)``, which sum to one over N."""
        query, key, value = self._project(x_BQD, context_BND)
        weights = _weights(query, key)
        return self._join(weights @ value), weights

    def _project(
        self, x_BQD: Tensor, context_BND: Tensor, rotation: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value by head: ``(B, heads, tokens, D / heads)`` each."""
        if x_BQD is context_BND:  # one product instead of two
            weight = torch.cat([self.query.weight, self.key_value.weight])
            bias = torch.cat([self.query.bias, self.key_value.bias])
            query, key, value = self._heads(F.linear(x_BQD, weight, bias), 3)
        else:
            (query,) = self._heads(self.query(x_BQD), 1)
            key, value = self._heads(self.key_value(context_BND), 2)
        if rotation is not None:
            query, key = rotate(query, rotation), rotate(key, rotation)
        return query.expand(len(context_BND), -1, -1, -1), key, value

    def _heads(self, projected: Tensor, parts: int) -> tuple[Tensor, ...]:
        return projected.unflatten(2, (parts, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind()

    def _join(self, mixed: Tensor) -> Tensor:
        return self.out(mixed.transpose(1, 2).flatten(2))


def _weights(query: Tensor, key: Tensor) -> Tensor:
    # The keys are scaled: there are more queries than tokens, and more weights than either.
    return (query @ (key * key.shape[-1] ** -0.5).transpose(-1, -2)).softmax(-1)


def rotary(positions: Tensor, width: int, base: float = 10_000.0) -> Tensor:
    """Cosines and sines ``(2, N, width / 2)`` that rotate heads of an even width at N positions.

    Source: RoFormer (arXiv 2104.09864), eq. 15; the pairs are (i, i + width / 2).
    """
    if width % 2:
        raise ValueError(f"rotary positions need heads of an even width, not {width}")
    speed = torch.exp(-math.log(base) * torch.arange(0, width, 2, dtype=torch.float64) / width)
    angle = positions.double()[:, None] * speed
    return torch.stack([angle.cos(), angle.sin()]).float()


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Rotate ``(..., N, width)`` by its positions."""
    cos, sin = rotation
    first, second = x.chunk(2, -1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], -1).to(x.dtype)


class Mlp(nn.Sequential):
    """Linear, GELU, dropout, linear."""

    def __init__(self, width: int, dropout: float, ratio: int) -> None:
        super().__init__(
            nn.Linear(width, ratio * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(ratio * width, width)
        )
