"""A small ECG reader for tests, independent of the simulator: beats, intervals, amplitudes and areas."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.signal import find_peaks

from supreme.ecg import LEADS

BEFORE_S, AFTER_S = 0.35, 0.60


@dataclass(frozen=True)
class Reading:
    """``signal_mv`` is (12, T)."""

    signal_mv: np.ndarray
    rate_hz: float

    @cached_property
    def beats(self) -> np.ndarray:
        """Samples of the QRS complexes: peaks of the slope's energy over all leads."""
        slope = np.diff(_smooth(self.signal_mv, 0.012 * self.rate_hz), axis=1)
        energy = _smooth((slope**2).sum(0)[None], 0.09 * self.rate_hz)[0]
        top = np.percentile(energy, 98.5)
        return find_peaks(energy, height=0.12 * top, distance=round(0.24 * self.rate_hz))[0]

    @property
    def rr_s(self) -> np.ndarray:
        return np.diff(self.beats) / self.rate_hz

    @property
    def rate_per_minute(self) -> float:
        return 60 / float(np.median(self.rr_s))

    @property
    def irregularity(self) -> float:
        """Coefficient of variation of the RR intervals."""
        return float(np.std(self.rr_s) / np.mean(self.rr_s))

    def window(self, beat: int) -> np.ndarray:
        """(12, samples) around one beat, or nothing where it is cut."""
        first, last = beat - round(BEFORE_S * self.rate_hz), beat + round(AFTER_S * self.rate_hz)
        whole = first >= 0 and last <= self.signal_mv.shape[1]
        return self.signal_mv[:, first:last] if whole else np.zeros((12, 0))

    @cached_property
    def beat(self) -> np.ndarray:
        """The median beat, its level before the QRS at zero."""
        windows = [w for w in map(self.window, self.beats) if w.shape[1]]
        median = np.median(windows, axis=0)
        onset = self._edges(median)[0]
        level = median[:, max(0, onset - round(0.03 * self.rate_hz)) : onset + 1]
        return median - np.median(level, axis=1, keepdims=True)

    def _edges(self, beat: np.ndarray) -> tuple[int, int]:
        """Where the slope of the QRS leaves and comes back to a seventh of its greatest."""
        slope = np.sqrt((np.diff(_smooth(beat, 0.008 * self.rate_hz), axis=1) ** 2).sum(0))
        slope = _smooth(slope[None], 0.010 * self.rate_hz)[0]
        centre = round(BEFORE_S * self.rate_hz)
        reach = round(0.13 * self.rate_hz)
        near = slope[centre - reach : centre + reach]
        above = np.flatnonzero(near > near.max() / 7)
        return centre - reach + int(above[0]), centre - reach + int(above[-1])

    @cached_property
    def edges(self) -> tuple[int, int]:
        return self._edges(self.beat)

    @property
    def qrs_s(self) -> float:
        return (self.edges[1] - self.edges[0]) / self.rate_hz

    def qrs_width_of(self, beat: int) -> float:
        window = self.window(beat)
        first, last = self._edges(window)
        return (last - first) / self.rate_hz

    def qrs(self, lead: str) -> np.ndarray:
        return self.beat[LEADS.index(lead), self.edges[0] : self.edges[1] + 1]

    def qrs_area(self, lead: str) -> float:
        """Millivolt seconds."""
        return float(self.qrs(lead).sum() / self.rate_hz)

    def after_qrs(self, lead: str, from_s: float, to_s: float) -> np.ndarray:
        at = self.edges[1]
        return self.beat[
            LEADS.index(lead), at + round(from_s * self.rate_hz) : at + round(to_s * self.rate_hz)
        ]

    def t_area(self, lead: str) -> float:
        return float(self.after_qrs(lead, 0.09, 0.33).sum() / self.rate_hz)

    def st_mv(self, lead: str) -> float:
        return float(np.median(self.after_qrs(lead, 0.03, 0.07)))

    def t_peak_s(self) -> float:
        """From the QRS onset to the greatest T over all leads, within 0.55 s of the beat."""
        after = self.edges[1] + round(0.09 * self.rate_hz)
        end = min(self.beat.shape[1], round((BEFORE_S + 0.62 * float(np.median(self.rr_s))) * self.rate_hz))
        size = np.sqrt((self.beat[:, after:end] ** 2).sum(0))
        return (after + int(size.argmax()) - self.edges[0]) / self.rate_hz

    def p_size(self) -> float:
        """Millivolts between the highest and lowest of lead II in the 0.05-0.24 s before the QRS."""
        first, last = (self.edges[0] - round(s * self.rate_hz) for s in (0.24, 0.04))
        before = self.beat[LEADS.index("II"), max(0, first) : last]
        line = np.linspace(before[0], before[-1], len(before))
        return float(np.ptp(before - line))

    def spike(self) -> tuple[float, float]:
        """Sharpest bend near the beats: size against the steepest slope, and place (s from the beat)."""
        bend = np.abs(np.diff(self.signal_mv, 2, axis=1)).sum(0)
        slope = np.abs(np.diff(self.signal_mv, axis=1)).sum(0)
        places, sizes = [], []
        for beat in self.beats:
            first = beat - round(0.12 * self.rate_hz)
            near = bend[max(0, first) : beat + round(0.08 * self.rate_hz)]
            if first >= 0 and len(near):
                places.append((first + int(near.argmax()) + 1 - beat) / self.rate_hz)
                sizes.append(near.max() / slope[first : beat + round(0.08 * self.rate_hz)].max())
        return float(np.median(sizes)), float(np.median(places))

    def oddest(self) -> int:
        """Place in `beats` of the beat that looks least like the median one (not the first, not the last)."""

        def likeness(place: int) -> float:
            window = self.window(self.beats[place])
            if not window.shape[1]:
                return 1.0
            return float(np.corrcoef(window.ravel(), self.beat.ravel())[0, 1])

        return min(range(1, len(self.beats) - 1), key=likeness)


def _smooth(signal: np.ndarray, samples: float) -> np.ndarray:
    width = max(1, round(samples))
    kernel = np.ones(width) / width
    return np.stack([np.convolve(row, kernel, mode="same") for row in signal])
