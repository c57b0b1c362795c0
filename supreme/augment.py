"""Augmentations on the device that change no label: gain, wander, noise, shift, lead dropout."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_GAIN_SD = 0.05
_LEAD_GAIN_SD = 0.06
_CROSSTALK_SD = 0.03
_NOISE_MV = 0.03
_WANDER_MV = 0.08
_LEAD_DROPOUT = 0.03
_MAX_SHIFT = 0.03
"""Of the length: what leaves at one end comes back at the other."""


def augment(ecg_mv: Tensor, generator: torch.Generator, strength: float = 1.0) -> Tensor:
    """A changed copy of ``(B, 12, T)`` millivolts; ``strength`` scales every change.

    The gains stay near one, since amplitude decides hypertrophy and voltage; no time is warped, since rate
    and intervals are findings; no leads are swapped. Crosstalk is what misplaced electrodes do.
    """
    batch, leads, samples = ecg_mv.shape

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, device=generator.device).to(ecg_mv.device)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, device=generator.device).to(ecg_mv.device)

    shift = int((2 * uniform(1).item() - 1) * _MAX_SHIFT * strength * samples)
    changed = torch.roll(ecg_mv, shift, dims=-1)
    changed = changed * (1 + strength * _GAIN_SD * normal(batch, 1, 1))
    mixing = torch.diag_embed(1 + strength * _LEAD_GAIN_SD * normal(batch, leads))
    changed = (mixing + strength * _CROSSTALK_SD * normal(batch, leads, leads)) @ changed
    changed = changed + strength * _NOISE_MV * uniform(batch, leads, 1) ** 2 * normal(batch, leads, samples)
    time = torch.linspace(0, 2 * math.pi, samples, device=ecg_mv.device)
    cycles, phase = 1 + 5 * uniform(batch, leads, 1), 2 * math.pi * uniform(batch, leads, 1)
    size = strength * _WANDER_MV * uniform(batch, 1, 1) ** 2
    changed = changed + size * torch.sin(cycles * time + phase)
    return changed * (uniform(batch, leads, 1) > strength * _LEAD_DROPOUT)
