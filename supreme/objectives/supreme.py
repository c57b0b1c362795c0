"""SuPreME: every entity of the vocabulary is asked of every ECG, its label is what the report says."""

from __future__ import annotations

import torch
from torch import Tensor

from supreme.losses import counted, entity_loss
from supreme.models.supreme import SupremeModel
from supreme.objectives.task import PRESENT, UNCERTAIN, Inputs, Task
from supreme.settings.training import Training


class Supreme(Task):
    """Encoder and Cardiac Fusion Network under a multi-label loss (arXiv 2502.19668).

    Args:
        positive_rate: (Q,) share of positives in the training data.
    """

    zero_shot = True
    model: SupremeModel
    positive_rate: Tensor

    def __init__(self, model: SupremeModel, training: Training, positive_rate: Tensor) -> None:
        super().__init__()
        self.model, self.training_config = model, training
        self.register_buffer("positive_rate", positive_rate, persistent=False)

    def forward(self, inputs: Inputs) -> tuple[Tensor, dict[str, Tensor]]:
        [ecg_mv] = inputs.views
        return self.entities(self.model.encode(ecg_mv), inputs, self.drawn(inputs))[0], {}

    def validate(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        [ecg_mv] = inputs.views
        tokens = self.model.encode(ecg_mv)
        loss, logits = self.entities(tokens, inputs)
        if inputs.unseen is not None:
            # Asked apart: the scores of the vocabulary stay as they are without them.
            logits = torch.cat([logits, self.logits(tokens, inputs.unseen)], 1)
        return loss, logits

    def weight(self, inputs: Inputs) -> Tensor:
        codes = inputs.codes[:, self.drawn(inputs)]
        return counted(codes == PRESENT, codes == UNCERTAIN, self.training_config).sum()

    def drawn(self, inputs: Inputs) -> Tensor | slice:
        """The entities that are asked for in this step, the same on all workers.

        Each is as likely as the others, whether the batch has it or not: the loss is then that of all
        entities on average. Were those that are present preferred, every score would come out too high.
        """
        count, entities = self.training_config.sampled_queries, len(inputs.queries)
        if not 0 < count < entities:
            return slice(None)
        generator = torch.Generator().manual_seed(inputs.seed)
        return torch.randperm(entities, generator=generator)[:count].to(inputs.queries.device)

    def entities(
        self, token_BND: Tensor, inputs: Inputs, drawn: Tensor | slice = slice(None)
    ) -> tuple[Tensor, Tensor]:
        """The loss of the entities ``drawn``, and their logits."""
        logits, codes = self.logits(token_BND, inputs.queries[drawn]), inputs.codes[:, drawn]
        with torch.autocast(logits.device.type, enabled=False):
            present, uncertain, rate = codes == PRESENT, codes == UNCERTAIN, self.positive_rate[drawn]
            return entity_loss(logits, present, uncertain, self.training_config, rate), logits

    def logits(self, token_BND: Tensor, query_QE: Tensor) -> Tensor:
        """(B, Q)."""
        assert self.model.fusion is not None
        logits: Tensor = self.model.fusion(token_BND, query_QE)
        return logits
