"""What one measurement says of a condition, without any fitting: a floor for every model that reads ECGs.

The rules are those of the textbooks: PR for a first-degree block, the axis from the net areas in I and aVF,
the Sokolow-Lyon and Cornell voltages over their limits, the lowest ST segment, and so on.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from supreme.evaluation.handmade_features import FEATURES
from supreme.metrics.rankings import auroc, rank

#: From measurements ``(N, F)`` to scores ``(N,)``: the larger, the more likely.
Sign = Callable[[np.ndarray], np.ndarray]
_ST_LEADS, _T_LEADS = (
    ("I", "II", "aVL", "aVF", "V2", "V3", "V4", "V5", "V6"),
    ("I", "II", "V3", "V4", "V5", "V6"),
)


def auroc_of(condition: str, values: np.ndarray, present: np.ndarray) -> float | None:
    """AUROC of a condition's measurement; None where it has none, or where one of the two groups is empty.

    Args:
        values: measurements ``(N, F)`` as `FEATURES`; a record without one counts as the middle one.
        present: bool ``(N,)``.
    """
    if condition not in SIGNS or present.all() or not present.any():
        return None
    scores = SIGNS[condition](values)
    if not np.isfinite(scores).any():
        return None
    scores = np.where(np.isfinite(scores), scores, np.nanmedian(scores))
    return float(auroc(rank(scores, present.astype(np.int8)))[0])


def _of(name: str, sign: float = 1.0) -> Sign:
    return lambda values: sign * values[:, FEATURES.index(name)]


def _axis(sign: float) -> Sign:
    cos, sin = _of("qrs_axis_cos"), _of("qrs_axis_sin")
    return lambda values: sign * np.degrees(np.arctan2(sin(values), cos(values)))


def _least(leads: tuple[str, ...], name: str, sign: float) -> Sign:
    """The smallest of a measurement over leads, or of its negative."""
    places = [FEATURES.index(f"{lead}_{name}") for lead in leads]
    return lambda values: -(sign * values[:, places]).min(axis=1)


def _hypertrophy(values: np.ndarray) -> np.ndarray:
    """Sokolow-Lyon over 3.5 mV or Cornell over 2.4 mV, whichever is more."""
    return np.maximum(_of("sokolow_lyon_mv")(values) / 3.5, _of("cornell_mv")(values) / 2.4)


#: Condition -> its measurement.
SIGNS: dict[str, Sign] = {
    "first_degree_av_block": _of("pr_s"),
    "left_axis_deviation": _axis(-1),
    "left_anterior_fascicular_block": _axis(-1),
    "right_axis_deviation": _axis(1),
    "left_posterior_fascicular_block": _axis(1),
    "left_ventricular_hypertrophy": _hypertrophy,
    "low_qrs_voltage": _of("largest_limb_mv", -1),
    "high_qrs_voltage": _of("largest_chest_mv"),
    "inferior_infarction": _least(("III", "aVF"), "q_mv", 1),
    "anterior_infarction": _least(("V2", "V3", "V4"), "r_mv", 1),
    "anteroseptal_infarction": _least(("V1", "V2", "V3"), "r_mv", 1),
    "st_depression": _least(_ST_LEADS, "st_mv", 1),
    "st_elevation": _least(_ST_LEADS, "st_mv", -1),
    "t_wave_inversion": _least(_T_LEADS, "t_mv", 1),
    "wide_qrs": _of("qrs_s"),
    "intraventricular_conduction_delay": _of("qrs_s"),
    "left_bundle_branch_block": _of("qrs_s"),
    "right_bundle_branch_block": _of("qrs_s"),
    "long_qt": _of("qtc_fridericia_s"),
    "short_qt": _of("qtc_fridericia_s", -1),
    "sinus_bradycardia": _of("rate_per_minute", -1),
    "bradycardia": _of("rate_per_minute", -1),
    "sinus_tachycardia": _of("rate_per_minute"),
    "tachycardia": _of("rate_per_minute"),
    "atrial_fibrillation": _of("rr_variation"),
    "sinus_arrhythmia": _of("rr_variation"),
    "ventricular_premature_complex": _of("odd_beats"),
    "paced_rhythm": _of("sharpest_bend"),
}
