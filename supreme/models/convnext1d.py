"""1-D ConvNeXt over the twelve leads (after Liu et al., 2022): depthwise kernels in time, MLPs over channels.

Batch normalisation stands where the original normalises the channels of each place: the size of a wave is
what an ECG says, and between waves that would make noise as large as a QRS complex.
"""

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
_SCALE = 0.5
#: Samples of the signal per token.
STRIDE = 32


class _ConvNextBlock(nn.Module):
    """A depthwise convolution in time, then an MLP over channels, with a residual connection."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(width, width, _KERNEL, padding=_KERNEL // 2, groups=width)
        self.mlp = nn.Sequential(
            nn.BatchNorm1d(width),
            nn.Conv1d(width, _EXPANSION * width, 1),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Conv1d(_EXPANSION * width, width, 1),
        )
        self.scale = nn.Parameter(torch.full((width, 1), _SCALE))

    def forward(self, x_BDT: Tensor) -> Tensor:
        return x_BDT + self.mlp(self.depthwise(x_BDT)) * self.scale


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
        self.stem = nn.Sequential(_Downsample(N_LEADS, width, _STEM_STRIDE), nn.BatchNorm1d(width))
        blocks: list[nn.Module] = []
        for place, (factor, count) in enumerate(zip(_STAGES, depth, strict=True)):
            outputs = factor * width
            if place:
                blocks.append(
                    nn.Sequential(nn.BatchNorm1d(outputs // 2), _Downsample(outputs // 2, outputs, 2))
                )
            blocks += [_ConvNextBlock(outputs, dropout) for _ in range(count)]
        self.blocks = nn.Sequential(*blocks)
        self.width = _STAGES[-1] * width
        self.norm = nn.LayerNorm(self.width)

    def forward(self, ecg_BLT: Tensor) -> Tensor:
        return self.norm(self.blocks(self.stem(ecg_BLT)).transpose(1, 2))
