"""When the atria and the ventricles are activated: P, QRS and ectopic beats over the recording."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from supreme.records.simulator.findings import SINUS, Findings

#: PR interval from which a first-degree block is called, and the severity from which it may be a long one.
_BLOCK_S, _LONG_BLOCK = 0.203, 0.85


@dataclass
class Beats:
    """Times in seconds of every activation, by kind."""

    rr_s: float
    """Typical RR interval, for the QT interval."""
    pr_s: float
    p: list[float] = field(default_factory=list)
    ectopic_p: list[float] = field(default_factory=list)
    retrograde_p: list[float] = field(default_factory=list)
    qrs: list[float] = field(default_factory=list)
    aberrant: list[float] = field(default_factory=list)
    """Ventricular ectopic beats."""
    spikes: list[float] = field(default_factory=list)
    atrial_wave_hz: float = 0.0
    """Flutter or fibrillation waves; 0 for none."""


def draw(findings: Findings, duration_s: float, rng: np.random.Generator) -> Beats:
    """The activations of one recording, from a second before it to a second after it."""
    rhythm = findings.rhythm
    if rhythm == "atrial_fibrillation":
        return _fibrillation(findings, duration_s, rng)
    if rhythm == "atrial_flutter":
        return _flutter(duration_s, rng, findings)
    if rhythm == "third_degree_av_block":
        return _complete_block(duration_s, rng, findings)
    if rhythm == "second_degree_av_block":
        return _dropped_beats(duration_s, rng, findings)
    if rhythm == "paced_rhythm":
        return _paced(duration_s, rng)
    if rhythm in SINUS or rhythm == "atrial_tachycardia":
        return _sinus(findings, duration_s, rng)
    return _regular(findings, duration_s, rng)


def _rate(findings: Findings, rng: np.random.Generator) -> float:
    ranges = {
        "sinus_rhythm": (60, 99),
        "sinus_bradycardia": (38, 58),
        "sinus_tachycardia": (101, 160),
        "atrial_tachycardia": (110, 200),
        "supraventricular_tachycardia": (140, 220),
        "junctional_rhythm": (36, 75),
        "ventricular_tachycardia": (120, 210),
    }
    low, high = ranges[findings.rhythm]
    if findings.rhythm == "sinus_rhythm":
        return float(np.clip(rng.normal(70, 11), 52, high))
    if findings.rhythm in ("sinus_tachycardia", "sinus_bradycardia"):
        near, far = (low, high) if findings.rhythm == "sinus_tachycardia" else (high, low)
        return float(near + (far - near) * rng.beta(1.1, 2.2))
    return float(rng.uniform(low, high))


def _intervals(rr_s: float, duration_s: float, rng: np.random.Generator, variation: float) -> np.ndarray:
    """QRS times of a nearly regular rhythm with respiratory variation (a fraction of RR)."""
    count = int((duration_s + 3) / rr_s) + 3
    breathing = variation * np.sin(
        2 * np.pi * (np.arange(count) * rr_s * rng.uniform(0.15, 0.33) + rng.random())
    )
    intervals = rr_s * (1 + breathing + rng.normal(0, 0.008 + 0.25 * variation, count))
    start = -1.0 - rng.random() * rr_s
    return start + np.cumsum(np.maximum(intervals, 0.25))


def _pr(findings: Findings, rr_s: float, rng: np.random.Generator) -> float:
    if findings.has("ventricular_preexcitation"):
        return float(rng.uniform(0.07, 0.115))
    if findings.has("first_degree_av_block"):
        # The commonest block is one of a little above 200 ms.
        severity = findings.of("first_degree_av_block")
        longest = min(0.40 if severity > _LONG_BLOCK else 0.31, 0.62 * rr_s)
        return max(_BLOCK_S, _BLOCK_S + (longest - _BLOCK_S) * severity * rng.uniform(0.5, 1.0))
    return float(min(np.clip(rng.normal(0.158, 0.021), 0.12, _BLOCK_S), 0.45 * rr_s))


def _sinus(findings: Findings, duration_s: float, rng: np.random.Generator) -> Beats:
    rr_s = 60 / _rate(findings, rng)
    arrhythmia = findings.of("sinus_arrhythmia")
    variation = 0.05 + 0.12 * arrhythmia if arrhythmia else rng.uniform(0.0, 0.045)
    if findings.rhythm != "sinus_rhythm" and not arrhythmia:
        variation *= 0.6
    times = _intervals(rr_s, duration_s, rng, variation)
    beats = Beats(rr_s, _pr(findings, rr_s, rng), qrs=list(times))
    p_kind = beats.ectopic_p if findings.rhythm == "atrial_tachycardia" else beats.p
    p_kind.extend(t - beats.pr_s for t in times)
    if findings.has("atrial_premature_complex"):
        _insert_atrial(beats, findings, rng)
    _insert_ventricular(beats, findings, rng, p_kind)
    return beats


def _insert_atrial(beats: Beats, findings: Findings, rng: np.random.Generator) -> None:
    inside = [i for i in range(2, len(beats.qrs) - 2) if 0.3 < beats.qrs[i] < 9.3]
    number = 1 + int(rng.poisson(1.6 * findings.of("atrial_premature_complex")))
    for i in (
        sorted(rng.choice(inside, size=min(number, max(1, len(inside) // 3)), replace=False))
        if inside
        else []
    ):
        early_s = beats.rr_s * rng.uniform(0.18, 0.45)
        blocked = rng.random() < 0.08
        pr_s = beats.pr_s * rng.uniform(0.85, 1.25)
        beats.ectopic_p.append(beats.qrs[i] - early_s - pr_s)
        beats.p[i] = np.nan
        beats.qrs[i] = np.nan if blocked else beats.qrs[i] - early_s
        # The sinus node is reset: what follows comes after one full interval.
        shift = -early_s * rng.uniform(0.5, 0.95)
        for later in range(i + 1, len(beats.qrs)):
            beats.qrs[later] += shift
            beats.p[later] += shift
    beats.qrs = [t for t in beats.qrs if np.isfinite(t)]
    beats.p = [t for t in beats.p if np.isfinite(t)]


def _insert_ventricular(
    beats: Beats, findings: Findings, rng: np.random.Generator, p_kind: list[float]
) -> None:
    """Replace conducted beats by premature wide ones; the next sinus beat comes on time (full pause)."""
    if not findings.has("ventricular_premature_complex"):
        return
    order = sorted(beats.qrs)
    inside = [i for i in range(1, len(order) - 1) if 0.2 < order[i] < 9.5]
    if not inside:
        return
    if findings.has("ventricular_bigeminy"):
        premature = inside[:: 2 if rng.random() < 0.75 else 3]
    else:
        number = 1 + int(rng.poisson(2.2 * findings.of("ventricular_premature_complex")))
        premature = sorted(rng.choice(inside, size=min(number, max(1, len(inside) // 3)), replace=False))
    coupling = rng.uniform(0.5, 0.75)
    for i in premature:
        interval = order[i] - order[i - 1]
        beats.aberrant.append(order[i - 1] + interval * min(0.9, coupling * rng.uniform(0.95, 1.05)))
        beats.qrs.remove(order[i])
        for t in [t for t in p_kind if 0 < order[i] - t < 0.45][:1]:
            if rng.random() < 0.6:
                p_kind.remove(t)


def _regular(findings: Findings, duration_s: float, rng: np.random.Generator) -> Beats:
    """Junctional rhythm, supraventricular and ventricular tachycardia: no sinus P before the QRS."""
    rr_s = 60 / _rate(findings, rng)
    times = list(_intervals(rr_s, duration_s, rng, rng.uniform(0.0, 0.012)))
    beats = Beats(rr_s, 0.12)
    if findings.rhythm == "ventricular_tachycardia":
        beats.aberrant = times
        if rng.random() < 0.5:
            beats.p = list(_intervals(60 / rng.uniform(60, 100), duration_s, rng, 0.02))
        return beats
    beats.qrs = times
    if rng.random() < 0.6:
        offset = (
            rng.uniform(-0.10, -0.06)
            if findings.rhythm == "junctional_rhythm" and rng.random() < 0.5
            else 0.0
        )
        offset = offset or rng.uniform(0.07, 0.16)
        beats.retrograde_p = [t + offset for t in times]
    _insert_ventricular(beats, findings, rng, beats.retrograde_p)
    return beats


def _fibrillation(findings: Findings, duration_s: float, rng: np.random.Generator) -> Beats:
    mean_s = 60 / float(np.clip(rng.normal(95, 28), 42, 180))
    spread = rng.uniform(0.14, 0.32)
    count = int((duration_s + 3) / mean_s * 1.6) + 4
    shape = 1 / spread**2
    shortest = min(0.3, 0.6 * mean_s)
    intervals = np.maximum(rng.gamma(shape, mean_s / shape, count), shortest)
    beats = Beats(mean_s, 0.15, qrs=list(-1.2 + np.cumsum(intervals)), atrial_wave_hz=rng.uniform(4.5, 8.5))
    _insert_ventricular(beats, findings, rng, [])
    return beats


def _flutter(duration_s: float, rng: np.random.Generator, findings: Findings) -> Beats:
    wave_hz = rng.uniform(215, 340) / 60
    cycle_s = 1 / wave_hz
    variable = rng.random() < 0.4
    base = int(rng.choice([2, 3, 4], p=[0.45, 0.15, 0.40]))
    ratios = rng.choice([2, 3, 4, 5], p=[0.3, 0.25, 0.35, 0.1], size=80) if variable else np.full(80, base)
    times = -1.2 + np.cumsum(ratios * cycle_s) + rng.normal(0, 0.004, 80)
    beats = Beats(float(np.mean(ratios) * cycle_s), 0.15, atrial_wave_hz=wave_hz)
    beats.qrs = [float(t) for t in times if t < duration_s + 1]
    _insert_ventricular(beats, findings, rng, [])
    return beats


def _complete_block(duration_s: float, rng: np.random.Generator, findings: Findings) -> Beats:
    rr_s = 60 / rng.uniform(27, 52)
    beats = Beats(rr_s, 0.16)
    times = list(_intervals(rr_s, duration_s, rng, 0.005))
    fibrillating = rng.random() < 0.12
    if rng.random() < 0.45:
        beats.aberrant = times
    else:
        beats.qrs = times
    if fibrillating:
        beats.atrial_wave_hz = rng.uniform(4.5, 8.5)
    else:
        beats.p = list(_intervals(60 / rng.uniform(62, 110), duration_s, rng, 0.02))
    return beats


def _dropped_beats(duration_s: float, rng: np.random.Generator, findings: Findings) -> Beats:
    pp_s = 60 / rng.uniform(55, 105)
    times = list(_intervals(pp_s, duration_s, rng, 0.012))
    kind = rng.choice(["wenckebach", "mobitz", "two_to_one"], p=[0.5, 0.2, 0.3])
    cycle = 2 if kind == "two_to_one" else int(rng.integers(3, 6))
    pr_s = rng.uniform(0.15, 0.24)
    step_s = rng.uniform(0.03, 0.08) if kind == "wenckebach" else 0.0
    beats = Beats(pp_s * cycle / (cycle - 1), pr_s, p=times)
    phase = int(rng.integers(cycle))
    for i, t in enumerate(times):
        place = (i + phase) % cycle
        if place < cycle - 1:
            beats.qrs.append(t + pr_s + min(step_s * place * (1 - 0.12 * place), 0.25))
    _insert_ventricular(beats, findings, rng, [])
    return beats


def _paced(duration_s: float, rng: np.random.Generator) -> Beats:
    """Ventricular pacing: tracking a sinus P, after a paced P, or alone over sinus or fibrillating atria."""
    rr_s = 60 / rng.uniform(58, 88)
    times = list(_intervals(rr_s, duration_s, rng, 0.001))
    delay_s = rng.uniform(0.12, 0.20)
    beats = Beats(rr_s, delay_s, aberrant=times)
    beats.spikes = [t - rng.uniform(0.012, 0.02) for t in times]
    mode = rng.choice(["tracking", "dual", "single"], p=[0.45, 0.2, 0.35])
    if mode == "single":
        if rng.random() < 0.6:
            beats.atrial_wave_hz = rng.uniform(4.5, 8.5)
        else:
            beats.p = list(_intervals(60 / rng.uniform(50, 95), duration_s, rng, 0.02))
        return beats
    beats.p = [t - delay_s for t in times]
    if mode == "dual":
        beats.spikes += [t - delay_s - 0.02 for t in times]
    return beats
