"""From activations and beats to a sampled, noisy 12-lead signal."""

from __future__ import annotations

import numpy as np

from supreme.records.simulator.beats import Heart, Pulses
from supreme.records.simulator.findings import Findings
from supreme.records.simulator.leads import twelve_leads
from supreme.records.simulator.rhythm import Beats


def render(
    findings: Findings, beats: Beats, heart: Heart, duration_s: float, rate_hz: int, rng: np.random.Generator
) -> np.ndarray:
    """Float32 millivolts of shape (12, duration * rate)."""
    samples = round(duration_s * rate_hz)
    time_s = np.arange(samples, dtype=np.float32) / rate_hz
    pulses = np.concatenate(
        [
            _at(beats.p, heart.p, rng, 0.0),
            _at(beats.ectopic_p, heart.ectopic_p, rng, 0.0),
            _at(beats.retrograde_p, heart.retrograde_p, rng, 0.0),
            _at(beats.qrs, heart.qrs, rng, 0.03),
            _at(beats.aberrant, heart.aberrant, rng, 0.02),
            _at(beats.spikes, _spike(rate_hz, rng), rng, 0.0),
        ]
    ).astype(np.float32)
    pulses = pulses[(pulses[:, 0] > -0.5) & (pulses[:, 0] < duration_s + 0.5)]
    eight = np.zeros((8, samples), np.float32)
    # Each pulse touches a window of +-4.5 sd only: a tenth of the work of the whole length.
    half = np.ceil(4.5 * pulses[:, 1] * rate_hz).astype(int)
    for size in np.unique(_round_up(half)):
        same_size = pulses[_round_up(half) == size]
        centre = np.rint(same_size[:, 0] * rate_hz).astype(int)
        index = centre[:, None] + np.arange(-size, size + 1)
        shape = np.exp(
            -0.5 * ((index / rate_hz - same_size[:, :1]) / same_size[:, 1:2]).astype(np.float32) ** 2
        )
        inside = (index >= 0) & (index < samples)
        flat = index[inside]
        owner = np.broadcast_to(np.arange(len(same_size))[:, None], index.shape)[inside]
        weight = shape[inside]
        for lead in range(8):
            eight[lead] += np.bincount(flat, weight * same_size[owner, 2 + lead], minlength=samples)
    if beats.atrial_wave_hz:
        eight += _atrial_waves(findings, beats.atrial_wave_hz, time_s, rng)
    return _record(twelve_leads(eight), rate_hz, rng)


def _round_up(half: np.ndarray) -> np.ndarray:
    """Window half-widths in few classes, so that each class is one array operation."""
    return np.exp2(np.ceil(np.log2(np.maximum(half, 4)))).astype(int)


def _at(times: list[float], template: Pulses, rng: np.random.Generator, variation: float) -> Pulses:
    if not times:
        return np.zeros((0, 10))
    placed = np.repeat(template[None], len(times), axis=0)
    placed[:, :, 0] += np.asarray(times)[:, None]
    if variation:
        placed[:, :, 2:] *= 1 + rng.normal(0, variation, (len(times), 1, 1))
    return placed.reshape(-1, 10)


def _spike(rate_hz: int, rng: np.random.Generator) -> Pulses:
    """A pacing spike: a millisecond wide in the wire, a sample wide after the recorder's filter."""
    size = rng.choice([rng.uniform(0.05, 0.25), rng.uniform(0.25, 1.2)])
    direction = rng.normal(0, 1, 8) * 0.5 + np.array([0.3, 1.0, -0.4, -0.3, 0.3, 0.6, 0.7, 0.6])
    return np.r_[0.0, max(0.45 / rate_hz, 0.0015), size * direction][None]


def _atrial_waves(
    findings: Findings, wave_hz: float, time_s: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Sawtooth of flutter (down in II, up in V1) or the drifting waves of fibrillation (largest in V1)."""
    if findings.rhythm == "atrial_flutter":
        phase = (time_s * wave_hz + rng.random()) % 1
        slow = rng.uniform(0.6, 0.85)
        saw = np.where(phase < slow, 0.5 - phase / slow, (phase - slow) / (1 - slow) - 0.5)
        smooth = np.convolve(saw, np.ones(3) / 3, mode="same")
        size = rng.uniform(0.07, 0.22)
        leads = np.array([0.15, 1.0, -0.45, -0.25, 0.05, 0.2, 0.3, 0.3]) * rng.uniform(0.7, 1.3, 8)
        if rng.random() < 0.25:
            leads[:2] *= -0.8
        return (size * leads)[:, None].astype(np.float32) * smooth.astype(np.float32)
    size = rng.choice([rng.uniform(0.005, 0.03), rng.uniform(0.03, 0.09)])
    waves = np.zeros((2, len(time_s)))
    for row in waves:
        for _ in range(3):
            drift = 0.5 * np.sin(2 * np.pi * rng.uniform(0.1, 0.6) * time_s + rng.uniform(0, 6.3))
            swell = 1 + 0.5 * np.sin(2 * np.pi * rng.uniform(0.1, 0.5) * time_s + rng.uniform(0, 6.3))
            row += swell * np.sin(
                2 * np.pi * wave_hz * rng.uniform(0.8, 1.2) * time_s + 2 * drift + rng.uniform(0, 6.3)
            )
    mixing = np.array([[0.2, 0.5, 1.0, 0.7, 0.4, 0.2, 0.15, 0.15], [0.4, 0.6, 0.2, 0.3, 0.3, 0.3, 0.3, 0.3]])
    return (size * (mixing * rng.uniform(0.6, 1.4, (2, 8))).T @ waves).astype(np.float32)


def _record(signal: np.ndarray, rate_hz: int, rng: np.random.Generator) -> np.ndarray:
    """The recorder: electrode noise, wander, muscle, filters."""
    samples = signal.shape[1]
    spectrum_hz = np.fft.rfftfreq(samples, 1 / rate_hz)
    muscle_mv = rng.choice([0.004, 0.012, 0.03], p=[0.45, 0.4, 0.15]) * rng.lognormal(0, 0.4)
    muscle = 1 / np.sqrt(1 + (spectrum_hz / rng.uniform(12, 45)) ** 4)
    wander_mv = rng.choice([0.01, 0.05, 0.15], p=[0.5, 0.35, 0.15]) * rng.lognormal(0, 0.4)
    wander = np.exp(-0.5 * (spectrum_hz / rng.uniform(0.15, 0.5)) ** 2)
    wander *= wander_mv / np.sqrt(np.mean(wander**2))
    white = rng.standard_normal((8, len(spectrum_hz), 2)).astype(np.float32) * np.sqrt(samples / 2)
    per_lead = rng.lognormal(0, 0.35, (8, 1))
    noise = (white[..., 0] + 1j * white[..., 1]) * per_lead * (muscle_mv * muscle + wander)
    spectrum = np.fft.rfft(signal, axis=1) + twelve_leads(noise)
    high_pass = spectrum_hz**2 / (spectrum_hz**2 + rng.choice([0.01, 0.05, 0.15, 0.5]) ** 2)
    smoothing_s = rng.choice([0.0, rng.uniform(0.002, 0.006)])
    low_pass = np.exp(-0.5 * (spectrum_hz * 2 * np.pi * smoothing_s) ** 2)
    signal = np.fft.irfft(spectrum * high_pass * low_pass, samples, axis=1)
    return signal.astype(np.float32)
