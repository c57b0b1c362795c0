"""1-D residual network over the twelve leads (after He et al., 2016; for ECGs: Hannun, Ribeiro)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from supreme.config import Model
from supreme.ecg import N_LEADS

#: Kernel of every convolution, in samples; odd, so that the length is halved exactly by stride 2.
_KERNEL = 7
_STEM_KERNEL = 15
_STAGES = (1, 2, 4, 8)
#: Samples of the signal that one token stands for.
STRIDE = 32


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(inputs, outputs, _KERNEL, stride, _KERNEL // 2, bias=False),
            nn.BatchNorm1d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv1d(outputs, outputs, _KERNEL, 1, _KERNEL // 2, bias=False),
            nn.BatchNorm1d(outputs),
        )
        self.skip = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.skip = nn.Sequential(
                nn.AvgPool1d(stride, stride, ceil_mode=True),
                nn.Conv1d(inputs, outputs, 1, bias=False),
                nn.BatchNorm1d(outputs),
            )

    def forward(self, x_BDT: Tensor) -> Tensor:
        return torch.relu(self.body(x_BDT) + self.skip(x_BDT))


class ResNet1d(nn.Module):
    """``(B, 12, T) -> tokens (B, ceil(T / 32), D)`` with D = 8 x width."""

    def __init__(self, config: Model) -> None:
        super().__init__()
        width = config.width
        self.stem = nn.Sequential(
            nn.Conv1d(N_LEADS, width, _STEM_KERNEL, 2, _STEM_KERNEL // 2, bias=False),
            nn.BatchNorm1d(width),
            nn.ReLU(inplace=True),
        )
        blocks, inputs = [], width
        for factor in _STAGES:
            for number in range(config.depth):
                blocks.append(_Block(inputs, factor * width, 2 if number == 0 else 1))
                inputs = factor * width
        self.blocks = nn.Sequential(*blocks)
        self.width = inputs

    def forward(self, ecg_BLT: Tensor) -> Tensor:
        return self.blocks(self.stem(ecg_BLT)).transpose(1, 2)
