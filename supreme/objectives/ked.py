"""KED: the query network with self-attention, as in MedKLIP, and a contrast of ECG, report and findings."""

from __future__ import annotations

import torch
from torch import Tensor

from supreme.losses import finding_contrast
from supreme.models.heads import JointEmbeddingHead
from supreme.models.supreme import SupremeModel
from supreme.objectives.supreme import Supreme
from supreme.objectives.task import PRESENT, Inputs
from supreme.settings.training import Training


class Ked(Supreme):
    """The loss of each entity plus the contrast over findings, weighted equally as in the released code.

    After Tian et al., Cell Reports Medicine 2024; the texts that enrich a label are the definitions and
    phrasings of the vocabulary. Unlike there, the text encoder is frozen, and the query network does not
    attend to reports.

    Args:
        model: with self-attention among queries.
        positive_rate: (Q,) share of positives in the training data.
    """

    reads_reports = True
    zero_shot = False

    def __init__(self, model: SupremeModel, training: Training, positive_rate: Tensor) -> None:
        super().__init__(model, training, positive_rate)
        config = model.config
        self.space = JointEmbeddingHead(
            model.token_width, model.text_dim, config.fusion_width, config.temperature
        )

    def forward(self, inputs: Inputs) -> tuple[Tensor, dict[str, Tensor]]:
        [ecg_mv] = inputs.views
        tokens = self.model.encode(ecg_mv)
        entities, _ = self.entities(tokens, inputs, self.sampled_entities(inputs))
        contrast = self._contrast(tokens, inputs)
        return entities + contrast, {"entities": entities.detach(), "contrast": contrast.detach()}

    def validate(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Loss of entities and reports, and the logits of the queries."""
        [ecg_mv] = inputs.views
        tokens = self.model.encode(ecg_mv)
        entities, logits = self.entities(tokens, inputs)
        return entities + self._contrast(tokens, inputs), logits

    def _contrast(self, token_BND: Tensor, inputs: Inputs) -> Tensor:
        assert inputs.reports is not None
        ecg, report = self.space.ecg(token_BND), self.space.text(inputs.reports)
        present = (inputs.codes == PRESENT).float()
        with torch.autocast(ecg.device.type, enabled=False):
            ecg, report, present = map(self.all_gather, (ecg, report, present))
            return finding_contrast(ecg, report, present, self.space.temperature)
