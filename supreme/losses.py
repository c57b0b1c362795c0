"""Multi-label losses over (ECG, query) pairs; what the report left uncertain is masked or a soft target."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from supreme.config import Training

_SOFT_TARGET = 0.5
_MAX_WEIGHT = 20.0
_FOCAL_GAMMA = 2.0
#: Asymmetric loss (Ridnik et al., ICCV 2021): focusing of positives and negatives, probability margin.
_GAMMA_POSITIVE, _GAMMA_NEGATIVE, _MARGIN = 0.0, 2.0, 0.05


def entity_loss(
    logits: Tensor, present: Tensor, uncertain: Tensor, training: Training, positive_rate: Tensor
) -> Tensor:
    """Mean loss over the pairs that count.

    Args:
        logits: (B, Q), any float type; computed in float32.
        present: (B, Q) bool.
        uncertain: (B, Q) bool; masked out, or given the target 0.5 with ``training.uncertain = "soft"``.
        positive_rate: (Q,) share of positives in the training data, for ``weighted_bce``.
    """
    logits, target = logits.float(), present.float()
    unknown = uncertain & ~present
    if training.uncertain == "soft":
        target = torch.where(unknown, torch.full_like(target, _SOFT_TARGET), target)
        counts = torch.ones_like(target)
    else:
        counts = (~unknown).float()
    loss = _LOSSES[training.loss](logits, target, positive_rate)
    return (loss * counts).sum() / counts.sum().clamp(min=1)


def _bce(logits: Tensor, target: Tensor, positive_rate: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, target, reduction="none")


def _weighted_bce(logits: Tensor, target: Tensor, positive_rate: Tensor) -> Tensor:
    """Positives weigh (1 - p) / p, within 1 and 20."""
    rate = positive_rate.clamp(1e-6, 1 - 1e-6)
    weight = ((1 - rate) / rate).clamp(1.0, _MAX_WEIGHT)
    return F.binary_cross_entropy_with_logits(logits, target, pos_weight=weight, reduction="none")


def _asymmetric(logits: Tensor, target: Tensor, positive_rate: Tensor) -> Tensor:
    probability = torch.sigmoid(logits)
    shifted = (probability - _MARGIN).clamp(min=0)
    positive = -((1 - probability) ** _GAMMA_POSITIVE) * F.logsigmoid(logits)
    negative = -(shifted**_GAMMA_NEGATIVE) * torch.log((1 - shifted).clamp(min=1e-8))
    return target * positive + (1 - target) * negative


def _focal(logits: Tensor, target: Tensor, positive_rate: Tensor) -> Tensor:
    """Lin et al., ICCV 2017, without the class weight."""
    probability = torch.sigmoid(logits)
    miss = target * (1 - probability) + (1 - target) * probability
    return miss**_FOCAL_GAMMA * F.binary_cross_entropy_with_logits(logits, target, reduction="none")


_LOSSES = {"bce": _bce, "weighted_bce": _weighted_bce, "asymmetric": _asymmetric, "focal": _focal}
