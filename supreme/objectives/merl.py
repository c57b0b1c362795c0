"""MERL: ECG and report are aligned in one space, in which text queries are answered as well."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from supreme.losses import pair_contrast
from supreme.models.heads import JointEmbeddingHead
from supreme.models.supreme import SupremeModel
from supreme.objectives.task import Inputs, Task

#: Dropout of the uni-modal views, as in the released code.
_DROPOUT = 0.1


class Merl(Task):
    """Cross-modal plus uni-modal alignment (arXiv 2403.06659), the text encoder frozen.

    The uni-modal term contrasts two projections of the same ECG under independent dropout, as in the released
    code: an augmentation of the encoding, not of the signal. As there, equal reports in a batch count as
    different ones.
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
    def space(self) -> JointEmbeddingHead:
        """The head that is released: ECGs and texts in one space."""
        assert isinstance(self.model.fusion, JointEmbeddingHead)
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
            cross = pair_contrast(self.all_gather(ecg), self.all_gather(report), temperature)
            uni = pair_contrast(self.all_gather(first), self.all_gather(second), temperature)
        return cross + uni, {"cross_modal": cross.detach(), "uni_modal": uni.detach()}
