"""SuPreME: every entity of the vocabulary is asked of every ECG, its label is what the report says."""

from __future__ import annotations

import torch
from torch import Tensor

from supreme.config import Training
from supreme.losses import entity_loss
from supreme.models.supreme import SupremeModel
from supreme.objectives.task import PRESENT, UNCERTAIN, Inputs, Task


class Supreme(Task):
    """Encoder and Cardiac Fusion Network under a multi-label loss (arXiv 2502.19668).

    Args:
        positive_rate: (Q,) share of positives in the training data.
    """

    model: SupremeModel
    positive_rate: Tensor

    def __init__(self, model: SupremeModel, training: Training, positive_rate: Tensor) -> None:
        super().__init__()
        self.model, self.training_config = model, training
        self.register_buffer("positive_rate", positive_rate, persistent=False)

    def forward(self, inputs: Inputs) -> tuple[Tensor, dict[str, Tensor]]:
        [ecg_mv] = inputs.views
        loss = self.validation_loss(self.model(ecg_mv, inputs.queries), inputs.codes)
        return loss, {}

    def validation_loss(self, logits: Tensor, codes: Tensor) -> Tensor:
        with torch.autocast(logits.device.type, enabled=False):
            present, uncertain = codes == PRESENT, codes == UNCERTAIN
            return entity_loss(logits, present, uncertain, self.training_config, self.positive_rate)
