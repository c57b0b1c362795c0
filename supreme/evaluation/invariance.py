"""Query-set invariance: whether a score depends on which other queries are put with it."""

from __future__ import annotations

import numpy as np

from supreme.evaluation.benchmark_results import QuerySetInvariance
from supreme.evaluation.bundle_scorer import Answers, Query, QueryGroup
from supreme.inference.query_model import EcgQueryModel

#: Enough to see a dependence, which self-attention among queries shows in every record.
RECORDS, QUERIES = 8, 12


def measure(model: EcgQueryModel, queries: tuple[Query, ...], windows: np.ndarray) -> QuerySetInvariance:
    """Put queries alone, in their set, and among the whole vocabulary, for a few records.

    Args:
        queries: a set that is usually put together.
        windows: int16 ``(N, 12, samples)``.
    """
    some, few = windows[:RECORDS], queries[:QUERIES]
    vocabulary = tuple(Query((entity,)) for entity in model.vocabulary.ids)
    in_set, alone, among_all = (
        Answers(model, tuple(QueryGroup.of(model, group) for group in groups))(some)[:, : len(few)]
        for groups in ((queries,), tuple((query,) for query in few), ((*few, *vocabulary),))
    )
    return QuerySetInvariance(
        records=len(some),
        queries=len(few),
        alone=float(np.abs(alone - in_set).max(initial=0.0)),
        in_vocabulary=float(np.abs(among_all - in_set).max(initial=0.0)),
    )
