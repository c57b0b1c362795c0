"""Attention, rotary positions and pooling against the formulas of their papers, written out."""

from __future__ import annotations

import cmath
import math

import pytest
import torch
from torch import Tensor

from supreme.models.attention import Attention, rotary, rotate

pytestmark = pytest.mark.unit


def _attention(width: int = 4, heads: int = 2) -> Attention:
    torch.manual_seed(0)
    return Attention(width, heads).double()


def _by_hand(layer: Attention, x: Tensor, context: Tensor, turn: Tensor | None = None) -> Tensor:
    """softmax(Q K' / sqrt(d)) V of one record, head by head."""
    width = x.shape[-1] // layer.heads
    q = layer.query(x).view(-1, layer.heads, width)
    k, v = layer.key_value(context).view(-1, 2, layer.heads, width).unbind(1)
    mixed = torch.zeros_like(q)
    for head in range(layer.heads):
        query, key = q[:, head], k[:, head]
        if turn is not None:
            query, key = _turn_by_hand(query, turn), _turn_by_hand(key, turn)
        weight = torch.softmax(query @ key.T / math.sqrt(width), dim=-1)
        mixed[:, head] = weight @ v[:, head]
    return layer.out(mixed.flatten(1))


@torch.no_grad()
def _turn_by_hand(x: Tensor, positions: Tensor) -> Tensor:
    """RoFormer, eq. 13: each pair a complex number, times exp(i m theta), theta = 10000^(-2 j / d)."""
    half = x.shape[1] // 2
    turned = torch.empty_like(x)
    for row, m in enumerate(positions.tolist()):
        for j in range(half):
            pair = complex(x[row, j], x[row, j + half]) * cmath.exp(1j * m * 10_000 ** (-2 * j / (2 * half)))
            turned[row, j], turned[row, j + half] = pair.real, pair.imag
    return turned


def test_attention_is_that_of_the_textbook() -> None:
    layer, x, context = _attention(), torch.randn(2, 5, 4).double(), torch.randn(2, 3, 4).double()
    for one, other in ((x, context), (x, x)):
        expected = torch.stack([_by_hand(layer, a, b) for a, b in zip(one, other, strict=True)])
        assert torch.allclose(layer(one, other), expected, atol=1e-12)
        mixed, weights = layer.with_weights(one, other)
        assert torch.allclose(mixed, expected, atol=1e-12)
        assert weights.shape == (2, 2, 5, other.shape[1])


def test_queries_of_batch_one_are_asked_of_every_context() -> None:
    layer, x, context = _attention(), torch.randn(1, 5, 4).double(), torch.randn(3, 2, 4).double()
    assert torch.allclose(layer(x, context), layer(x.repeat(3, 1, 1), context), atol=1e-12)


def test_bfloat16_gives_the_same_up_to_its_rounding() -> None:
    """On a CPU it goes another way through the products."""
    torch.manual_seed(0)
    layer, x, context = Attention(32, 4), torch.randn(2, 9, 32), torch.randn(2, 7, 32)
    with torch.no_grad():
        exact = layer(x, context)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = layer(x, context)
    assert rounded.dtype == torch.bfloat16
    assert (rounded.float() - exact).abs().max() < 0.02 * exact.abs().max() + 0.005


def test_rotary_is_that_of_the_paper() -> None:
    positions, x = torch.tensor([0, 1, 2, 7, 40, 999]), torch.randn(6, 8).double()
    assert torch.allclose(rotate(x, rotary(positions, 8)), _turn_by_hand(x, positions), atol=1e-6)


def test_attention_with_rotary_is_that_of_the_paper() -> None:
    layer, x, positions = _attention(8), torch.randn(1, 5, 8).double(), torch.arange(5)
    turned = layer(x, x, rotary(positions, 4))
    assert torch.allclose(turned[0], _by_hand(layer, x[0], x[0], positions), atol=1e-6)
    assert not torch.allclose(turned, layer(x, x), atol=1e-3)


def test_rotary_sees_distances_only() -> None:
    layer, x = _attention(8), torch.randn(1, 5, 8).double()
    moved = layer(x, x, rotary(torch.arange(5) + 300, 4))
    assert torch.allclose(moved, layer(x, x, rotary(torch.arange(5), 4)), atol=1e-5)
    assert not torch.allclose(moved, layer(x, x, rotary(2 * torch.arange(5), 4)), atol=1e-3)


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="width 16 is not a multiple of 3 heads"):
        Attention(16, 3)
