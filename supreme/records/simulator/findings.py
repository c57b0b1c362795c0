"""Which findings a simulated patient has: drawn with realistic co-occurrence, each with a severity."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

#: Basic rhythm and how often it is drawn.
RHYTHMS = {
    "sinus_rhythm": 0.50,
    "sinus_bradycardia": 0.085,
    "sinus_tachycardia": 0.085,
    "atrial_fibrillation": 0.085,
    "atrial_flutter": 0.045,
    "supraventricular_tachycardia": 0.03,
    "atrial_tachycardia": 0.025,
    "junctional_rhythm": 0.025,
    "ventricular_tachycardia": 0.015,
    "paced_rhythm": 0.04,
    "second_degree_av_block": 0.03,
    "third_degree_av_block": 0.025,
}
SINUS = ("sinus_rhythm", "sinus_bradycardia", "sinus_tachycardia")
WIDE = {
    "left_bundle_branch_block",
    "right_bundle_branch_block",
    "intraventricular_conduction_delay",
    "ventricular_preexcitation",
}
#: Kind of infarction -> the regions whose walls it can take.
INFARCTIONS = {
    "anteroseptal_infarction": ("septal", "anteroseptal"),
    "anterior_infarction": ("anterior", "anterolateral"),
    "inferior_infarction": ("inferior",),
    "lateral_infarction": ("lateral",),
    "posterior_infarction": ("posterior",),
}
#: Region of an ST or T change as it is reported.
REPORTED_REGION = {
    "septal": "anterior",
    "anteroseptal": "anterior",
    "anterior": "anterior",
    "anterolateral": "lateral",
    "lateral": "lateral",
    "inferior": "inferior",
}


@dataclass
class Findings:
    """What is there to see: finding -> severity in (0, 1], plus where."""

    rhythm: str
    age: float
    sex: str
    severity: dict[str, float] = field(default_factory=dict)
    region: dict[str, str] = field(default_factory=dict)
    """Finding -> region of the left ventricle."""
    stage: str = ""
    """Of an infarction: acute, recent or old."""

    def has(self, *names: str) -> bool:
        """Whether one of these is there."""
        return any(name in self.severity for name in names)

    def of(self, name: str) -> float:
        """Severity of a finding, 0 where it is not there."""
        return self.severity.get(name, 0.0)


def draw(rng: np.random.Generator) -> Findings:
    """A patient with a rhythm, a conduction, an axis, chambers, an infarction and an ST-T state."""
    rhythm = _choose(rng, RHYTHMS)
    burden = _choose(rng, {"none": 0.33, "one": 0.25, "many": 0.42})
    age = rng.normal(52, 17) if burden == "none" else rng.normal(65, 14)
    findings = Findings(rhythm, age=float(np.clip(age, 18, 95)), sex="F" if rng.random() < 0.48 else "M")
    _add(findings, rng, rhythm, 1.0)
    if rhythm in SINUS and rng.random() < 0.13 and rhythm != "sinus_tachycardia":
        _add(findings, rng, "sinus_arrhythmia")
    systems = (_conduction, _chambers, _infarction, _repolarisation, _ectopy)
    if rhythm in ("paced_rhythm", "ventricular_tachycardia"):
        _ectopy(findings, rng)
    elif burden == "one":
        # A single thing is wrong in an otherwise healthy heart.
        _until_changed(findings, rng, systems[int(rng.choice(len(systems), p=(0.32, 0.2, 0.18, 0.2, 0.1)))])
    elif burden == "many":
        for system in systems:
            system(findings, rng)
    elif rng.random() < 0.08:
        _add(findings, rng, "early_repolarization")
    return findings


def _until_changed(
    findings: Findings, rng: np.random.Generator, system: Callable[[Findings, np.random.Generator], None]
) -> None:
    before = len(findings.severity)
    for _ in range(20):
        system(findings, rng)
        if len(findings.severity) > before:
            return


def _choose(rng: np.random.Generator, weights: dict[str, float]) -> str:
    names = list(weights)
    shares = np.array(list(weights.values()))
    return names[int(rng.choice(len(names), p=shares / shares.sum()))]


def _add(findings: Findings, rng: np.random.Generator, name: str, severity: float | None = None) -> None:
    findings.severity[name] = float(rng.uniform(0.15, 1.0)) if severity is None else severity


def _conduction(findings: Findings, rng: np.random.Generator) -> None:
    if findings.rhythm in (*SINUS, "atrial_tachycardia") and rng.random() < 0.12:
        _add(findings, rng, "first_degree_av_block")
    bundle = _choose(
        rng,
        {
            "": 0.60,
            "left_bundle_branch_block": 0.07,
            "right_bundle_branch_block": 0.09,
            "incomplete_right_bundle_branch_block": 0.08,
            "incomplete_left_bundle_branch_block": 0.03,
            "intraventricular_conduction_delay": 0.06,
            "ventricular_preexcitation": 0.035 if findings.rhythm in SINUS else 0.0,
        },
    )
    if bundle == "ventricular_preexcitation":
        findings.severity.pop("first_degree_av_block", None)
    if bundle:
        _add(findings, rng, bundle)
    if bundle in (
        "left_bundle_branch_block",
        "incomplete_left_bundle_branch_block",
        "ventricular_preexcitation",
    ):
        return
    axis = _choose(
        rng,
        {
            "": 0.66,
            "left_anterior_fascicular_block": 0.13,
            "left_posterior_fascicular_block": 0.035,
            "left_axis_deviation": 0.10,
            "right_axis_deviation": 0.08,
        },
    )
    if axis:
        _add(findings, rng, axis)


def _chambers(findings: Findings, rng: np.random.Generator) -> None:
    blocked = findings.has("left_bundle_branch_block", "ventricular_preexcitation")
    if not blocked:
        chamber = _choose(
            rng,
            {
                "": 0.70,
                "left_ventricular_hypertrophy": 0.15,
                "right_ventricular_hypertrophy": 0.06
                if not findings.has("left_anterior_fascicular_block")
                else 0.01,
                "low_qrs_voltage": 0.08,
                "high_qrs_voltage": 0.04,
            },
        )
        if chamber:
            _add(findings, rng, chamber)
        if chamber == "left_ventricular_hypertrophy" and rng.random() < 0.5:
            _add(findings, rng, "left_ventricular_strain")
        if chamber == "right_ventricular_hypertrophy":
            for other in ("left_axis_deviation", "left_anterior_fascicular_block", "right_axis_deviation"):
                findings.severity.pop(other, None)
            if rng.random() < 0.8:
                _add(findings, rng, "right_axis_deviation")
    if findings.rhythm in SINUS:
        if rng.random() < (0.3 if findings.has("left_ventricular_hypertrophy") else 0.09):
            _add(findings, rng, "left_atrial_enlargement")
        if rng.random() < (0.35 if findings.has("right_ventricular_hypertrophy") else 0.06):
            _add(findings, rng, "right_atrial_enlargement")


def _infarction(findings: Findings, rng: np.random.Generator) -> None:
    if findings.has("left_bundle_branch_block", "ventricular_preexcitation") or rng.random() > 0.30:
        if not findings.has("left_bundle_branch_block") and rng.random() < 0.09:
            _add(findings, rng, "poor_r_wave_progression")
        return
    kinds = {
        "inferior_infarction": 0.42,
        "anteroseptal_infarction": 0.30,
        "anterior_infarction": 0.20,
        "lateral_infarction": 0.10,
        "posterior_infarction": 0.05,
    }
    kind = _choose(rng, kinds)
    names = {kind}
    if rng.random() < 0.2:
        names.add(_choose(rng, kinds))
    findings.stage = _choose(rng, {"old": 0.62, "recent": 0.23, "acute": 0.15})
    for name in sorted(names):
        _add(findings, rng, name)
        findings.region[name] = str(rng.choice(INFARCTIONS[name]))


def _repolarisation(findings: Findings, rng: np.random.Generator) -> None:
    if findings.has("left_bundle_branch_block", "ventricular_preexcitation", "left_ventricular_strain"):
        return
    if findings.stage != "acute":
        change = _choose(
            rng,
            {
                "": 0.46,
                "nonspecific_st_t_abnormality": 0.12,
                "t_wave_inversion": 0.11,
                "st_depression": 0.11,
                "myocardial_ischemia": 0.08,
                "low_t_wave": 0.07,
                "tall_t_wave": 0.03,
                "st_elevation": 0.035,
            },
        )
        if change:
            _add(findings, rng, change)
            regions = ("anterior", "anterolateral", "lateral", "inferior", "anteroseptal")
            findings.region[change] = str(rng.choice(regions, p=(0.2, 0.25, 0.2, 0.25, 0.1)))
    if rng.random() < 0.09:
        _add(findings, rng, "long_qt")
    elif rng.random() < 0.02:
        _add(findings, rng, "short_qt")


def _ectopy(findings: Findings, rng: np.random.Generator) -> None:
    if findings.rhythm in SINUS and rng.random() < 0.13:
        _add(findings, rng, "atrial_premature_complex")
    if findings.rhythm != "ventricular_tachycardia" and rng.random() < 0.15:
        bigeminy = (
            findings.rhythm in SINUS and not findings.has("atrial_premature_complex") and rng.random() < 0.2
        )
        _add(findings, rng, "ventricular_premature_complex")
        if bigeminy:
            _add(findings, rng, "ventricular_bigeminy")
