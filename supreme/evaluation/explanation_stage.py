"""Maps of the ECGs that a page shows, and the test that decides what it may call them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from supreme.evaluation.explanation import occlusion, query_scorer
from supreme.evaluation.faithfulness import Faithfulness, advantages, faithfulness
from supreme.inference.attention_map import attention
from supreme.inference.query_model import EcgQueryModel
from supreme.models.fusion import CardiacFusionNetwork

ATTENTION, OCCLUSION = "attention", "occlusion"


@dataclass(frozen=True)
class QueriedEcg:
    """An ECG and the query whose score is to be explained."""

    patient: str
    query: str
    signal_mv: np.ndarray
    """``(12, T)`` without padding."""
    rate_hz: float


@dataclass(frozen=True)
class Explanations:
    """Maps ``(T,)`` by method, one for each ECG, and whether each method explains anything."""

    maps: dict[str, tuple[np.ndarray, ...]]
    tests: dict[str, Faithfulness]


def explain(model: EcgQueryModel, ecgs: Sequence[QueriedEcg], seed: int) -> Explanations:
    """Explain the scores of ECGs by occlusion and, where there is a fusion network, by attention.

    An ECG of ten seconds takes some 300 passes through the model.

    Args:
        model: loaded with ``quality_checked=True``.

    Raises:
        ValueError: no ECG, or the model checks quality and would refuse one that is half erased.
    """
    methods = [OCCLUSION]
    if isinstance(model.model.fusion, CardiacFusionNetwork):
        methods.insert(0, ATTENTION)
    maps: dict[str, list[np.ndarray]] = {method: [] for method in methods}
    measured: dict[str, list[tuple[float, float]]] = {method: [] for method in methods}
    for number, ecg in enumerate(ecgs):
        scorer = query_scorer(model, ecg.query)
        for method in methods:
            if method == ATTENTION:
                importance = attention(model, ecg.signal_mv, ecg.rate_hz, ecg.query)
            else:
                importance = occlusion(scorer, ecg.signal_mv, ecg.rate_hz)
            rng = np.random.default_rng([seed, number])  # the same random windows for each method
            maps[method].append(importance)
            measured[method].append(advantages(scorer, ecg.signal_mv, ecg.rate_hz, importance, rng))
    patients = [ecg.patient for ecg in ecgs]
    return Explanations(
        {method: tuple(parts) for method, parts in maps.items()},
        {method: faithfulness(method, parts, patients) for method, parts in measured.items()},
    )
