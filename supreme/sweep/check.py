"""Whether the model of a trial can be built: two records of zeros go through it in the driver."""

from __future__ import annotations

import torch

from supreme import config
from supreme.config import Recipe
from supreme.objectives.make import make_task
from supreme.sweep.trials import Trial
from supreme.text import open_encoder
from supreme.training.data.batch import Batch
from supreme.training.data.inputs import TrainingInputs
from supreme.training.data.queries import Queries
from supreme.training.learner.learner import Learner

#: What the machine decides, and a processor need not have.
_PLAIN = {"compile": False, "sharding": "none", "micro_batch": 0, "precision": "fp32"}


class ModelCheck:
    """Builds each model once, however many trials share it."""

    def __init__(self, inputs: TrainingInputs) -> None:
        self.inputs = inputs
        self._problems: dict[str, str] = {}
        self._text_dims: dict[str, int] = {}

    def problem(self, trial: Trial) -> str:
        """Why the trial's model cannot be trained, in a line; empty where it can."""
        recipe = trial.recipe
        training = recipe.training.model_copy(update={"learning_rate": 1.0, "epochs": 1.0})
        key = config.digest(recipe.model, recipe.text, training)
        if key not in self._problems:
            self._problems[key] = self._try(recipe)
        return self._problems[key]

    def _try(self, recipe: Recipe) -> str:
        try:
            with torch.random.fork_rng():
                _run_once(recipe, self.inputs, self._text_dim(recipe))
        except Exception as error:  # also whatever an encoder of the user's own comes up with
            return f"{type(error).__name__}: {[*str(error).splitlines(), ''][0]}"
        return ""

    def _text_dim(self, recipe: Recipe) -> int:
        key = recipe.text.model_dump_json()
        if key not in self._text_dims:
            self._text_dims[key] = open_encoder(recipe.text).dim
        return self._text_dims[key]


def _run_once(recipe: Recipe, inputs: TrainingInputs, text_dim: int) -> None:
    """Forward, backward and validation of two records of zeros."""
    entities, samples = len(inputs.vocabulary), inputs.train.samples
    queries = Queries(
        torch.eye(entities, text_dim), torch.zeros(text_dim), torch.eye(text_dim), torch.arange(entities + 1)
    )
    task = make_task(recipe, queries.known(), samples, torch.full((entities,), 0.5))
    training = recipe.training.model_copy(update=_PLAIN)
    learner = Learner(task, training, queries, rate_hz=recipe.shards.rate_hz, seed=recipe.seed)
    zeros = Batch.empty(2, samples, entities, text_dim)
    learner.task.train()
    loss, _ = learner.task(learner.inputs(zeros, step=0))
    loss.backward()
    with torch.inference_mode():
        learner.ema.validate(learner.validation_inputs(zeros))
