"""1-D residual network over the twelve leads (after He et al., 2016; for ECGs: Hannun, Ribeiro)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from supreme.ecg import N_LEADS

#: Kernel of every convolution, in samples; odd, so that stride 2 halves the length exactly.
_KERNEL = 7
_STEM_KERNEL = 15
_STAGES = (1, 2, 4, 8)
_EXPANSION = 4
#: Samples of the signal per token.
STRIDE = 32


class _ResidualBlock(nn.Module):
    """Two convolutions, or one between two of kernel 1 (bottleneck), with a residual connection."""

    def __init__(self, inputs: int, width: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        self.outputs = width * _EXPANSION if bottleneck else width
        if bottleneck:
            self.body = nn.Sequential(
                *_conv(inputs, width, 1),
                nn.ReLU(inplace=True),
                *_conv(width, width, _KERNEL, stride),
                nn.ReLU(inplace=True),
                *_conv(width, self.outputs, 1),
            )
        else:
            self.body = nn.Sequential(
                *_conv(inputs, width, _KERNEL, stride),
                nn.ReLU(inplace=True),
                *_conv(width, width, _KERNEL),
            )
        self.skip = nn.Sequential()
        if stride != 1 or inputs != self.outputs:
            # There is no padding to count. Saying so only changes the gradient of the last window when
            # compiled, which is wrong otherwise (pytorch#198119).
            pool = nn.AvgPool1d(stride, stride, ceil_mode=True, count_include_pad=False)
            self.skip = nn.Sequential(pool, *_conv(inputs, self.outputs, 1))

    def forward(self, x_BDT: Tensor) -> Tensor:
        return torch.relu(self.body(x_BDT) + self.skip(x_BDT))


class ResNet1d(nn.Module):
    """``(B, 12, T) -> tokens (B, ceil(T / 32), D)`` with D = 8 x width, four times as much with bottlenecks.

    Args:
        width: channels of the first stage.
        depth: blocks of each of the four stages.
    """

    def __init__(self, *, width: int, depth: Sequence[int], bottleneck: bool = False) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            *_conv(N_LEADS, width, _STEM_KERNEL, 2),
            nn.ReLU(inplace=True),
        )
        blocks, inputs = [], width
        for factor, count in zip(_STAGES, depth, strict=True):
            for number in range(count):
                block = _ResidualBlock(inputs, factor * width, 2 if number == 0 else 1, bottleneck)
                blocks.append(block)
                inputs = block.outputs
        self.blocks = nn.Sequential(*blocks)
        self.width = inputs

    def forward(self, ecg_BLT: Tensor) -> Tensor:
        return self.blocks(self.stem(ecg_BLT)).transpose(1, 2)


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> tuple[nn.Module, nn.Module]:
    conv = nn.Conv1d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return conv, nn.BatchNorm1d(outputs)
