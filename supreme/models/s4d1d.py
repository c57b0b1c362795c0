"""1-D diagonal state-space encoder (S4D; Gu et al., 2022) over the twelve leads, in both directions of time.

A channel is convolved with the response of a linear system whose state decays and turns: a kernel as long as
the record, from few weights. Convolutions are products of spectra, in float32 also under mixed precision.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from supreme.ecg import N_LEADS

#: Complex states of a channel and direction.
_STATES = 16
_STEM_KERNEL, _STEM_STRIDE = 9, 4
_POOL = 8
#: Steps of time of the systems at the start, in units of the stem's output: fast to slow.
_MIN_STEP, _MAX_STEP = 0.001, 0.1
#: Samples of the signal per token.
STRIDE = _STEM_STRIDE * _POOL


class StateSpace(nn.Module):
    """``(B, D, T) -> (B, D, T)``: a system for each channel, one forward and one backward in time."""

    def __init__(self, width: int) -> None:
        super().__init__()
        steps = torch.rand(2, width) * (math.log(_MAX_STEP) - math.log(_MIN_STEP)) + math.log(_MIN_STEP)
        self.log_step = nn.Parameter(steps)
        # S4D-Lin: equal decay, frequencies in equal steps.
        self.log_decay = nn.Parameter(torch.full((2, width, _STATES), math.log(0.5)))
        self.turn = nn.Parameter((math.pi * torch.arange(_STATES)).expand(2, width, -1).clone())
        self.output = nn.Parameter(torch.randn(2, width, _STATES, 2) * math.sqrt(0.5))
        self.skip = nn.Parameter(torch.ones(width))

    def kernels(self, length: int) -> Tensor:
        """Responses ``(2, D, length)`` of the forward and the backward systems to an impulse."""
        pole = torch.complex(-self.log_decay.exp(), self.turn)
        step = self.log_step.exp()[..., None]
        gain = torch.view_as_complex(self.output) * (torch.exp(pole * step) - 1) / pole
        powers = (pole * step)[..., None] * torch.arange(length, device=pole.device)
        return 2 * torch.einsum("kdn,kdnl->kdl", gain, torch.exp(powers)).real

    def forward(self, x_BDT: Tensor) -> Tensor:
        length = x_BDT.shape[-1]
        with torch.autocast(x_BDT.device.type, enabled=False):
            x = x_BDT.float()
            forward, backward = self.kernels(length)
            # The backward kernel without its first value, which is that of the same moment.
            both = F.pad(forward, (0, length)) + F.pad(backward[:, 1:].flip(-1), (length + 1, 0))
            spectrum = torch.fft.rfft(x, n=2 * length) * torch.fft.rfft(both, n=2 * length)
            return torch.fft.irfft(spectrum, n=2 * length)[..., :length] + x * self.skip[:, None]


class _StateSpaceBlock(nn.Module):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm, self.system = nn.LayerNorm(width), StateSpace(width)
        self.mix, self.dropout = nn.Linear(width, 2 * width), nn.Dropout(dropout)

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD = self.system(self.norm(x_BTD).transpose(1, 2)).transpose(1, 2)
        return x_BTD + F.glu(self.mix(self.dropout(F.gelu(y_BTD))), dim=-1)


class S4d1d(nn.Module):
    """``(B, 12, T) -> tokens (B, ceil(T / 32), D)`` with D = width.

    Args:
        width: channels.
        depth: blocks.
    """

    def __init__(self, *, width: int, depth: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.width = width
        self.stem = nn.Conv1d(N_LEADS, width, _STEM_KERNEL, _STEM_STRIDE, _STEM_KERNEL // 2)
        self.blocks = nn.ModuleList(_StateSpaceBlock(width, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, ecg_BLT: Tensor) -> Tensor:
        x_BTD = self.stem(ecg_BLT).transpose(1, 2)
        for block in self.blocks:
            x_BTD = block(x_BTD)
        pooled = F.avg_pool1d(x_BTD.transpose(1, 2), _POOL, _POOL, ceil_mode=True, count_include_pad=False)
        return self.norm(pooled.transpose(1, 2))
