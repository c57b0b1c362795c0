"""The QRS complex: conducted, with the blocks and scars of the patient, or from the ventricles."""

from __future__ import annotations

import numpy as np

from supreme.records.simulator.body import Body, Pulses
from supreme.records.simulator.leads import REGIONS, heart_vector


def conducted(body: Body) -> Pulses:
    """The QRS of a beat that comes down from the atria."""
    left = body.findings.has("left_bundle_branch_block", "incomplete_left_bundle_branch_block")
    waves = [_left_bundle(body) if left else _through_left_bundle(body)]
    # In a right bundle branch block the right ventricle itself is last.
    if not body.findings.has("right_bundle_branch_block"):
        waves.append(_late(body))
    waves.append(_fast(body, body.activation_s, 2 + int(body.detail.poisson(1))))
    pulses = np.concatenate(waves)
    pulses[:, 4:] *= body.chest_gain
    return pulses


def _through_left_bundle(body: Body) -> Pulses:
    """Septum, then the wall of the left ventricle, then its base, as far as blocks and scars let them."""
    findings, rng, duration = body.findings, body.rng, body.activation_s
    back = rng.normal(0.0, 0.18)
    late_back = rng.uniform(0.50, 1.15)
    forward = rng.uniform(0.14, 0.42)
    size = body.size
    if findings.has("left_ventricular_hypertrophy"):
        gain = 0.30 + 0.75 * findings.of("left_ventricular_hypertrophy")
        size *= 1 + 0.75 * gain
        back += 0.25 * gain
        late_back += 0.45 * gain
    if findings.has("right_ventricular_hypertrophy"):
        back = -0.35 - 0.55 * findings.of("right_ventricular_hypertrophy")
        late_back *= 0.3
    if findings.has("poor_r_wave_progression"):
        forward, back = 0.03, back + 0.35 + 0.35 * findings.of("poor_r_wave_progression")
    axis = body.axis_deg
    fascicle = 0.0
    if findings.has("left_anterior_fascicular_block"):
        fascicle = 1.0
    if findings.has("left_posterior_fascicular_block"):
        fascicle = -1.0
    # A fascicular block turns the first vector away from the late one: r then S, or q then R.
    first_angle = {0.0: axis + rng.choice([150, -150]), 1.0: 95.0, -1.0: -45.0}[fascicle]
    first_size = rng.uniform(0.03, 0.16) if not fascicle else rng.uniform(0.18, 0.32)
    septal = heart_vector(first_angle, first_size, -forward) * size
    main = body.lead_main(rng.uniform(0.80, 1.20), back) * size
    basal = heart_vector(axis - 100 + rng.normal(0, 45), rng.uniform(0.08, 0.30), late_back) * size
    narrow = duration * (1.0 if not findings.has("intraventricular_conduction_delay") else 1.05)
    pulses = [
        np.r_[0.22 * narrow, 0.105 * narrow, body.lead(septal)],
        np.r_[0.48 * narrow, 0.135 * narrow, main],
        np.r_[0.76 * narrow, 0.12 * narrow, body.lead(basal)],
    ]
    if findings.has("right_bundle_branch_block", "incomplete_right_bundle_branch_block"):
        pulses = _right_bundle(body, septal, main, basal)
    if findings.has("intraventricular_conduction_delay"):
        notch = heart_vector(axis + rng.normal(0, 50), rng.uniform(0.2, 0.5), rng.normal(0.1, 0.3)) * size
        pulses.append(np.r_[0.70 * duration, 0.10 * duration, body.lead(notch)])
    if findings.has("ventricular_preexcitation"):
        delta = heart_vector(axis + rng.normal(0, 70), rng.uniform(0.2, 0.45), rng.normal(-0.15, 0.35)) * size
        pulses.append(np.r_[0.14 * duration, 0.15 * duration, body.lead(delta)])
    waves = np.stack(pulses)
    _infarct(body, waves)
    if not findings.has(*("right_bundle_branch_block", "ventricular_preexcitation")) and rng.random() < 0.25:
        fragment = body.projection @ (rng.normal(0, 0.10, 3) * size)
        late_s = rng.uniform(0.3, 0.9) * duration
        waves = np.concatenate([waves, np.r_[late_s, 0.07 * duration, fragment][None]])
    return waves


def _late(body: Body) -> Pulses:
    """What is activated last, the base of the heart: to the right, so an S in I, aVL, V5 and V6.

    With a left axis it points up instead, which V4-V6 see from below: a deep S there, none in I and aVL.
    """
    rng, duration = body.detail, body.activation_s
    up = body.axis_deg < -30
    frontal_mv = rng.gamma(2.0, 0.16 if up else 0.10)
    vector = heart_vector(
        rng.normal(-95, 20) if up else rng.normal(180, 40), frontal_mv, rng.uniform(0, 0.5) * frontal_mv
    )
    amplitudes = body.lead(vector)
    amplitudes[5:] += 0.9 * vector[1] * up
    return np.r_[0.84 * duration, rng.uniform(0.06, 0.09) * duration, amplitudes][None]


def _fast(body: Body, duration: float, count: int) -> Pulses:
    """Small and fast waves within the QRS, as the front breaks through here and there: notches and slurs."""
    rng = body.detail
    centre_s = rng.uniform(0.1, 0.9, (count, 1)) * duration
    sd_s = rng.uniform(0.035, 0.075, (count, 1)) * duration
    amplitudes = rng.normal(0, 0.06, (count, 3)) @ body.projection.T + rng.normal(0, 0.045, (count, 8))
    return np.concatenate([centre_s, sd_s, amplitudes], axis=1)


def _right_bundle(body: Body, septal: np.ndarray, main: np.ndarray, basal: np.ndarray) -> list[np.ndarray]:
    """Normal first 80 ms, then slowly to the right and the front: rsR' in V1, broad S in I and V6."""
    complete = body.findings.has("right_bundle_branch_block")
    strength = body.findings.of("right_bundle_branch_block") + body.findings.of(
        "incomplete_right_bundle_branch_block"
    )
    late = 0.75 + 0.5 * strength if complete else 0.12 + 0.30 * strength
    terminal = np.array([-0.45, body.rng.normal(0.05, 0.15), -0.60]) * late * np.clip(body.size, 0.6, 1.3)
    duration = body.activation_s
    early = 0.078 * duration / body.qrs_s
    width = 0.13 if complete else 0.11
    return [
        np.r_[0.20 * early, 0.13 * early, body.lead(septal)],
        np.r_[0.50 * early, 0.15 * early, main],
        np.r_[0.80 * early, 0.13 * early, body.lead(basal * (0.4 if complete else 0.8))],
        np.r_[0.80 * duration, width * duration, body.lead(terminal)],
    ]


def _left_bundle(body: Body) -> Pulses:
    """Slow, notched, to the left and the back; no septal q, QS or rS in V1-V3."""
    rng, duration = body.rng, body.activation_s
    complete = body.findings.has("left_bundle_branch_block")
    axis = rng.uniform(-50, 65)
    size = body.size * (rng.uniform(0.9, 1.35) if complete else rng.uniform(0.85, 1.1))
    back = rng.uniform(1.2, 2.1)
    first = heart_vector(axis + 20, 0.45, 0.35 * back - 0.15 * rng.random()) * size
    middle = heart_vector(axis, 0.75, 0.9 * back) * size
    last = heart_vector(axis - 10, 0.65 if complete else 0.3, 0.55 * back) * size
    return np.stack(
        [
            np.r_[0.25 * duration, 0.12 * duration, body.lead(first)],
            np.r_[0.46 * duration, 0.13 * duration, body.lead(middle)],
            np.r_[0.74 * duration, 0.12 * duration, body.lead(last)],
        ]
    )


def _infarct(body: Body, qrs: Pulses) -> None:
    """Lost forces: a Q wave and a smaller R in the leads that look at the wall (in place)."""
    for name, region in body.findings.region.items():
        if not name.endswith("_infarction"):
            continue
        seen = REGIONS[region] * (1 + body.rng.normal(0, 0.15, 8))
        depth = 0.3 + 0.7 * body.findings.of(name)
        if body.findings.stage == "acute":
            depth *= body.rng.uniform(0.1, 0.9)
        loss = np.clip(np.abs(seen) * depth, 0, 1)
        # The first pulse turns negative in that wall's leads, the main one shrinks where it was upright.
        qrs[0, 2:] = qrs[0, 2:] * (1 - loss) - 0.38 * depth * seen * np.clip(body.size, 0.6, 1.3)
        qrs[0, 1] *= 1 + 0.45 * depth
        upright = np.where(np.sign(qrs[1, 2:]) == np.sign(seen), 1.0, 0.0)
        qrs[1, 2:] *= 1 - 0.6 * loss * upright
        if region in ("septal", "anteroseptal", "anterior"):
            qrs[1, 2:] -= 0.35 * depth * np.clip(seen, 0, 1) * body.size


def wide_beat(body: Body) -> Pulses:
    """A beat from the ventricles (ectopic, escape or paced): wide, the T wave points the other way."""
    rng = body.rng
    paced = body.findings.rhythm == "paced_rhythm"
    duration = 0.92 * rng.uniform(0.13, 0.185)
    if paced:
        angle, back = (
            (rng.uniform(-95, -45) if rng.random() < 0.8 else rng.uniform(40, 90)),
            rng.uniform(0.4, 1.2),
        )
    else:
        angle, back = (
            rng.uniform(-130, 150),
            rng.choice([-1.0, 1.0], p=[0.5, 0.5]) * rng.uniform(0.3, 1.3),
        )
    size = rng.uniform(0.8, 1.5)
    first = heart_vector(angle, 0.9, back) * size
    turn = rng.normal(0, 45) if not paced else rng.normal(0, 20)
    last = heart_vector(angle + turn, rng.uniform(0.2, 0.8), back * rng.uniform(-0.2, 0.8)) * size
    qrs = np.stack(
        [
            np.r_[0.34 * duration, 0.16 * duration, body.lead(first)],
            np.r_[0.70 * duration, 0.14 * duration, body.lead(last)],
        ]
    )
    qrs = np.concatenate([qrs, _fast(body, duration, 4)])
    area = (qrs[:, 2:] * qrs[:, 1:2]).sum(0) / 0.012
    sd = rng.uniform(0.045, 0.065)
    peak = max(body.qt_s, duration + 0.2) + 0.02 - 1.6 * sd
    st_t = np.stack(
        [
            np.r_[peak, sd, -rng.uniform(0.09, 0.17) * area],
            np.r_[(duration + peak) / 2, 0.05, -rng.uniform(0.02, 0.05) * area],
        ]
    )
    return np.concatenate([qrs, st_t])
