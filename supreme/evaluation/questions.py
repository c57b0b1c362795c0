"""Which texts are put to a model, and where in its output each class of each benchmark stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from supreme.evaluation.bundle_scorer import Query


@dataclass(frozen=True)
class Questions:
    """The queries of an evaluation."""

    groups: tuple[tuple[Query, ...], ...]
    """Queries of one group are put to the model together."""
    columns: Mapping[str, Mapping[str, int]]
    """Question set -> class -> column of the model's output."""

    @classmethod
    def of(cls, sets: Mapping[str, Mapping[str, Query]], *, together: bool) -> Questions:
        """Join question sets.

        Args:
            sets: question set -> class -> texts, whose logits are averaged.
            together: every query once, in one group: for a model whose answer to a query does not depend on
                the others. Otherwise each set is a group of its own.
        """
        if not together:
            groups = tuple(tuple(texts.values()) for texts in sets.values())
            starts = np.cumsum([0, *map(len, groups)])
            columns = {
                name: {one: int(start) + c for c, one in enumerate(texts)}
                for (name, texts), start in zip(sets.items(), starts, strict=False)
            }
            return cls(groups, columns)
        position: dict[Query, int] = {}
        columns = {
            name: {one: position.setdefault(query, len(position)) for one, query in texts.items()}
            for name, texts in sets.items()
        }
        return cls((tuple(position),), columns)

    def take(self, name: str, classes: Sequence[str], outputs: np.ndarray) -> np.ndarray:
        """The outputs of classes in a question set ``(N, C)``; NaN for a class without a text."""
        values = np.full((len(outputs), len(classes)), np.nan, np.float32)
        for c, one in enumerate(classes):
            if (column := self.columns[name].get(one)) is not None:
                values[:, c] = outputs[:, column]
        return values
