"""What recordings suffer in practice, in steps: lost leads, low rates, noise, swapped arms, wrong gain.

Each is a pure function of an ECG ``(12, T)`` in mV, its rate, a strength and a random generator, and keeps
shape and rate. Strength 0 gives the signal itself. The seed and the signal decide the draw: one ECG has the
same noise at every strength and in every batch, so that a curve shows the strength alone.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from supreme.ecg import LEADS, to_microvolts, to_millivolts
from supreme.signal import crop_or_pad, resample

#: Number of leads that are lost -> those that remain: the sets of the CinC 2021 challenge, and lead I alone.
LEAD_SETS = {
    6: LEADS[:6],
    8: ("I", "II", "III", "V2"),
    9: ("I", "II", "V2"),
    10: ("I", "II"),
    11: ("I",),
}
MAINS_HZ = 50.0
_WANDER_HZ = (0.1, 0.5)
_ARMS = {"II": "III", "III": "II", "aVR": "aVL", "aVL": "aVR"}

Apply = Callable[[np.ndarray, float, float, np.random.Generator], np.ndarray]
Concerns = Callable[[float, float], bool]


def every_record(rate_hz: float, strength: float) -> bool:
    """Whether a strength changes records of a rate: all of them."""
    return True


def faster_records(rate_hz: float, strength: float) -> bool:
    """Those with a higher rate than the strength."""
    return rate_hz > strength


def records_above_mains(rate_hz: float, strength: float) -> bool:
    """Those whose rate can hold the hum."""
    return rate_hz > 2 * MAINS_HZ


@dataclass(frozen=True)
class Perturbation:
    """One way in which a recording gets worse."""

    name: str
    unit: str
    """Of the strengths."""
    strengths: tuple[float, ...]
    """From 0 to the worst."""
    apply: Apply
    concerns: Concerns = every_record

    def __call__(self, signal: np.ndarray, rate_hz: float, strength: float, seed: int) -> np.ndarray:
        """The perturbed ECG ``(12, T)``; the same object at strength 0, or where it has no effect.

        Args:
            signal: int16 microvolts or float millivolts; the result is the same.
        """
        if not self.changes(rate_hz, strength):
            return signal
        rng = np.random.default_rng([seed, zlib.crc32(self.name.encode()), zlib.crc32(signal.tobytes())])
        perturbed_mv = self.apply(to_millivolts(signal), rate_hz, strength, rng).astype(
            np.float32, copy=False
        )
        return to_microvolts(perturbed_mv) if signal.dtype == np.int16 else perturbed_mv

    def changes(self, rate_hz: float, strength: float) -> bool:
        """Whether a strength changes records of a rate at all."""
        return strength != 0 and self.concerns(rate_hz, strength)


def lose_leads(signal_mv: np.ndarray, rate_hz: float, lost: float, rng: np.random.Generator) -> np.ndarray:
    """All leads are zero but those of :data:`LEAD_SETS`."""
    present = np.array([lead in LEAD_SETS[round(lost)] for lead in LEADS])
    return np.where(present[:, None], signal_mv, 0)


def record_slowly(
    signal_mv: np.ndarray, rate_hz: float, at_hz: float, rng: np.random.Generator
) -> np.ndarray:
    """Down to a lower rate and back: what lies above half of it is lost."""
    restored = resample(resample(signal_mv, rate_hz, at_hz), at_hz, rate_hz)
    return crop_or_pad(restored, signal_mv.shape[1])[0]


def add_noise(signal_mv: np.ndarray, rate_hz: float, sd_mv: float, rng: np.random.Generator) -> np.ndarray:
    """White noise, independent in each lead."""
    return signal_mv + sd_mv * rng.standard_normal(signal_mv.shape, np.float32)


def add_wander(signal_mv: np.ndarray, rate_hz: float, peak_mv: float, rng: np.random.Generator) -> np.ndarray:
    """A slow wave, 0.1 to 0.5 Hz: the same breath in all leads, each with its own size and phase."""
    time_s = np.arange(signal_mv.shape[1]) / rate_hz
    size, phase = rng.uniform(0.3, 1, (12, 1)), rng.uniform(0, 2 * np.pi, (12, 1))
    return signal_mv + peak_mv * size * np.sin(2 * np.pi * rng.uniform(*_WANDER_HZ) * time_s + phase)


def add_mains(signal_mv: np.ndarray, rate_hz: float, peak_mv: float, rng: np.random.Generator) -> np.ndarray:
    """Hum of 50 Hz, with another size and phase in each lead; rates of 100 Hz and less hold none."""
    time_s = np.arange(signal_mv.shape[1]) / rate_hz
    size, phase = rng.uniform(0.3, 1, (12, 1)), rng.uniform(0, 2 * np.pi, (12, 1))
    return signal_mv + peak_mv * size * np.sin(2 * np.pi * MAINS_HZ * time_s + phase)


def swap_arms(signal_mv: np.ndarray, rate_hz: float, swapped: float, rng: np.random.Generator) -> np.ndarray:
    """Left and right arm electrodes exchanged: I is inverted, II and III, aVR and aVL change places."""
    exchanged = signal_mv[[LEADS.index(_ARMS.get(lead, lead)) for lead in LEADS]]
    exchanged[LEADS.index("I")] *= -1
    return exchanged


def scale(signal_mv: np.ndarray, rate_hz: float, excess: float, rng: np.random.Generator) -> np.ndarray:
    """All leads too large or too small by a factor of 1 + ``excess``, at random."""
    return signal_mv * np.float32((1 + excess) ** rng.choice([-1, 1]))


def shift(signal_mv: np.ndarray, rate_hz: float, later_s: float, rng: np.random.Generator) -> np.ndarray:
    """The recording begins later; its end is zero, as in one that is too short."""
    return crop_or_pad(signal_mv[:, round(later_s * rate_hz) :], signal_mv.shape[1])[0]


def crop(signal_mv: np.ndarray, rate_hz: float, lost: float, rng: np.random.Generator) -> np.ndarray:
    """A random window remains, moved to the beginning and padded with zeros; ``lost`` is a share."""
    samples = signal_mv.shape[1]
    remaining = max(1, round((1 - lost) * samples))
    start = int(rng.random() * (samples - remaining + 1))
    return crop_or_pad(signal_mv[:, start : start + remaining], samples)[0]


PERTURBATIONS = (
    Perturbation("lead_subset", "leads lost", (0, 6, 8, 9, 10, 11), lose_leads),
    Perturbation("sampling_rate", "Hz", (0, 250, 100), record_slowly, faster_records),
    Perturbation("noise", "mV SD", (0, 0.02, 0.05, 0.1, 0.2), add_noise),
    Perturbation("baseline_wander", "mV peak", (0, 0.2, 0.5, 1.0, 2.0), add_wander),
    Perturbation("mains", "mV peak", (0, 0.05, 0.1, 0.2, 0.5), add_mains, records_above_mains),
    Perturbation("arm_swap", "arms swapped", (0, 1), swap_arms),
    Perturbation("gain", "excess", (0, 0.25, 0.5, 1.0), scale),
    Perturbation("shift", "s", (0, 0.25, 0.5, 1.0, 2.0), shift),
    Perturbation("crop", "share lost", (0, 0.25, 0.5, 0.75), crop),
)
