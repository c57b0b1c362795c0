"""Hand-made ECG features: the baseline that every learned embedding has to beat.

Rate, rhythm, intervals, axes, amplitudes and ST levels by lead, read from the median beat. What an ECG does
not show (no beat, a flat lead) is NaN. The delineation is plain: QRS edges where the slope over all leads
falls below a seventh of its peak, P and T ends where their size falls below a third, or a fifth, of theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import uniform_filter1d
from scipy.signal import find_peaks

from supreme.ecg import LEADS, N_LEADS
from supreme.evaluation.embeddings import Embeddings
from supreme.signal import resample

RATE_HZ = 250.0
#: Seconds of the median beat before and after the steepest part of the QRS complex.
BEFORE_S, AFTER_S = 0.36, 0.60
_FLAT_MV = 0.01
_EDGE = 1 / 7
_P_EDGE, _T_EDGE = 1 / 3, 1 / 5
_J_DELAY_S = 0.06
_NO_R_MV = 0.05

_RHYTHM = (
    *("beats", "rate_per_minute", "rr_variation", "rr_successive_variation", "rr_shortest", "rr_longest"),
    *("odd_beats", "beat_likeness", "p_consistency", "between_beats_mv", "fine_noise_mv", "sharpest_bend"),
)
_INTERVALS = ("pr_s", "p_s", "qrs_s", "qt_s", "qtc_bazett_s", "qtc_fridericia_s", "t_peak_s", "p_size_mv")
_AXES = (
    *("qrs_axis_cos", "qrs_axis_sin", "p_axis_cos", "p_axis_sin", "t_axis_cos", "t_axis_sin", "qrs_t_angle"),
    *("sokolow_lyon_mv", "cornell_mv", "largest_limb_mv", "largest_chest_mv", "r_transition"),
)
_BY_LEAD = ("p_mv", "q_mv", "r_mv", "s_mv", "qrs_area_mvs", "j_mv", "st_mv", "t_mv", "t_area_mvs", "notches")
DEMOGRAPHICS = ("age", "male")
#: Names of what :func:`features` returns.
FEATURES = (*_RHYTHM, *_INTERVALS, *_AXES, *(f"{lead}_{name}" for name in _BY_LEAD for lead in LEADS))

_I, _II, _AVL, _AVF, _V1 = (LEADS.index(lead) for lead in ("I", "II", "aVL", "aVF", "V1"))
_V3, _V5, _V6 = (LEADS.index(lead) for lead in ("V3", "V5", "V6"))


@dataclass(frozen=True)
class MedianBeat:
    """The typical beat ``(12, samples)`` at :data:`RATE_HZ`, its PR level at zero, and its landmarks."""

    signal_mv: np.ndarray
    qrs: slice
    p: slice
    t: slice
    t_peak: int


def score(signal_mv: np.ndarray, rate_hz: float) -> np.ndarray:
    """Features float32 ``(B, F)`` of ECGs ``(B, 12, T)`` in mV; see :data:`FEATURES`."""
    rows = [features(ecg, rate_hz) for ecg in signal_mv]
    return np.stack(rows) if rows else np.empty((0, len(FEATURES)), np.float32)


def with_age_and_sex(
    embeddings: Embeddings, age_of: Mapping[str, float | None], sex_of: Mapping[str, str]
) -> Embeddings:
    """Two more columns: age in years, and 1 for sex M, 0 for F; NaN where it is not known."""
    ages = [age_of.get(record) for record in embeddings.record_ids]
    male = [{"M": 1.0, "F": 0.0}.get(sex_of.get(record, ""), np.nan) for record in embeddings.record_ids]
    columns = np.array([[np.nan if age is None else age for age in ages], male], np.float32).T
    return replace(embeddings, values=np.concatenate([embeddings.values, columns], axis=1))


def features(signal_mv: np.ndarray, rate_hz: float) -> np.ndarray:
    """Features float32 ``(F,)`` of one ECG ``(12, T)`` in mV, of any length; NaN where it shows none."""
    values = dict.fromkeys(FEATURES, np.nan)
    ecg = np.nan_to_num(signal_mv.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    ecg = np.ascontiguousarray(resample(ecg, rate_hz, RATE_HZ))
    if ecg.shape[1] >= RATE_HZ:
        ecg -= np.median(ecg, axis=1, keepdims=True)
        slope = np.diff(smooth(ecg, 0.012), axis=1)
        beats = find_beats(slope)
        values |= _noise(ecg)
        if len(beats) > 2:
            windows = beat_windows(ecg, beats)
            values |= _rhythm(beats)
            if len(windows):
                beat = median_beat(windows, float(np.median(np.diff(beats))))
                values |= _likeness(windows, beat)
                values |= _intervals(beat, float(np.median(np.diff(beats))) / RATE_HZ)
                values |= _amplitudes(beat, np.ptp(ecg, axis=1) < _FLAT_MV)
    return np.array([values[name] for name in FEATURES], np.float32)


def find_beats(slope: np.ndarray) -> np.ndarray:
    """Samples of the QRS complexes: peaks of the energy of the slope over all leads."""
    size = np.maximum(slope.std(axis=1, keepdims=True), 1e-6)
    energy = smooth(((slope / np.sqrt(size)) ** 2).sum(axis=0), 0.09)
    top = np.percentile(energy, 98.5)
    if top <= 0:
        return np.empty(0, int)
    return find_peaks(energy, height=0.12 * top, distance=round(0.24 * RATE_HZ))[0]


def median_beat(windows: np.ndarray, rr_samples: float) -> MedianBeat:
    """The median of ``(beats, 12, samples)`` with its landmarks."""
    beat = np.median(windows, axis=0)
    centre = round(BEFORE_S * RATE_HZ)
    slope = smooth(np.sqrt((np.diff(smooth(beat, 0.008), axis=1) ** 2).sum(axis=0)), 0.010)
    reach = round(0.13 * RATE_HZ)
    near = np.flatnonzero(
        slope[centre - reach : centre + reach] > slope[centre - 20 : centre + 20].max() * _EDGE
    )
    onset, end = (
        (centre, centre + 1) if not len(near) else (centre - reach + near[0], centre - reach + near[-1] + 1)
    )
    level = np.median(beat[:, max(0, onset - 8) : onset + 1], axis=1, keepdims=True)
    beat = beat - level
    first = max(0, onset - round(min(0.30, 0.55 * rr_samples / RATE_HZ) * RATE_HZ))
    p = _wave(beat, first, max(first + 1, onset - round(0.02 * RATE_HZ)), _P_EDGE, tilted=True)[0]
    t_first = min(end + round(0.07 * RATE_HZ), beat.shape[1] - 2)
    t_last = min(beat.shape[1], max(t_first + 2, onset + round(min(0.55 * RATE_HZ, 0.72 * rr_samples))))
    t, peak = _wave(beat, t_first, t_last, _T_EDGE, tilted=False)
    return MedianBeat(beat, slice(int(onset), int(end)), p, t, peak)


def _wave(beat: np.ndarray, first: int, last: int, edge: float, *, tilted: bool) -> tuple[slice, int]:
    """Where the largest deflection over all leads stands out of a window, and its peak."""
    part = smooth(beat[:, first:last], 0.02)
    if tilted:
        part = part - np.linspace(part[:, 0], part[:, -1], part.shape[1], axis=1)
    size = np.sqrt((part**2).sum(axis=0))
    peak = int(size.argmax())
    low = np.flatnonzero(size <= edge * size[peak])
    start, end = low[low < peak], low[low > peak]
    a = int(start[-1]) if len(start) else 0
    b = int(end[0]) if len(end) else len(size)
    return slice(first + a, first + max(b, a + 1)), first + peak


def beat_windows(ecg: np.ndarray, beats: np.ndarray) -> np.ndarray:
    """Each whole beat of ``(12, T)`` as ``(beats, 12, samples)``."""
    before, after = round(BEFORE_S * RATE_HZ), round(AFTER_S * RATE_HZ)
    whole = beats[(beats >= before) & (beats + after <= ecg.shape[1])]
    return ecg[:, whole[:, None] + np.arange(-before, after)].transpose(1, 0, 2)


def _noise(ecg: np.ndarray) -> dict[str, float]:
    """Size of the fastest part, and the sharpest bend against the steepest slope (pacing spikes)."""
    steps = np.diff(ecg, axis=1)
    bend = np.abs(np.diff(steps, axis=1)).sum(axis=0)
    steepest = float(np.abs(steps).sum(axis=0).max())
    return {
        "fine_noise_mv": float(np.median(np.abs(ecg - smooth(ecg, 0.02)))),
        "sharpest_bend": float(bend.max()) / steepest if steepest > 0 else np.nan,
    }


def _rhythm(beats: np.ndarray) -> dict[str, float]:
    rr_s = np.diff(beats) / RATE_HZ
    middle = float(np.median(rr_s))
    return {
        "beats": len(beats),
        "rate_per_minute": 60 / middle,
        "rr_variation": float(rr_s.std() / rr_s.mean()),
        "rr_successive_variation": float(np.abs(np.diff(rr_s)).mean() / middle) if len(rr_s) > 1 else np.nan,
        "rr_shortest": float(rr_s.min() / middle),
        "rr_longest": float(rr_s.max() / middle),
    }


def _likeness(windows: np.ndarray, beat: MedianBeat) -> dict[str, float]:
    """How much the beats, and what stands before them, are alike."""
    around = slice(max(0, beat.qrs.start - 5), beat.qrs.stop + round(0.2 * RATE_HZ))
    typical = beat.signal_mv[:, around].ravel()
    likeness = np.array([_correlation(window[:, around].ravel(), typical) for window in windows])
    before = windows[:, :, max(0, beat.qrs.start - round(0.24 * RATE_HZ)) : max(1, beat.qrs.start - 5)]
    before = before - before.mean(axis=2, keepdims=True)
    mean = before.mean(axis=0)
    total = float((before**2).mean())
    return {
        "odd_beats": float((likeness < 0.8).mean()),
        "beat_likeness": float(np.median(likeness)),
        "p_consistency": float((mean**2).mean()) / total if total > 0 else np.nan,
        "between_beats_mv": float(np.sqrt(((before - mean) ** 2).mean())),
    }


def _intervals(beat: MedianBeat, rr_s: float) -> dict[str, float]:
    qt_s = (beat.t.stop - beat.qrs.start) / RATE_HZ
    p = beat.signal_mv[:, beat.p]
    return {
        "pr_s": (beat.qrs.start - beat.p.start) / RATE_HZ,
        "p_s": (beat.p.stop - beat.p.start) / RATE_HZ,
        "qrs_s": (beat.qrs.stop - beat.qrs.start) / RATE_HZ,
        "qt_s": qt_s,
        "qtc_bazett_s": qt_s / np.sqrt(rr_s),
        "qtc_fridericia_s": qt_s / np.cbrt(rr_s),
        "t_peak_s": (beat.t_peak - beat.qrs.start) / RATE_HZ,
        "p_size_mv": float(np.ptp(p, axis=1).max()),
    }


def _amplitudes(beat: MedianBeat, flat: np.ndarray) -> dict[str, float]:
    """Axes, voltage criteria, and the features of each lead."""
    qrs, t = beat.signal_mv[:, beat.qrs], beat.signal_mv[:, beat.t]
    p = beat.signal_mv[:, beat.p] - beat.signal_mv[:, [beat.p.start]]
    r_at = qrs.argmax(axis=1)
    before_r = np.arange(qrs.shape[1]) < r_at[:, None]
    r = qrs.max(axis=1)
    no_r = (r < _NO_R_MV)[:, None]  # a QS complex is both
    s = np.where(before_r & ~no_r, 0, qrs).min(axis=1)
    j = min(beat.qrs.stop, beat.signal_mv.shape[1] - 1)
    st = min(j + round(_J_DELAY_S * RATE_HZ), beat.signal_mv.shape[1] - 1)
    turns = np.diff(np.sign(np.diff(qrs, axis=1)), axis=1) != 0
    large = np.abs(qrs[:, 1:-1]) > 0.05
    columns = {
        "p_mv": _extreme(p),
        "q_mv": np.where(before_r | no_r, qrs, 0).min(axis=1),
        "r_mv": r,
        "s_mv": s,
        "qrs_area_mvs": qrs.sum(axis=1) / RATE_HZ,
        "j_mv": beat.signal_mv[:, j],
        "st_mv": beat.signal_mv[:, st],
        "t_mv": _extreme(t),
        "t_area_mvs": t.sum(axis=1) / RATE_HZ,
        "notches": (turns & large).sum(axis=1).astype(float),
    }
    columns = {name: np.where(flat, np.nan, column) for name, column in columns.items()}
    r, s, size = columns["r_mv"], columns["s_mv"], np.where(flat, np.nan, np.ptp(qrs, axis=1))
    values = {
        "sokolow_lyon_mv": float(max(r[_V5], r[_V6]) - s[_V1]),
        "cornell_mv": float(r[_AVL] - s[_V3]),
        "largest_limb_mv": _largest(size[:6]),
        "largest_chest_mv": _largest(size[6:]),
        "r_transition": float((r[6:] < -s[6:]).sum()),
    }
    axes = {
        "qrs": columns["qrs_area_mvs"],
        "p": np.where(flat, np.nan, p.sum(axis=1)),
        "t": columns["t_area_mvs"],
    }
    angles = {wave: np.arctan2(area[_AVF] * 2 / np.sqrt(3), area[_I]) for wave, area in axes.items()}
    for wave, angle in angles.items():
        values |= {f"{wave}_axis_cos": float(np.cos(angle)), f"{wave}_axis_sin": float(np.sin(angle))}
    values["qrs_t_angle"] = float(np.arccos(np.cos(angles["qrs"] - angles["t"])))
    by_lead = {
        f"{LEADS[n]}_{name}": float(column[n]) for name, column in columns.items() for n in range(N_LEADS)
    }
    return values | by_lead


def _extreme(part: np.ndarray) -> np.ndarray:
    """The value of each lead that is furthest from zero."""
    return np.take_along_axis(part, np.abs(part).argmax(axis=1)[:, None], axis=1)[:, 0]


def _largest(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.max()) if len(known) else np.nan


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 0 else 0.0


def smooth(signal: np.ndarray, seconds: float) -> np.ndarray:
    """Moving mean over so many seconds at :data:`RATE_HZ`."""
    return uniform_filter1d(signal, max(1, round(seconds * RATE_HZ)), axis=-1)
