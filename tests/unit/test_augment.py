"""Augmentation: a pure function of the generator that changes no finding."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from supreme.augment import augment

pytestmark = pytest.mark.unit

RATE_HZ, SAMPLES = 100, 1000


def _ecgs(count: int, seed: int = 0) -> torch.Tensor:
    """(count, 12, 1000) of narrow beats at 75 a minute, with another amplitude in each lead."""
    rng = np.random.default_rng(seed)
    time = np.arange(SAMPLES) / RATE_HZ
    beats = np.exp(-0.5 * ((time[:, None] - np.arange(0.4, 10, 0.8)) / 0.02) ** 2).sum(1)
    size = rng.uniform(0.5, 1.5, (count, 12, 1)) * rng.choice([-1, 1], (count, 12, 1))
    return torch.tensor(size * beats, dtype=torch.float32)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_same_generator_same_ecgs() -> None:
    ecgs = _ecgs(8)
    first = augment(ecgs, _generator(3))
    torch.manual_seed(99)  # the global generator has no say
    assert torch.equal(first, augment(ecgs, _generator(3)))
    assert not torch.equal(first, augment(ecgs, _generator(4)))


def test_successive_batches_differ() -> None:
    generator, ecgs = _generator(3), _ecgs(4)
    assert not torch.equal(augment(ecgs, generator), augment(ecgs, generator))


def test_shape_type_and_input_are_kept() -> None:
    for shape in ((1, 12, SAMPLES), (5, 12, 250)):
        ecgs = torch.randn(shape, generator=_generator(0))
        before = ecgs.clone()
        changed = augment(ecgs, _generator(1))
        assert changed.shape == ecgs.shape
        assert changed.dtype == ecgs.dtype
        assert torch.isfinite(changed).all()
        assert torch.equal(ecgs, before)


def test_global_randomness_is_left_alone() -> None:
    state = torch.get_rng_state()
    augment(_ecgs(2), _generator(0))
    assert torch.equal(state, torch.get_rng_state())


def _matched(ecgs: torch.Tensor, changed: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Gain and correlation of each lead that was not dropped, at its best shift."""
    product = torch.fft.rfft(ecgs).conj() * torch.fft.rfft(changed)
    best = torch.fft.irfft(product, n=SAMPLES).amax(-1)
    kept = changed.abs().amax(-1) > 0
    gain = best / ecgs.square().sum(-1)
    return gain[kept], (best / (ecgs.norm(dim=-1) * changed.norm(dim=-1).clamp(min=1e-9)))[kept]


def test_amplitudes_stay_near_the_recorded() -> None:
    """Voltage decides hypertrophy: no gain on the average, and hardly ever a factor beyond 1.6."""
    ecgs = _ecgs(200)
    gain, _ = _matched(ecgs, augment(ecgs, _generator(5)))
    assert gain.median().item() == pytest.approx(1, abs=0.02)
    assert ((gain > 0.6) & (gain < 1.6)).float().mean() > 0.99
    assert gain.std() > 0.05


def test_polarity_and_rhythm_are_kept() -> None:
    ecgs = _ecgs(50)
    _, correlation = _matched(ecgs, augment(ecgs, _generator(6)))
    assert correlation.median() > 0.95
    assert correlation.min() > 0.7


def test_shift_is_short_and_the_same_in_all_leads() -> None:
    shifts = set()
    for seed in range(20):
        ecgs = torch.zeros(1, 12, SAMPLES)
        ecgs[..., 500] = 50.0
        peak = augment(ecgs, _generator(seed)).abs().argmax(-1)[0]
        alive = peak[augment(ecgs, _generator(seed)).abs().amax(-1)[0] > 10]
        assert len(set(alive.tolist())) == 1
        shifts.add(int(alive[0]) - 500)
    assert max(abs(shift) for shift in shifts) <= 0.03 * SAMPLES
    assert len(shifts) > 5


def test_dropped_leads_are_exactly_zero() -> None:
    changed = augment(_ecgs(400), _generator(7))
    size = changed.abs().amax(-1)
    dropped = size == 0
    assert dropped.float().mean().item() == pytest.approx(0.03, abs=0.012)
    assert size[~dropped].min() > 0.1
    assert dropped.any(0).all(), "every lead is dropped at times"


def test_noise_and_wander_are_below_a_small_wave() -> None:
    added = augment(torch.zeros(100, 12, SAMPLES), _generator(8))
    assert added.abs().max() < 0.25
    assert added.std() < 0.05
    assert added.std() > 0.005


def test_strength_scales_every_change() -> None:
    ecgs = _ecgs(100)
    assert torch.equal(augment(ecgs, _generator(9), 0.0), ecgs)
    spread, dropped, noise = [], [], []
    for strength in (0.5, 1.0, 2.0):
        changed = augment(ecgs, _generator(9), strength)
        spread.append(_matched(ecgs, changed)[0].std().item())
        dropped.append((changed.abs().amax(-1) == 0).float().mean().item())
        noise.append(augment(torch.zeros(20, 12, SAMPLES), _generator(9), strength).std().item())
    for grows in (spread, dropped, noise):
        assert 1.4 < grows[1] / grows[0] < 2.8
        assert 1.4 < grows[2] / grows[1] < 2.8
