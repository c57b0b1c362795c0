"""Baselines that stand beside every probe: an encoder that learned nothing, and hand-made features.

A random encoder with a linear probe scores 0.87 on PTB-XL's superclasses: a pre-trained one has to beat it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict

from supreme.ecg import to_millivolts
from supreme.evaluation.embeddings import Embeddings
from supreme.evaluation.probes import DrawMean, ProbeRun, ProbeSplits, draw_mean, probe
from supreme.inference.query_model import BATCH_SIZE, MAX_WINDOWS
from supreme.models.supreme import SupremeModel
from supreme.preparation import resample_uv
from supreme.settings.evaluation import Probes
from supreme.settings.model import Model

#: Seeds of the random encoders.
SEEDS = (0, 1, 2)


class EncoderMean(BaseModel):
    """Macro AUROC of the probes of several random encoders, at one fraction of the training patients."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fraction: float
    macro: DrawMean
    """Over encoders; each counts with its mean over draws."""


class EncoderEmbedder:
    """Mean token of an encoder: a scorer ``(B, 12, T)`` mV at any rate -> float32 ``(B, D)``.

    Records longer than the encoder's window are embedded in up to six windows spread evenly over the record,
    and the windows averaged, as `query_model` scores them.

    Args:
        model: its `encode` is used, whatever its head.
        rate_hz: of the signals that it expects.
    """

    def __init__(self, model: SupremeModel, rate_hz: float) -> None:
        self.model, self.rate_hz = model.eval().requires_grad_(False), float(rate_hz)

    @torch.inference_mode()
    def __call__(self, signal_mv: np.ndarray, rate_hz: float) -> np.ndarray:
        window_s, total_s = self.model.samples / self.rate_hz, signal_mv.shape[2] / rate_hz
        count = min(MAX_WINDOWS, max(1, math.ceil(total_s / window_s - 0.01)))
        starts = np.linspace(0, max(0.0, total_s - window_s) * rate_hz, count).round().astype(int)
        windows = [
            resample_uv(record[:, start:], rate_hz, self.rate_hz, self.model.samples)[0]
            for record in signal_mv
            for start in starts
        ]
        if not windows:
            return np.empty((0, self.model.token_width), np.float32)
        device = next(self.model.parameters()).device
        batches = torch.from_numpy(to_millivolts(np.stack(windows))).split(BATCH_SIZE)
        tokens = torch.cat(
            [self.model.encode(batch.to(device)).mean(dim=1).float().cpu() for batch in batches]
        )
        return tokens.reshape(len(signal_mv), count, -1).mean(dim=1).numpy()


def random_encoder(config: Model, samples: int, seed: int) -> SupremeModel:
    """An encoder of the house's architecture as it is before training; one seed gives one encoder."""
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(torch.Generator().manual_seed(seed).get_state())
        return SupremeModel(config, 1, samples, "none").eval()


def probe_random_encoders(
    embeddings: Sequence[Embeddings], splits: ProbeSplits, settings: Probes, seed: int
) -> tuple[tuple[ProbeRun, ...], tuple[EncoderMean, ...]]:
    """Probe the embeddings of each random encoder; the runs, and their mean at each fraction."""
    runs = tuple(probe(part, splits, settings, seed) for part in embeddings)
    means = []
    for parts in zip(*(run.result.fractions for run in runs), strict=True):
        values = [part.macro.auroc if part.macro.auroc is not None else math.nan for part in parts]
        means.append(EncoderMean(fraction=parts[0].fraction, macro=draw_mean(np.array(values))))
    return runs, tuple(means)


def probe_handmade(embeddings: Embeddings, splits: ProbeSplits, settings: Probes, seed: int) -> ProbeRun:
    """Probe hand-made features with age and sex; what an ECG does not show counts as average."""
    return probe(embeddings, splits, settings, seed, allow_missing=True)
