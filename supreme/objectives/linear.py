"""A plain multi-label classifier: one linear output for each entity, no text in training."""

from __future__ import annotations

from torch import Tensor

from supreme.models.heads import EntityHead
from supreme.objectives.supreme import Supreme


class Linear(Supreme):
    """The loss of `Supreme` on a linear head."""

    zero_shot = False

    def logits(self, token_BND: Tensor, query_QE: Tensor) -> Tensor:
        """The entities themselves (B, Q), not those whose phrasings are nearest to the queries."""
        assert isinstance(self.model.fusion, EntityHead)
        return self.model.fusion.of_entities(token_BND)
