"""Multi-label losses over (ECG, query) pairs, and contrastive losses over pairs of a batch.

The former mask uncertain labels or give them a soft target. The latter take rows (N, D) of any length; a
similarity is the cosine over the temperature.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from supreme.settings.training import Training

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
    counts = counted(present, uncertain, training)
    if training.uncertain == "soft":
        target = torch.where(uncertain & ~present, torch.full_like(target, _SOFT_TARGET), target)
    loss = _LOSSES[training.loss](logits, target, positive_rate)
    return (loss * counts).sum() / counts.sum().clamp(min=1)


def counted(present: Tensor, uncertain: Tensor, training: Training) -> Tensor:
    """(B, Q) float: 1 where a pair counts, 0 where it is masked out."""
    known = present | ~uncertain
    return torch.ones_like(known, dtype=torch.float) if training.uncertain == "soft" else known.float()


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


def pair_contrast(ecg: Tensor, other: Tensor, temperature: float) -> Tensor:
    """CLIP's loss (arXiv 2103.00020, figure 3), both terms of MERL (arXiv 2403.06659): each ECG has to find
    its own ``other`` among all, and the reverse; the mean of both cross-entropies.
    """
    similarity = _cosines(ecg, other) / temperature
    own = torch.arange(len(similarity), device=similarity.device)
    return (F.cross_entropy(similarity, own) + F.cross_entropy(similarity.T, own)) / 2


def finding_contrast(ecg: Tensor, report: Tensor, present: Tensor, temperature: float) -> Tensor:
    """KED's contrast of signal, text and labels (Cell Reports Medicine 2024): a pair counts once for each
    finding (``present``, (N, Q)) that ECG and report share.

    The weights of a record sum to one, as in UniCL (arXiv 2204.03610), so that the loss does not grow with
    the batch as in KED's code; records without a finding only serve as negatives.
    """
    has = present.to(ecg.dtype)
    shared = has @ has.T
    total = shared.sum(1, keepdim=True)
    weights = shared / total.clamp(min=1)
    similarity = _cosines(ecg, report) / temperature
    log_likelihood = similarity.log_softmax(1) + similarity.T.log_softmax(1)
    return -(weights * log_likelihood).sum() / 2 / (total > 0).sum().clamp(min=1)


def view_contrast(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """SimCLR's NT-Xent (arXiv 2002.05709, eq. 1): a view has to find the other view of its record among all
    other views of the batch.
    """
    views = torch.cat([first, second])
    similarity = _cosines(views, views) / temperature
    itself = torch.eye(len(views), dtype=torch.bool, device=views.device)
    other = torch.arange(len(views), device=views.device).roll(len(first))
    return F.cross_entropy(similarity.masked_fill(itself, -torch.inf), other)


def _cosines(first: Tensor, second: Tensor) -> Tensor:
    return F.normalize(first, dim=-1) @ F.normalize(second, dim=-1).T
