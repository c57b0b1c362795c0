"""Which part of an ECG a score comes from: occlusion. Attention: `supreme.inference.attention_map`.

A map ``(T,)`` says how much each sample supports the score of one query. Occlusion is written here: captum
does no more for it than erase and score again, and fills what it erases with a constant, which draws steps.
Whether a map explains anything is for :mod:`supreme.evaluation.faithfulness` to say.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from supreme.inference.query_model import EcgQueryModel

#: ECGs ``(B, 12, T)`` in mV and their rate -> scores ``(B,)`` of one query. Logits are better than
#: probabilities, which saturate; the scorer must not refuse what is half erased.
QueryScorer = Callable[[np.ndarray, float], np.ndarray]
WINDOW_S = 0.2
_BATCH_SIZE = 64


def query_scorer(model: EcgQueryModel, query: str) -> QueryScorer:
    """The logit of one query.

    Raises:
        ValueError: the model checks quality, and would refuse an ECG that is half erased.
    """
    if not model.quality_checked:
        raise ValueError("load the model with quality_checked=True: erased ECGs have flat leads")

    def score(ecg_mv: np.ndarray, rate_hz: float) -> np.ndarray:
        return model.logits(ecg_mv, rate_hz, [query])[:, 0]

    return score


def occlusion(
    scorer: QueryScorer, ecg_mv: np.ndarray, rate_hz: float, window_s: float = WINDOW_S
) -> np.ndarray:
    """How much the score of an ECG ``(12, T)`` falls when a window around each sample is erased, ``(T,)``.

    Windows overlap by half; a sample has the mean of those that hold it.
    """
    samples = ecg_mv.shape[1]
    width = max(2, round(window_s * rate_hz))
    starts = np.arange(0, max(1, samples - width // 2), max(1, width // 2))
    masks = np.zeros((len(starts), samples), bool)
    for mask, start in zip(masks, starts, strict=True):
        mask[start : start + width] = True
    drops = score_all(scorer, [ecg_mv], rate_hz)[0] - score_all(
        scorer, [erase(ecg_mv, mask) for mask in masks], rate_hz
    )
    return (drops @ masks) / np.maximum(masks.sum(axis=0), 1)


def erase(ecg_mv: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Replace the samples of ``mask`` ``(T,)`` by a straight line in each lead; by its median if all are.

    A line leaves no step that a network could see; at the ends the nearest sample goes on.
    """
    if not mask.any():
        return ecg_mv
    if mask.all():
        return np.repeat(np.median(ecg_mv, axis=1, keepdims=True), len(mask), axis=1).astype(np.float32)
    erased = ecg_mv.astype(np.float32, copy=True)
    here, there = np.flatnonzero(mask), np.flatnonzero(~mask)
    for lead in erased:
        lead[here] = np.interp(here, there, lead[there])
    return erased


def score_all(scorer: QueryScorer, ecgs_mv: list[np.ndarray], rate_hz: float) -> np.ndarray:
    """Scores ``(N,)`` of ECGs of one length, in batches."""
    batches = [np.stack(ecgs_mv[at : at + _BATCH_SIZE]) for at in range(0, len(ecgs_mv), _BATCH_SIZE)]
    return np.concatenate([np.asarray(scorer(batch, rate_hz), np.float64) for batch in batches])
