"""MERL: an ECG is brought together with its report; text queries are answered in the space of the reports."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from supreme.losses import pair_contrast
from supreme.models.heads import CommonSpace
from supreme.models.supreme import SupremeModel
from supreme.objectives.task import Inputs, Task

#: Of the uni-modal views, as in the released code.
_DROPOUT = 0.1


class Merl(Task):
    """Cross-modal plus uni-modal alignment (arXiv 2403.06659), the text encoder frozen.

    The uni-modal term contrasts two projections of the same ECG under independent dropout, as the released
    code has it: an augmentation of what was encoded, not of the signal. As there, equal reports in a batch
    are told from each other as if they differed.
    """

    reads_reports = True
    model: SupremeModel

    def __init__(self, model: SupremeModel) -> None:
        super().__init__()
        self.model = model
        width = model.config.fusion_width
        self.first, self.second = (
            nn.Sequential(nn.Linear(model.token_width, width, bias=False), nn.Dropout(_DROPOUT))
            for _ in range(2)
        )

    @property
    def space(self) -> CommonSpace:
        assert isinstance(self.model.fusion, CommonSpace)
        return self.model.fusion

    def forward(self, inputs: Inputs) -> tuple[Tensor, dict[str, Tensor]]:
        [ecg_mv] = inputs.views
        return self._losses(self.model.encode(ecg_mv), inputs)

    def validate(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        [ecg_mv] = inputs.views
        tokens = self.model.encode(ecg_mv)
        return self._losses(tokens, inputs)[0], self.space(tokens, inputs.queries)

    def _losses(self, token_BND: Tensor, inputs: Inputs) -> tuple[Tensor, dict[str, Tensor]]:
        assert inputs.reports is not None
        ecg, report = self.space.ecg(token_BND), self.space.text(inputs.reports)
        pooled = token_BND.mean(1)
        first, second = self.first(pooled).float(), self.second(pooled).float()
        with torch.autocast(pooled.device.type, enabled=False):
            temperature = self.model.config.temperature
            cross = pair_contrast(self.everyone(ecg), self.everyone(report), temperature)
            uni = pair_contrast(self.everyone(first), self.everyone(second), temperature)
        return cross + uni, {"cross_modal": cross.detach(), "uni_modal": uni.detach()}
