"""The heart and chest of one simulated patient: what all of its waves have in common."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from supreme.records.simulator.findings import Findings
from supreme.records.simulator.leads import DOWER, heart_vector

Pulses = np.ndarray
"""Rows ``(centre_s, sd_s, *amplitude_mv[8])``: Gaussian pulses in I, II, V1-V6, from the onset of a wave."""


#: The whole QRS goes one way, so that limb and chest leads agree on it.
_ONE_DIPOLE = ("left_bundle_branch_block", "ventricular_preexcitation", "right_ventricular_hypertrophy")


@dataclass(frozen=True)
class Body:
    """What the waves of one patient are made from."""

    findings: Findings
    rng: np.random.Generator
    projection: np.ndarray
    """``(8, 3)``: I, II, V1-V6 from a heart vector, for this torso and these electrodes."""
    detail: np.random.Generator
    """For what no finding decides: small waves and levels. Findings and rhythm do not depend on its draws."""
    axis_deg: float
    """Frontal axis of the QRS."""
    chest_axis_deg: float
    """Frontal angle from which V1-V6 see the main QRS vector: their electrodes are near the heart, and what
    the limbs see of it tells them little."""
    chest_weight: float
    """How much V1-V6 follow `chest_axis_deg`, and not `axis_deg`."""
    qrs_s: float
    """Nominal QRS duration, of which findings are named."""
    activation_s: float
    """The time over which the pulses of the QRS are spread: shorter, as each pulse fades in and out."""
    qt_s: float
    size: float
    """Of the QRS, relative to the usual one."""
    chest_gain: float
    """Size of the QRS in V1-V6, relative to that of the limb leads."""

    def lead(self, vector: np.ndarray) -> np.ndarray:
        """Amplitudes in I, II, V1-V6 of a heart vector ``(x, y, z)``, in millivolts."""
        amplitudes: np.ndarray = self.projection @ vector
        return amplitudes

    def lead_main(self, frontal_mv: float, back_mv: float) -> np.ndarray:
        """As `lead`, of a vector along the axis of the QRS, which V1-V6 see from an angle of their own."""
        seen = self.lead(heart_vector(self.axis_deg, frontal_mv, back_mv))
        of_chest = self.lead(heart_vector(self.chest_axis_deg, frontal_mv, back_mv))
        seen[2:] += self.chest_weight * (of_chest - seen)[2:]
        # The further left the axis, the higher the heart lies above V5 and V6.
        seen[6:] *= np.clip(1 + 0.004 * (self.axis_deg - 20), 0.7, 1.0) if self.chest_weight else 1.0
        return seen


def draw_body(findings: Findings, rr_s: float, rng: np.random.Generator) -> Body:
    """Draw a patient's body.

    Args:
        rr_s: typical RR interval, on which the QT interval depends.
    """
    projection = _projection(rng)
    axis_deg = _axis(findings, rng)
    qrs_s = _qrs_duration(findings, rng)
    qt_s = _qt(findings, rr_s, qrs_s, rng)
    size = _voltage(findings, rng)
    detail = rng.spawn(1)[0]
    return Body(
        findings,
        rng,
        projection,
        detail,
        axis_deg,
        chest_axis_deg=float(detail.normal(38, 14) + 0.12 * (axis_deg - 35)),
        chest_weight=0.0 if findings.has(*_ONE_DIPOLE) else float(detail.uniform(0.75, 1)),
        qrs_s=qrs_s,
        activation_s=qrs_s * float(detail.normal(_activation(findings), 0.05)),
        qt_s=qt_s,
        size=size,
        chest_gain=_chest_gain(findings, detail),
    )


def _projection(rng: np.random.Generator) -> np.ndarray:
    """Dower's matrix for another torso and other electrodes, with V3 and V4 nearer to what is recorded."""
    gain = np.array([1, 1, 1, 1, 0.85, 0.82, 0.92, 1]) * rng.lognormal(0, [0.03] * 2 + [0.16] * 6)
    return DOWER * gain[:, None] * (1 + rng.normal(0, 0.14, DOWER.shape)) + rng.normal(0, 0.04, DOWER.shape)


def _axis(findings: Findings, rng: np.random.Generator) -> float:
    if findings.has("left_anterior_fascicular_block"):
        return float(rng.uniform(-80, -45))
    if findings.has("left_posterior_fascicular_block"):
        return float(rng.uniform(100, 140))
    if findings.has("left_axis_deviation"):
        return float(-32 - 35 * findings.of("left_axis_deviation"))
    if findings.has("right_axis_deviation", "right_ventricular_hypertrophy"):
        return float(95 + 45 * max(findings.of("right_axis_deviation"), 0.3))
    shift = (findings.age - 45) * 0.8
    shift += 12 * findings.has("left_ventricular_hypertrophy") + 15 * findings.has("inferior_infarction")
    return float(np.clip(rng.normal(52 - shift, 25), -29, 90))


def _qrs_duration(findings: Findings, rng: np.random.Generator) -> float:
    wide = {
        "left_bundle_branch_block": (0.125, 0.175),
        "right_bundle_branch_block": (0.120, 0.160),
        "intraventricular_conduction_delay": (0.114, 0.150),
        "ventricular_preexcitation": (0.110, 0.150),
        "incomplete_left_bundle_branch_block": (0.104, 0.119),
        "incomplete_right_bundle_branch_block": (0.088, 0.112),
        "left_ventricular_hypertrophy": (0.088, 0.112),
    }
    for name, limits in wide.items():
        if findings.has(name):
            return float(limits[0] + (limits[1] - limits[0]) * rng.beta(1.3, 1.6))
    return float(np.clip(rng.normal(0.090, 0.008), 0.072, 0.108))


def _qt(findings: Findings, rr_s: float, qrs_s: float, rng: np.random.Generator) -> float:
    """Framingham correction: QT = QTc - 0.154 (1 - RR)."""
    corrected = rng.normal(0.395 if findings.sex == "M" else 0.405, 0.014)
    corrected = float(np.clip(corrected, 0.360, 0.435)) + 0.6 * max(0.0, qrs_s - 0.105)
    if findings.has("long_qt"):
        corrected = 0.475 + 0.095 * findings.of("long_qt")
    if findings.has("short_qt"):
        corrected = 0.345 - 0.035 * findings.of("short_qt")
    return float(max(corrected - 0.154 * (1 - min(rr_s, 1.4)), qrs_s + 0.14))


def _voltage(findings: Findings, rng: np.random.Generator) -> float:
    if findings.has("low_qrs_voltage"):
        return float(0.65 - 0.31 * findings.of("low_qrs_voltage"))
    if findings.has("high_qrs_voltage"):
        return float(1.55 + 0.6 * findings.of("high_qrs_voltage"))
    return float(np.clip(rng.lognormal(0.02, 0.24), 0.62, 1.5))


def _activation(findings: Findings) -> float:
    """Share of the nominal QRS duration over which the pulses are spread."""
    if findings.has("left_bundle_branch_block", "ventricular_preexcitation"):
        return 0.90
    return 0.74 if findings.has("intraventricular_conduction_delay") else 0.80


def _chest_gain(findings: Findings, rng: np.random.Generator) -> float:
    """Low voltage is read in the limb leads: in most patients that have it, the chest leads keep theirs."""
    if findings.has("low_qrs_voltage") and rng.random() < 0.8:
        return float(rng.uniform(1.1, 2.5))
    return 1.0
