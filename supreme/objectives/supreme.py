"""SuPreME: every entity of the vocabulary is a query to every ECG, labelled by what the report says."""

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
        return self.entities(self.model.encode(ecg_mv), inputs, self.sampled_entities(inputs))[0], {}

    def validate(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Loss over all entities, and the logits of the queries, those of unseen ones behind them."""
        [ecg_mv] = inputs.views
        tokens = self.model.encode(ecg_mv)
        loss, logits = self.entities(tokens, inputs)
        if inputs.unseen is not None:
            # A separate pass: the scores of the vocabulary stay the same with or without them.
            logits = torch.cat([logits, self.logits(tokens, inputs.unseen)], 1)
        return loss, logits

    def weight(self, inputs: Inputs) -> Tensor:
        """Number of the certain labels: the weight of a micro-batch in the loss of its batch."""
        codes = inputs.codes[:, self.sampled_entities(inputs)]
        return counted(codes == PRESENT, codes == UNCERTAIN, self.training_config).sum()

    def sampled_entities(self, inputs: Inputs) -> Tensor | slice:
        """The entities that this step asks for (indices), the same on all workers.

        Each is equally likely, present in the batch or not: on average the loss is that of all entities.
        Preferring entities that are present would make every score too high.
        """
        count, entities = self.training_config.sampled_queries, len(inputs.queries)
        if not 0 < count < entities:
            return slice(None)
        generator = torch.Generator().manual_seed(inputs.seed)
        return torch.randperm(entities, generator=generator)[:count].to(inputs.queries.device)

    def entities(
        self, token_BND: Tensor, inputs: Inputs, sample: Tensor | slice = slice(None)
    ) -> tuple[Tensor, Tensor]:
        """The loss of the entities in ``sample``, and their logits."""
        logits, codes = self.logits(token_BND, inputs.queries[sample]), inputs.codes[:, sample]
        with torch.autocast(logits.device.type, enabled=False):
            present, uncertain, rate = codes == PRESENT, codes == UNCERTAIN, self.positive_rate[sample]
            return entity_loss(logits, present, uncertain, self.training_config, rate), logits

    def logits(self, token_BND: Tensor, query_QE: Tensor) -> Tensor:
        """(B, Q)."""
        assert self.model.fusion is not None
        logits: Tensor = self.model.fusion(token_BND, query_QE)
        return logits
