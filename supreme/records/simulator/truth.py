"""The condition ids that are true of a simulated ECG, including what a finding implies for the eye."""

from __future__ import annotations

import numpy as np

from supreme.records.simulator.beats import Heart
from supreme.records.simulator.findings import REPORTED_REGION, Findings
from supreme.records.simulator.rhythm import Beats

#: Finding -> what else can be read from the same ECG.
_IMPLIES = {
    "left_bundle_branch_block": ("bundle_branch_block", "wide_qrs"),
    "right_bundle_branch_block": ("bundle_branch_block", "wide_qrs"),
    "incomplete_right_bundle_branch_block": ("bundle_branch_block",),
    "incomplete_left_bundle_branch_block": ("bundle_branch_block",),
    "first_degree_av_block": ("av_block",),
    "second_degree_av_block": ("av_block", "irregular_rhythm"),
    "third_degree_av_block": ("av_block",),
    "atrial_fibrillation": ("irregular_rhythm", "absent_p_wave"),
    "atrial_flutter": ("absent_p_wave",),
    "supraventricular_tachycardia": ("absent_p_wave",),
    "ventricular_tachycardia": ("wide_qrs",),
    "paced_rhythm": ("wide_qrs",),
    "left_ventricular_strain": (
        "lateral_st_depression",
        "lateral_t_wave_inversion",
        "st_depression",
        "t_wave_inversion",
    ),
    "anterior_infarction": ("myocardial_infarction",),
    "anteroseptal_infarction": ("myocardial_infarction", "anterior_infarction"),
    "inferior_infarction": ("myocardial_infarction",),
    "lateral_infarction": ("myocardial_infarction",),
    "posterior_infarction": ("myocardial_infarction",),
}
_FAST, _SLOW = 100.0, 60.0


def conditions(findings: Findings, beats: Beats, heart: Heart, duration_s: float) -> tuple[str, ...]:
    """Sorted condition ids."""
    true = set(findings.severity)
    for name in findings.severity:
        true.update(_IMPLIES.get(name, ()))
        true.update(_regional(findings, name))
    ventricular = sorted(t for t in (*beats.qrs, *beats.aberrant) if 0 <= t < duration_s)
    if len(ventricular) > 2:
        rate = 60 / float(np.mean(np.diff(ventricular)))
        # A rate just below 60 is called a normal sinus rhythm by most readers.
        slow = rate < _SLOW and findings.rhythm != "sinus_rhythm"
        true.update({"tachycardia"} if rate > _FAST else {"bradycardia"} if slow else ())
    ventricular_only = findings.rhythm in ("paced_rhythm", "ventricular_tachycardia")
    if heart.qrs_s >= 0.12 and not ventricular_only:
        true.add("wide_qrs")
    if not ventricular_only and not findings.has("left_bundle_branch_block"):
        true.update({"left_axis_deviation"} if heart.axis_deg < -30 else ())
        true.update({"right_axis_deviation"} if heart.axis_deg > 95 else ())
    if findings.stage == "old" and any(
        findings.of(name) > 0.35
        for name in findings.region
        if name.endswith("_infarction") and name[:4] != "post"
    ):
        true.add("abnormal_q_wave")
    # Ectopic beats are true only where one falls into the recording.
    if not any(0.1 < t < duration_s - 0.15 for t in beats.aberrant):
        true -= {"ventricular_premature_complex", "ventricular_bigeminy"}
    if not any(0 < t < duration_s for t in beats.ectopic_p):
        true -= {"atrial_premature_complex"}
    if _is_normal(true):
        true.add("normal_ecg")
    return tuple(sorted(true))


def _is_normal(true: set[str]) -> bool:
    return "sinus_rhythm" in true and true <= {"sinus_rhythm", "sinus_arrhythmia", "early_repolarization"}


def _regional(findings: Findings, name: str) -> tuple[str, ...]:
    region = REPORTED_REGION.get(findings.region.get(name, ""), "")
    if not region:
        return (
            ("anterior_st_depression", "st_depression")
            if name == "posterior_infarction" and findings.stage == "acute"
            else ()
        )
    if name in ("t_wave_inversion", "st_depression", "st_elevation"):
        return (f"{region}_{name}",)
    if name == "myocardial_ischemia":
        return ("t_wave_inversion", "st_depression", f"{region}_t_wave_inversion", f"{region}_st_depression")
    if name.endswith("_infarction"):
        change = {"acute": "st_elevation", "recent": "t_wave_inversion", "old": ""}[findings.stage]
        return (change, f"{region}_{change}") if change else ()
    return ()
