"""1-D ConvNeXt over the twelve leads (after Liu et al., 2022): depthwise kernels, no batch statistics."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from supreme.ecg import N_LEADS

#: Kernel of the depthwise convolutions, in samples of their stage.
_KERNEL = 11
_STEM_STRIDE = 4
_STAGES = (1, 2, 4, 8)
_EXPANSION = 4
#: Start of the learned scale of each residual.
_SCALE = 0.1
#: Samples of the signal per token.
STRIDE = 32


class _ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of ``(B, D, T)``."""

    def forward(self, x_BDT: Tensor) -> Tensor:
        return super().forward(x_BDT.transpose(1, 2)).transpose(1, 2)


class _ConvNextBlock(nn.Module):
    """A depthwise convolution in time, then an MLP over channels, with a residual connection."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(width, width, _KERNEL, padding=_KERNEL // 2, groups=width)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, _EXPANSION * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(_EXPANSION * width, width),
        )
        self.scale = nn.Parameter(torch.full((width,), _SCALE))

    def forward(self, x_BDT: Tensor) -> Tensor:
        return x_BDT + (self.mlp(self.depthwise(x_BDT).transpose(1, 2)) * self.scale).transpose(1, 2)


class _Downsample(nn.Module):
    """A patch of ``stride`` steps becomes one; what does not fill the last patch is padded with zeros."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride, self.conv = stride, nn.Conv1d(inputs, outputs, stride, stride)

    def forward(self, x_BDT: Tensor) -> Tensor:
        return self.conv(F.pad(x_BDT, (0, -x_BDT.shape[-1] % self.stride)))


class ConvNext1d(nn.Module):
    """``(B, 12, T) -> tokens (B, ceil(T / 32), D)`` with D = 8 x width.

    Args:
        width: channels of the first stage.
        depth: blocks of each of the four stages.
    """

    def __init__(self, *, width: int, depth: Sequence[int], dropout: float = 0.0) -> None:
        super().__init__()
        self.stem = nn.Sequential(_Downsample(N_LEADS, width, _STEM_STRIDE), _ChannelNorm(width))
        blocks: list[nn.Module] = []
        for place, (factor, count) in enumerate(zip(_STAGES, depth, strict=True)):
            outputs = factor * width
            if place:
                blocks.append(
                    nn.Sequential(_ChannelNorm(outputs // 2), _Downsample(outputs // 2, outputs, 2))
                )
            blocks += [_ConvNextBlock(outputs, dropout) for _ in range(count)]
        self.blocks = nn.Sequential(*blocks)
        self.width = _STAGES[-1] * width
        self.norm = nn.LayerNorm(self.width)

    def forward(self, ecg_BLT: Tensor) -> Tensor:
        return self.norm(self.blocks(self.stem(ecg_BLT)).transpose(1, 2))
