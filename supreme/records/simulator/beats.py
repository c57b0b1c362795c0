"""What a beat looks like: P wave, QRS, ST segment and T wave as Gaussian pulses in the leads I, II, V1-V6."""

from __future__ import annotations

import numpy as np

from supreme.records.simulator.body import Body, Pulses, draw_body
from supreme.records.simulator.findings import Findings
from supreme.records.simulator.leads import heart_vector
from supreme.records.simulator.qrs import conducted, wide_beat
from supreme.records.simulator.repolarisation import st_t

#: The atria are seen weaker by V1-V6 than one dipole on Dower's torso says; I, II, V1..V6.
_ATRIAL_GAIN = np.array([1.0, 0.85, 0.75, 0.6, 0.4, 0.33, 0.3, 0.33])


class Heart:
    """The waves of one patient, before leads are perturbed and noise is added."""

    def __init__(self, findings: Findings, rr_s: float, rng: np.random.Generator) -> None:
        """Draw the waves; ``rr_s``: typical RR interval, on which the QT interval depends."""
        body = draw_body(findings, rr_s, rng)
        self.axis_deg, self.qrs_s = body.axis_deg, body.qrs_s
        self.p = _p_wave(body, heart_vector(rng.normal(55, 15), 1, 0), findings)
        self.ectopic_p = _p_wave(body, heart_vector(rng.choice([-70, -20, 100, 150, 30]), 1, 0), None)
        self.retrograde_p = _p_wave(body, heart_vector(rng.normal(-90, 15), 1, 0), None)
        main = conducted(body)
        self.qrs: Pulses = np.concatenate([main, st_t(body, main)])
        self.aberrant = wide_beat(body)


def _p_wave(body: Body, direction: np.ndarray, findings: Findings | None) -> Pulses:
    """Right atrium first (forward, to the feet), left atrium after it (left, to the back)."""
    rng = body.rng
    size, width_s, delay_s, back, right_gain = rng.uniform(0.07, 0.15), 0.021, 0.030, 0.05, 1.0
    if findings is not None and findings.has("left_atrial_enlargement"):
        strength = 0.4 + 0.6 * findings.of("left_atrial_enlargement")
        width_s, delay_s, back = (
            0.023 + 0.003 * strength,
            0.040 + 0.028 * strength,
            0.08 + 0.12 * strength,
        )
        size *= 1 + 0.3 * strength
    if findings is not None and findings.has("right_atrial_enlargement"):
        right_gain = 1.9 + 1.2 * findings.of("right_atrial_enlargement")
    seen = body.projection * _ATRIAL_GAIN[:, None]
    right = direction * size * 0.75 * right_gain + np.array([0, 0.02 * right_gain, -0.05 * right_gain])
    left = direction * size * 0.75 + np.array([0.03, 0, back * rng.uniform(0.7, 1.3)])
    return np.stack(
        [
            np.r_[0.030, width_s, seen @ right],
            np.r_[0.030 + delay_s, width_s * 1.1, seen @ left],
        ]
    )
