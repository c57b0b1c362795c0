"""The head that linear and attentive probes train on the tokens of a frozen encoder."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn


class Probe(nn.Module):
    """Tokens ``(B, N, width)`` to logits ``(B, classes)``.

    Args:
        pooling: "mean" of the tokens, or their mean weighted by a learned "attention" (softmax over N).
    """

    def __init__(self, width: int, classes: int, pooling: Literal["mean", "attention"] = "mean") -> None:
        super().__init__()
        self.attention = nn.Linear(width, 1) if pooling == "attention" else None
        self.head = nn.Linear(width, classes)

    def forward(self, token_BND: Tensor) -> Tensor:
        if self.attention is None:
            return self.head(token_BND.mean(1))
        weight = self.attention(token_BND).softmax(1)
        return self.head((weight * token_BND).sum(1))
