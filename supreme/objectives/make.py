"""The task of a recipe."""

from __future__ import annotations

from torch import Tensor

from supreme.config import Recipe
from supreme.models.supreme import SupremeModel
from supreme.objectives.ked import Ked
from supreme.objectives.linear import Linear
from supreme.objectives.merl import Merl
from supreme.objectives.simclr import SimClr
from supreme.objectives.supreme import Supreme
from supreme.objectives.task import Task

#: By ``training.objective``.
OBJECTIVES: dict[str, type[Task]] = {
    "supreme": Supreme,
    "linear": Linear,
    "merl": Merl,
    "ked": Ked,
    "simclr": SimClr,
}


def make_task(recipe: Recipe, known: tuple[Tensor, Tensor], samples: int, positive_rate: Tensor) -> Task:
    """An untrained task; its weights are drawn from torch's global generator.

    Args:
        known: whitened phrasings (P, D) of the vocabulary, and the entity (P,) of each.
        samples: T of every ECG.
        positive_rate: (Q,) share of positives in the training data.
    """
    training, size = recipe.training, (known[0].shape[1], samples)
    match training.objective:
        case "supreme":
            return Supreme(SupremeModel(recipe.model, *size), training, positive_rate)
        case "linear":
            return Linear(SupremeModel(recipe.model, *size, "entities", known), training, positive_rate)
        case "merl":
            return Merl(SupremeModel(recipe.model, *size, "common_space"))
        case "ked":
            model = recipe.model.model_copy(update={"query_self_attention": True})
            return Ked(SupremeModel(model, *size), training, positive_rate)
        case "simclr":
            return SimClr(SupremeModel(recipe.model, *size, "none"))
