"""Augmentation on the device: the changes that a recipe lists, with `ecg-augmentations` where it fits.

The library scales noise by the power of the lead. A disturbance does not grow with the heart: such noise
would reveal the voltage (hypertrophy) to a network and leave a flat lead clean. Here noise is drawn
separately and scaled in millivolts. White noise and wander are implemented here for speed (one pass over the
samples instead of six), and so is crosstalk: the library has nothing for misplaced electrodes, and its
rotation of the heart moves all leads together, and with them the axis. We call a transform's `apply` instead
of the module, which waits for the device to count the ECGs to change.
"""

from __future__ import annotations

import math

import ecg_augmentations as ea
import torch
from ecg_augmentations.base import randn, uniform
from torch import Tensor

from supreme.settings import augment as settings

WANDER_HZ = (0.1, 0.6)


def augment(ecg_mv: Tensor, generator: torch.Generator, section: settings.Augment, rate_hz: float) -> Tensor:
    """A changed copy of ``(B, 12, T)`` millivolts, each ECG independently; the same object without changes.

    All randomness is the generator's: the same state gives the same bits on the same device.
    """
    for change in section.changes:
        changed = _changed(ecg_mv, generator, change, rate_hz)
        if change.p < 1:
            selected = uniform((0, 1), (len(ecg_mv), 1, 1), ecg_mv, generator) < change.p
            changed = torch.where(selected, changed, ecg_mv)
        ecg_mv = changed
    return ecg_mv


def _changed(ecg_mv: Tensor, generator: torch.Generator, change: settings.Change, rate_hz: float) -> Tensor:
    batch, leads, samples = ecg_mv.shape
    ones = ecg_mv.new_ones(batch, leads, 1)
    match change:
        case settings.Amplitude(factor=common, lead_factor=single):
            gain = ea.AmplitudeScale((1 / common, common)).apply(ones, generator)
            gain = ea.AmplitudeScale((1 / single, single), per_lead=True).apply(gain, generator)
            return ecg_mv * gain
        case settings.Crosstalk():
            shares = change.sd * randn((batch, leads, leads), ecg_mv, generator)
            return torch.baddbmm(ecg_mv, shares, ecg_mv)
        case settings.BaselineWander():
            # A wave of any amplitude and phase is a sum of a sine and a cosine: one product for all leads.
            frequency_hz = uniform(WANDER_HZ, (batch, 1, 1), ecg_mv, generator)
            angle = 2 * math.pi * frequency_hz / rate_hz * torch.arange(samples, device=ecg_mv.device)
            size_mv = uniform((0, change.peak_mv), (batch, leads, 1), ecg_mv, generator)
            phase = uniform((0, 2 * math.pi), (batch, leads, 1), ecg_mv, generator)
            shares = size_mv * torch.cat([phase.cos(), phase.sin()], -1)
            return torch.baddbmm(ecg_mv, shares, torch.cat([angle.sin(), angle.cos()], 1))
        case settings.Noise():
            noise = _unit_noise(ecg_mv, generator, change, rate_hz)
            sd_mv = change.sd_mv * uniform((0, 1), (batch, leads, 1), ecg_mv, generator) ** 2
            return torch.addcmul(ecg_mv, noise, sd_mv)
        case settings.TimeShift():
            shift = ea.TimeShift(rate_hz, (-change.max_s, change.max_s), circular=False)
            return shift.apply(ecg_mv, generator)
        case settings.RandomCrop():
            cut = round(change.cut_s * rate_hz)
            window = ea.RandomCrop(samples - cut).apply(ecg_mv, generator)
            return torch.nn.functional.pad(window, (0, cut))
        case settings.LeadMask():
            # Applied to ones, like the gains: one pass over the samples instead of three.
            return ecg_mv * ea.LeadMask((1, change.leads)).apply(ones, generator)
    raise AssertionError(f"no way to make {change!r}")


def _unit_noise(ecg_mv: Tensor, generator: torch.Generator, change: settings.Noise, rate_hz: float) -> Tensor:
    """Noise of SD 1 in each lead, in the shape of ``ecg_mv``."""
    noise: ea.Transform
    match change:
        case settings.MuscleNoise():
            noise = ea.MuscleNoise(rate_hz, snr_db=0.0)
        case settings.PowerlineNoise():
            noise = ea.PowerlineNoise(rate_hz, change.frequency_hz, snr_db=0.0)
        case _:
            return randn(ecg_mv.shape, ecg_mv, generator)
    # The library adds noise to a signal: a carrier of power 1.
    carrier = (1.0 - 2.0 * (torch.arange(ecg_mv.shape[-1], device=ecg_mv.device) % 2)).to(ecg_mv)
    return noise.apply(carrier.expand_as(ecg_mv), generator) - carrier
