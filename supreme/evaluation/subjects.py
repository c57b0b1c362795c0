"""Any model as an evaluation sees it: a bundle, a model from elsewhere, a file of scores or of embeddings."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from supreme.config import ConfigError
from supreme.evaluation.bundle_scorer import BundleScorer, probabilities
from supreme.evaluation.datasets import UnseenPart
from supreme.evaluation.embeddings import read_embeddings
from supreme.evaluation.model_outputs import ModelOutputs
from supreme.evaluation.outputs import Outputs
from supreme.evaluation.protocols import Protocol as EvaluationProtocol
from supreme.evaluation.questions import Questions
from supreme.evaluation.score_files import read_scores
from supreme.inference.any_model import open_model
from supreme.inference.query_model import EcgQueryModel


class Subject(Protocol):
    """A model that is evaluated."""

    @property
    def loaded(self) -> EcgQueryModel | None:
        """The model behind a bundle, which can be asked anything; None for any other."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the scores of a model that cannot be asked."""
        ...

    @property
    def first_embedding(self) -> int | None:
        """Column of the outputs at which the embedding begins; None where there is none."""
        ...

    def outputs(self, part: UnseenPart, protocol: EvaluationProtocol) -> Outputs:
        """The outputs for a data set under a protocol."""
        ...

    def scores(self, question_set: str, classes: Sequence[str], outputs: np.ndarray) -> np.ndarray:
        """Scores ``(N, C)``, NaN for a class that it does not score."""
        ...


@dataclass(frozen=True)
class BundleSubject:
    """A bundle of ours: every class is asked in words."""

    loaded: EcgQueryModel
    questions: Questions
    source: ModelOutputs
    first_embedding: int
    classes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, loaded: EcgQueryModel, uri: str, store: str | None, questions: Questions, folder: str
    ) -> BundleSubject:
        """Its outputs are written to ``folder``."""
        scorer = BundleScorer.of(loaded, uri, store, questions.groups)
        return cls(loaded, questions, ModelOutputs(scorer, folder), scorer.queries)

    def outputs(self, part: UnseenPart, protocol: EvaluationProtocol) -> Outputs:
        """Logits of all queries, and after them the embedding."""
        return self.source.of(part, protocol)

    def scores(self, question_set: str, classes: Sequence[str], outputs: np.ndarray) -> np.ndarray:
        """Probabilities."""
        return probabilities(self.questions.take(question_set, classes, outputs))


@dataclass(frozen=True)
class NamedSubject:
    """A model whose outputs have the names of classes, or are an embedding."""

    classes: tuple[str, ...]
    """Of scores, one a column; empty for an embedding."""
    source: ModelOutputs | Outputs
    loaded: None = None

    @classmethod
    def from_file(cls, uri: str, *, has_embeddings: bool, record_ids: Collection[str]) -> NamedSubject:
        """Scores or embeddings of these records that another program wrote.

        Raises:
            ConfigError: as of `read_scores` and `read_embeddings`, or no record of these is in it.
        """
        classes: tuple[str, ...] = ()
        if has_embeddings:
            embeddings = read_embeddings(uri, record_ids)
            source = Outputs(uri, embeddings.record_ids, embeddings.values)
        else:
            scores = read_scores(uri, record_ids=record_ids)
            classes, source = scores.classes, Outputs(uri, scores.record_ids, scores.values)
        if not source.record_ids:
            raise ConfigError(
                f"{uri}: none of its records is in the data sets here: write those of jobs/export.py"
            )
        return cls(classes, source)

    @classmethod
    def from_elsewhere(cls, spec: str, folder: str) -> NamedSubject:
        """An exported program, or a class that the environment allows; outputs are written to ``folder``."""
        model = open_model(spec)
        return cls(model.classes, ModelOutputs(model, folder))

    @property
    def first_embedding(self) -> int | None:
        """All of the output, or none of it."""
        return None if self.classes else 0

    def outputs(self, part: UnseenPart, protocol: EvaluationProtocol) -> Outputs:
        """Scores or embeddings; those of a file are what they are, whatever the protocol crops."""
        return self.source.of(part, protocol) if isinstance(self.source, ModelOutputs) else self.source

    def scores(self, question_set: str, classes: Sequence[str], outputs: np.ndarray) -> np.ndarray:
        """The columns with the names of the classes."""
        values = np.full((len(outputs), len(classes)), np.nan)
        for c, one in enumerate(classes):
            if one in self.classes:
                values[:, c] = outputs[:, self.classes.index(one)]
        return values
