"""Baselines that stand beside every probe: an encoder that learned nothing, and hand-made features.

A random encoder with a linear probe scores 0.87 on PTB-XL's superclasses: a pre-trained one has to beat it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict

from supreme.ecg import to_millivolts
from supreme.evaluation import handmade_features
from supreme.evaluation.embeddings import Embeddings
from supreme.evaluation.probes import DrawMean, ProbeRun, ProbeSplits, draw_mean, probe
from supreme.inference.convention import InputConvention
from supreme.inference.engine import Signal
from supreme.inference.windows import windows_uv
from supreme.models.supreme import SupremeModel
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


@dataclass(frozen=True)
class RandomEncoder:
    """An encoder as it is before training, for the scoring engine: its output is its mean token."""

    model: Model
    convention: InputConvention
    seed: int
    has_gaps: bool = False

    @property
    def width(self) -> int:
        """Of the embedding."""
        return random_encoder(self.model, self.convention.samples, self.seed).token_width

    def prepare(self, signal: Signal) -> np.ndarray:
        """int16 microvolts ``(W, 12, samples)``, as a bundle's."""
        return windows_uv(signal.values, signal.rate_hz, self.convention)

    def load(self) -> Callable[[np.ndarray], np.ndarray]:
        """The encoder, on the GPU where there is one."""
        encoder = random_encoder(self.model, self.convention.samples, self.seed)
        return partial(_mean_tokens, encoder.to("cuda" if torch.cuda.is_available() else "cpu"))


@dataclass(frozen=True)
class HandmadeFeatures:
    """Hand-made features for the scoring engine. They are made where records are read; NaN: not shown."""

    width: int = len(handmade_features.FEATURES)
    has_gaps: bool = True

    def prepare(self, signal: Signal) -> np.ndarray:
        """float32 ``(1, F)``."""
        return handmade_features.features(to_millivolts(signal.values), signal.rate_hz)[None]

    def load(self) -> Callable[[np.ndarray], np.ndarray]:
        """The features are what is asked for."""
        return np.asarray


@torch.inference_mode()
def _mean_tokens(encoder: SupremeModel, windows: np.ndarray) -> np.ndarray:
    device = next(encoder.parameters()).device
    ecg_mv = torch.from_numpy(to_millivolts(windows)).to(device)
    return encoder.encode(ecg_mv).mean(dim=1).float().cpu().numpy()


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
