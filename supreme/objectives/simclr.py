"""SimCLR: two augmented views of an ECG are aligned, without reports and labels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from supreme.losses import view_contrast
from supreme.models.supreme import SupremeModel
from supreme.objectives.task import Inputs, Task


class SimClr(Task):
    """An encoder alone (arXiv 2002.05709): the projection for the contrast is not released."""

    views = 2
    answers_queries = False
    model: SupremeModel

    def __init__(self, model: SupremeModel) -> None:
        super().__init__()
        self.model = model
        width = model.token_width
        self.project = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, model.config.fusion_width)
        )

    def forward(self, inputs: Inputs) -> tuple[Tensor, dict[str, Tensor]]:
        tokens = self.model.encode(torch.cat(inputs.views))
        first, second = self.project(tokens.mean(1)).float().chunk(2)
        with torch.autocast(first.device.type, enabled=False):
            views = self.all_gather(first), self.all_gather(second)
            return view_contrast(*views, self.model.config.temperature), {}

    def validate(self, inputs: Inputs) -> tuple[Tensor, None]:
        return self(inputs)[0], None
