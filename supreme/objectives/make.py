"""The task of a recipe."""

from __future__ import annotations

from torch import Tensor

from supreme.config import Recipe
from supreme.models.supreme import SupremeModel
from supreme.objectives.supreme import Supreme
from supreme.objectives.task import Task


def make_task(recipe: Recipe, text_dim: int, samples: int, positive_rate: Tensor) -> Task:
    """An untrained task; its weights are drawn from torch's global generator.

    Args:
        text_dim: D of the query embeddings.
        samples: T of every ECG.
        positive_rate: (Q,) share of positives in the training data.
    """
    model = SupremeModel(recipe.model, text_dim, samples)
    return Supreme(model, recipe.training, positive_rate)
