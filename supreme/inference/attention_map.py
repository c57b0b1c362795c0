"""Which part of an ECG the fusion network looks at when it answers a query."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from supreme.ecg import to_millivolts
from supreme.models.fusion import CardiacFusionNetwork
from supreme.preparation import resample_uv

if TYPE_CHECKING:
    from supreme.inference.query_model import EcgQueryModel


@torch.inference_mode()
def attention(model: EcgQueryModel, ecg_mv: np.ndarray, rate_hz: float, query: str) -> np.ndarray:
    """Attention ``(T,)`` of a query to an ECG ``(12, T)``, mean over phrasings, layers and heads.

    It covers the model's first window; a longer record has zeros after it. Tokens of single leads are summed
    over the leads.

    Raises:
        ValueError: the model has no fusion network.
    """
    network, own = model.model.fusion, model.convention
    if not isinstance(network, CardiacFusionNetwork):
        raise ValueError(f"objective {model.objective!r} has no fusion network, and so no attention to show")
    window_uv = resample_uv(ecg_mv[own.lead_order], rate_hz, own.rate_hz, own.samples)[0]
    embeddings, _ = model.queries.embed([query])
    device = next(model.model.parameters()).device
    window = torch.from_numpy(to_millivolts(window_uv)[None]).to(device)
    tokens = model.model.encode(window)
    maps = network.with_attention(tokens, torch.from_numpy(embeddings).to(device))[1]
    weights = maps.float().mean(dim=(0, 1, 2, 3)).cpu().numpy()
    if model.model.config.tokens == "leadwise" and len(weights) % 12 == 0:
        weights = weights.reshape(12, -1).sum(axis=0)
    return _on_samples(weights, own.duration_s, ecg_mv.shape[1], rate_hz)


def _on_samples(weights: np.ndarray, duration_s: float, samples: int, rate_hz: float) -> np.ndarray:
    """Weights of tokens ``(N,)`` as a density on samples: each has the weight of the token it lies in."""
    token = (np.arange(samples) / rate_hz / duration_s * len(weights)).astype(int)
    return np.where(token < len(weights), weights[np.minimum(token, len(weights) - 1)], 0.0)
