"""Changes of one sign in an ECG: axis, voltage, intervals, ST and T of a wall; everything else stays.

Landmarks come from the median beat; changes of intervals stretch time between two of them. Signals are
``(12, T)`` in millivolts at :data:`supreme.evaluation.handmade_features.RATE_HZ`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from supreme.ecg import LEADS
from supreme.evaluation.handmade_features import (
    BEFORE_S,
    RATE_HZ,
    MedianBeat,
    beat_windows,
    find_beats,
    median_beat,
    smooth,
)

_LIMBS, _RAMP_S = 6, 0.03
_WALLS = {
    "inferior": ("II", "III", "aVF"),
    "lateral": ("I", "aVL", "V5", "V6"),
    "anterior": ("V2", "V3", "V4"),
}


@dataclass(frozen=True)
class Landmarks:
    """The beats of a record, in samples at :data:`RATE_HZ`."""

    beats: np.ndarray
    typical: MedianBeat

    def spans(self, wave: slice) -> list[tuple[int, int]]:
        """Where a wave of the typical beat is in each beat."""
        starts = self.beats - round(BEFORE_S * RATE_HZ)
        return [(int(start) + wave.start, int(start) + wave.stop) for start in starts]


Change = Callable[[np.ndarray, Landmarks], np.ndarray]


def landmarks(ecg: np.ndarray) -> Landmarks | None:
    """The beats of a record ``(12, T)`` at :data:`RATE_HZ`; None where it has fewer than three."""
    beats = find_beats(np.diff(smooth(ecg, 0.012), axis=1))
    windows = beat_windows(ecg, beats)
    if len(windows) < 3:
        return None
    return Landmarks(beats, median_beat(windows, float(np.median(np.diff(beats)))))


def turn_limb_leads(degrees: float) -> Change:
    """Turn the frontal plane: what I and aVF see; the chest leads stay."""

    def change(ecg: np.ndarray, marks: Landmarks) -> np.ndarray:
        one, foot = ecg[0], ecg[LEADS.index("aVF")] * 2 / np.sqrt(3)
        angle = np.radians(degrees)
        turned_one = np.cos(angle) * one - np.sin(angle) * foot
        turned_foot = (np.sin(angle) * one + np.cos(angle) * foot) * np.sqrt(3) / 2
        two = turned_foot + turned_one / 2
        limbs = [
            turned_one,
            two,
            two - turned_one,
            -(turned_one + two) / 2,
            turned_one - two / 2,
            turned_foot,
        ]
        return np.concatenate([np.stack(limbs), ecg[_LIMBS:]])

    return change


def scale_limb_qrs(factor: float) -> Change:
    """Another size of the QRS in the limb leads; P, T and the chest leads stay."""

    def change(ecg: np.ndarray, marks: Landmarks) -> np.ndarray:
        gain = np.zeros(ecg.shape[1])
        for start, stop in marks.spans(marks.typical.qrs):
            gain = np.maximum(gain, _window(start, stop, len(gain)))
        scaled = ecg.copy()
        scaled[:_LIMBS] *= 1 + (factor - 1) * gain
        return scaled

    return change


def lengthen_pr(by_s: float) -> Change:
    """Move the P wave away from the QRS; the pause before it becomes shorter."""

    def change(ecg: np.ndarray, marks: Landmarks) -> np.ndarray:
        shift = round(by_s * RATE_HZ)
        knots = []
        for (p_start, p_stop), (onset, _) in zip(
            marks.spans(marks.typical.p), marks.spans(marks.typical.qrs), strict=True
        ):
            knots += [(p_start - shift, p_start), (p_stop - shift, p_stop), (onset, onset)]
        t_ends = [(stop, stop) for _, stop in marks.spans(marks.typical.t)]
        return _warped(ecg, [*knots, *t_ends])

    return change


def widen_qrs(factor: float) -> Change:
    """Stretch the QRS from its onset; the ST segment becomes shorter."""

    def change(ecg: np.ndarray, marks: Landmarks) -> np.ndarray:
        knots = []
        for onset, end in marks.spans(marks.typical.qrs):
            knots += [(onset, onset), (onset + factor * (end - onset), end)]
        peaks = [(int(b) - round(BEFORE_S * RATE_HZ) + marks.typical.t_peak,) * 2 for b in marks.beats]
        return _warped(ecg, [*knots, *peaks])

    return change


def turn_t(wall: str, factor: float) -> Change:
    """Another size or sign of the T wave in the leads of a wall."""

    def change(ecg: np.ndarray, marks: Landmarks) -> np.ndarray:
        changed, leads = ecg.copy(), [LEADS.index(lead) for lead in _WALLS[wall]]
        onsets = marks.spans(marks.typical.qrs)
        for (start, stop), (onset, _) in zip(marks.spans(marks.typical.t), onsets, strict=True):
            gain = _window(start, stop, ecg.shape[1])
            level = ecg[leads, max(0, min(onset, ecg.shape[1] - 1))][:, None]
            changed[leads] += (factor - 1) * gain * (ecg[leads] - level)
        return changed

    return change


def shift_st(wall: str, millivolts: float) -> Change:
    """Raise or lower the segment from the end of the QRS into the T wave in the leads of a wall."""

    def change(ecg: np.ndarray, marks: Landmarks) -> np.ndarray:
        changed, leads = ecg.copy(), [LEADS.index(lead) for lead in _WALLS[wall]]
        ends = marks.spans(marks.typical.t)
        for (_, end), (_, stop) in zip(marks.spans(marks.typical.qrs), ends, strict=True):
            changed[leads] += millivolts * _window(end, (end + stop) // 2, ecg.shape[1])
        return changed

    return change


def _window(start: int, stop: int, samples: int) -> np.ndarray:
    """1 from start to stop, with smooth edges outside of them."""
    at, ramp = np.arange(samples), _RAMP_S * RATE_HZ
    outside = np.maximum(np.maximum(start - at, at - (stop - 1)), 0) / ramp
    return np.where(outside < 1, 0.5 + 0.5 * np.cos(np.pi * np.minimum(outside, 1)), 0.0)


def _warped(ecg: np.ndarray, knots: Sequence[tuple[float, float]]) -> np.ndarray:
    """The record on another time axis: ``knots`` are places (new, old), between which time is stretched."""
    samples = ecg.shape[1]
    inside = sorted(knot for knot in knots if 0 < knot[0] < samples - 1 and 0 < knot[1] < samples - 1)
    new, old = [0.0], [0.0]
    for new_at, old_at in inside:
        if new_at > new[-1] and old_at > old[-1]:
            new.append(float(new_at))
            old.append(float(old_at))
    at = np.interp(np.arange(samples), [*new, samples - 1], [*old, samples - 1])
    return np.stack([np.interp(at, np.arange(samples), lead) for lead in ecg])
