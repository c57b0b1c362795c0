"""The ST segment and the T wave, after the QRS that they follow from."""

from __future__ import annotations

import numpy as np

from supreme.records.simulator.body import Body, Pulses
from supreme.records.simulator.leads import REGIONS, heart_vector

#: The T wave is seen weaker by V3-V6 than one dipole on Dower's torso says; I, II, V1..V6.
_T_GAIN = np.array([1.0, 1.0, 1.0, 1.2, 0.7, 0.7, 0.75, 0.85])

#: How far below the level of the PR segment V1-V6 begin their ST segment.
_J_BELOW_MV = np.array([0, 0, 0.025, 0.025, 0.030, 0.035, 0.025, 0.010])


def st_t(body: Body, qrs: Pulses) -> Pulses:
    """The ST segment, the T wave and sometimes a U wave that follow a QRS, relative to its onset."""
    findings, rng = body.findings, body.rng
    area = (qrs[:, 2:] * qrs[:, 1:2]).sum(0) / 0.012
    broad = findings.has(
        "left_bundle_branch_block", "ventricular_preexcitation", "incomplete_left_bundle_branch_block"
    )
    t = _T_GAIN * body.lead(
        heart_vector(rng.normal(40, 16), rng.uniform(0.16, 0.38), rng.uniform(-0.42, -0.04))
    )
    st = np.zeros(8) + body.lead(heart_vector(45, rng.normal(0.008, 0.014), rng.normal(-0.06, 0.035)))
    if broad:
        amount = 1.0 if not findings.has("incomplete_left_bundle_branch_block") else 0.45
        t = (1 - 0.8 * amount) * t - amount * rng.uniform(0.09, 0.16) * area
        st = st - amount * rng.uniform(0.025, 0.06) * area
    if findings.has("right_bundle_branch_block", "incomplete_right_bundle_branch_block"):
        late = 0.55 if findings.has("right_bundle_branch_block") else 0.3
        t = t - late * rng.uniform(0.4, 1.0) * qrs[3, 2:]
        st = st - 0.2 * late * rng.uniform(0.5, 1.0) * qrs[3, 2:]
    if findings.has("left_ventricular_strain"):
        strength = 0.3 + 0.7 * findings.of("left_ventricular_strain")
        t = t * (1 - strength) - strength * 0.28 * REGIONS["lateral"] + strength * 0.15 * REGIONS["septal"]
        st = st - strength * 0.10 * REGIONS["lateral"] + strength * 0.08 * REGIONS["septal"]
    if findings.has("right_ventricular_hypertrophy"):
        t = t - findings.of("right_ventricular_hypertrophy") * 0.32 * REGIONS["septal"]
    t, st = _wall_changes(body, t, st)
    if findings.has("early_repolarization"):
        up = REGIONS["diffuse"] * np.array([0.5, 0.6, 0.2, 1.2, 1.2, 1.0, 0.8, 0.6])
        st = st + up * (0.05 + 0.10 * findings.of("early_repolarization"))
        t = t * (1.2 + 0.4 * findings.of("early_repolarization"))
    return np.concatenate([_t_pulses(body, t, st), _j_point(body)])


def _j_point(body: Body) -> Pulses:
    """The level at which the QRS ends and the ST segment begins scatters from patient to patient."""
    rng, end = body.detail, body.qrs_s
    j_mv = body.projection @ rng.normal(0, 0.030, 3) + rng.normal(0, 0.020, 8) - _J_BELOW_MV
    st_mv = body.projection @ rng.normal(0, 0.012, 3) + rng.normal(0, 0.007, 8)
    return np.stack([np.r_[end + 0.008, rng.uniform(0.012, 0.030), j_mv], np.r_[end + 0.070, 0.050, st_mv]])


def _wall_changes(body: Body, t: np.ndarray, st: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Infarction by stage, ischaemia, and the unspecific changes of ST and T."""
    findings, rng = body.findings, body.rng
    for name, region in findings.region.items():
        seen, strength = REGIONS[region] * (1 + rng.normal(0, 0.15, 8)), findings.of(name)
        if name.endswith("_infarction"):
            up, down = {"acute": (0.12, 0.05), "recent": (0.02, 0.30), "old": (0.0, 0.10)}[findings.stage]
            opposite = -0.35 * REGIONS["lateral"] if region == "inferior" else -0.25 * REGIONS["inferior"]
            st = st + (up + 0.25 * up / 0.12 * strength) * (seen + opposite * (findings.stage == "acute"))
            if findings.stage == "acute" and rng.random() < 0.5:
                t = t + 0.35 * strength * seen
            else:
                t = t * (1 - np.clip(np.abs(seen), 0, 1) * min(1.0, 2 * down)) - down * strength * seen
        if name == "t_wave_inversion":
            t = t * (1 - np.clip(np.abs(seen), 0, 1)) - (0.10 + 0.35 * strength) * seen
        if name == "st_depression":
            st = st - (0.06 + 0.16 * strength) * seen
            t = t * rng.uniform(0.3, 1.0)
        if name == "myocardial_ischemia":
            st = st - (0.04 + 0.10 * strength) * seen
            t = t * (1 - np.clip(np.abs(seen), 0, 1)) - (0.06 + 0.25 * strength) * seen
        if name == "st_elevation":
            st = st + (0.08 + 0.18 * strength) * seen
            t = t + 0.15 * strength * seen
        if name == "nonspecific_st_t_abnormality":
            t = t * _flatter(rng.uniform(0.1, 0.45)) - 0.05 * strength * seen
            st = st - rng.uniform(0.0, 0.05) * seen
    if findings.has("low_t_wave"):
        t = t * _flatter(0.30 - 0.25 * findings.of("low_t_wave"))
    if findings.has("tall_t_wave"):
        t = t * (2.2 + 1.6 * findings.of("tall_t_wave"))
    return t, st


def _t_pulses(body: Body, t: np.ndarray, st: np.ndarray) -> Pulses:
    """A T wave that rises slower than it falls, a plateau for ST, sometimes a U wave."""
    rng, end = body.rng, body.qt_s
    sd = float(np.clip(rng.normal(0.155, 0.02), 0.11, 0.2)) * (end - body.qrs_s)
    if body.findings.has("tall_t_wave"):
        sd *= 0.8
    peak = end - 1.9 * sd
    middle = (body.qrs_s + peak) / 2
    plateau = max((peak - body.qrs_s) / 2.6, 0.018)
    pulses = [
        np.r_[peak - 0.6 * sd, 1.15 * sd, t * 0.55],
        np.r_[peak, 0.80 * sd, t * 0.60],
        np.r_[middle - 0.5 * plateau, plateau * 0.8, st * 0.7],
        np.r_[middle + 0.6 * plateau, plateau, st * 0.7],
    ]
    if rng.random() < 0.2:
        pulses.append(np.r_[end + 0.07, 0.035, np.abs(t) * 0.12])
    return np.stack(pulses)


def _flatter(factor: float) -> np.ndarray:
    """A T wave loses its height in the limb leads and V4-V6; V1-V3 keep most of theirs."""
    return factor + (1 - factor) * np.array([0, 0, 0.8, 0.65, 0.4, 0.1, 0, 0])
