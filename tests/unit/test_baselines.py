"""Random encoders are reproducible and leave the process's randomness alone; baselines are probed alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from supreme.evaluation.baselines import (
    RandomEncoder,
    probe_handmade,
    probe_random_encoders,
    random_encoder,
)
from supreme.evaluation.benchmarks import Benchmark
from supreme.evaluation.embeddings import Embeddings
from supreme.evaluation.probes import ProbeSplits
from supreme.inference.convention import InputConvention
from supreme.inference.engine import Signal
from supreme.settings.evaluation import Probes
from supreme.settings.model import Model

pytestmark = pytest.mark.unit

CONFIG = Model(width=4, depth=1)


def _ecgs(samples: int, records: int = 3) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.3, (records, 12, samples)).astype(np.float32)


def test_a_seed_gives_one_encoder_and_changes_no_other_randomness() -> None:
    before = torch.get_rng_state()
    a, b, c = (random_encoder(CONFIG, 200, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))
    assert not all(torch.equal(x, y) for x, y in zip(a.parameters(), c.parameters(), strict=True))
    assert not a.answers_queries


def test_embedding_is_the_mean_token_of_a_window() -> None:
    embedder = RandomEncoder(CONFIG, InputConvention(rate_hz=100, samples=200), 0)
    ecg = _ecgs(400, 1)[0]
    windows = embedder.prepare(Signal(ecg, 100.0))
    assert windows.shape == (2, 12, 200)
    values = embedder.load()(windows)
    assert values.shape == (2, embedder.width)
    with torch.no_grad():
        first = torch.from_numpy(np.rint(ecg[None, :, :200] * 1000) / 1000).float()
        expected = random_encoder(CONFIG, 200, 0).encode(first).mean(1).numpy()
    np.testing.assert_allclose(values[:1], expected, atol=1e-5)


def test_baselines_are_probed_on_the_same_splits() -> None:
    rng = np.random.default_rng(1)
    ids = tuple(f"r{row}" for row in range(300))
    labels = rng.integers(0, 2, (300, 2)).astype(np.int8)
    whole = Benchmark("made", ids, ids, ids, ("a", "b"), labels)
    splits = ProbeSplits(*(whole.select(np.arange(300) % 3 == part) for part in range(3)))
    encoders = [
        Embeddings(ids, (labels + rng.normal(0, size, (300, 2))).astype(np.float32)) for size in (0.5, 1, 2)
    ]
    runs, (mean,) = probe_random_encoders(encoders, splits, Probes(fractions=(1.0,)), 0)
    aurocs = [run.result.fractions[0].macro.auroc for run in runs]
    assert aurocs == sorted(aurocs, reverse=True)
    assert mean.macro.auroc == pytest.approx(np.mean(aurocs))
    assert mean.macro.low < mean.macro.auroc < mean.macro.high
    encoders[0].values[5, 0] = np.nan
    handmade = probe_handmade(encoders[0], splits, Probes(fractions=(1.0,)), 0)
    assert handmade.result.fractions[0].macro.auroc > 0.85
