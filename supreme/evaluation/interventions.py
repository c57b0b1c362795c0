"""Interventions: change one sign of normal ECGs, and see which queries of a model rise.

A score on a test set cannot tell whether a model reads a sign or what usually stands beside it. Here one sign
is changed in otherwise unchanged records: the query that names it must rise, and more than unrelated ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict

from supreme import log
from supreme.evaluation.handmade_features import RATE_HZ as RATE_HZ
from supreme.evaluation.sign_changes import (
    Change,
    landmarks,
    lengthen_pr,
    scale_limb_qrs,
    shift_st,
    turn_limb_leads,
    turn_t,
    widen_qrs,
)
from supreme.records.simulated import SimulatedSource
from supreme.signal import resample

#: Logits `(B, Q)` of ECGs `(B, 12, T)` in mV at a rate, for queries.
Logits = Callable[[np.ndarray, float, Sequence[str]], np.ndarray]

logger = log.get("evaluation")


@dataclass(frozen=True)
class Intervention:
    """One change of a record ``(12, T)``, and the conditions that name it."""

    name: str
    condition: str
    """The entity whose query must rise."""
    related: tuple[str, ...]
    """Entities that may rise as well: parents, and what a reader could call the same sign."""
    change: Change


class InterventionEffect(BaseModel):
    """How the queries of a model answered an intervention, over all records."""

    model_config = ConfigDict(frozen=True)

    name: str
    condition: str
    records: int
    rise: float
    """Mean change of the logit of the condition."""
    rises: float
    """Share of the records in which it rose."""
    rank: int
    """Place of the condition among all unrelated queries by their mean change: 1 is the largest."""
    queries: int
    largest_other: str
    largest_other_rise: float

    @property
    def passes(self) -> bool:
        """The condition rises, in most records, and is among the first tenth of all queries."""
        return self.rise > 0 and self.rises > 0.5 and self.rank <= max(1, self.queries // 10)


#: Every intervention, with what a reader would call its effect.
INTERVENTIONS = (
    Intervention(
        "limb leads turned by 90 degrees",
        "right_axis_deviation",
        ("left_posterior_fascicular_block", "right_ventricular_hypertrophy"),
        turn_limb_leads(90),
    ),
    Intervention(
        "limb leads turned by -90 degrees",
        "left_axis_deviation",
        ("left_anterior_fascicular_block",),
        turn_limb_leads(-90),
    ),
    Intervention("QRS of the limb leads x 0.45", "low_qrs_voltage", (), scale_limb_qrs(0.45)),
    Intervention("PR longer by 90 ms", "first_degree_av_block", ("av_block",), lengthen_pr(0.09)),
    Intervention(
        "QRS stretched by 1.7",
        "wide_qrs",
        (
            *("intraventricular_conduction_delay", "bundle_branch_block", "left_bundle_branch_block"),
            *("right_bundle_branch_block", "incomplete_left_bundle_branch_block"),
            *("incomplete_right_bundle_branch_block", "ventricular_preexcitation"),
        ),
        widen_qrs(1.7),
    ),
    Intervention(
        "T inverted in the lateral leads",
        "lateral_t_wave_inversion",
        (
            "t_wave_inversion",
            "nonspecific_st_t_abnormality",
            "myocardial_ischemia",
            "left_ventricular_strain",
        ),
        turn_t("lateral", -1.0),
    ),
    Intervention(
        "ST raised in the inferior leads",
        "inferior_st_elevation",
        ("st_elevation", "inferior_infarction", "myocardial_infarction"),
        shift_st("inferior", 0.2),
    ),
    Intervention(
        "ST lowered in the lateral leads",
        "lateral_st_depression",
        ("st_depression", "myocardial_ischemia", "left_ventricular_strain", "nonspecific_st_t_abnormality"),
        shift_st("lateral", -0.15),
    ),
)


def normal_ecgs(count: int = 100, seed: int = 1_000_003) -> np.ndarray:
    """Simulated normal ECGs ``(count, 12, T)`` in millivolts at :data:`RATE_HZ`, of a seed of their own."""
    source, records = SimulatedSource("normal", 20 * count, seed, rate_hz=RATE_HZ), []
    for entry in source.index():
        record = source.read(entry)
        if "normal_ecg" in record.entry.codes:
            records.append(record.signal_mv)
        if len(records) == count:
            break
    return np.stack(records)


def show(rows: Sequence[InterventionEffect]) -> None:
    """Log a line for each intervention."""
    for row in rows:
        logger.info(
            "%s %-33s %-26s %+.2f, up in %3.0f %%, place %d of %d; next %s %+.2f",
            "passes" if row.passes else "FAILS ",
            row.name,
            row.condition,
            row.rise,
            100 * row.rises,
            row.rank,
            row.queries,
            row.largest_other,
            row.largest_other_rise,
        )


def effects(
    logits: Logits,
    ecg_mv: np.ndarray,
    rate_hz: float,
    queries: Sequence[str],
    interventions: Sequence[Intervention] = INTERVENTIONS,
) -> list[InterventionEffect]:
    """How queries answer each intervention on normal ECGs ``(B, 12, T)`` in millivolts.

    Args:
        queries: ids of entities, all of which are asked; interventions of other entities are left out.

    Raises:
        ValueError: no record shows its beats.
    """
    records = [np.asarray(resample(ecg, rate_hz, RATE_HZ), np.float32) for ecg in ecg_mv]
    marked = [(ecg, marks) for ecg in records if (marks := landmarks(ecg)) is not None]
    if not marked:
        raise ValueError("no record shows three whole beats to change: give longer ECGs")
    before = logits(np.stack([ecg for ecg, _ in marked]), RATE_HZ, queries)
    rows = []
    for one in interventions:
        if one.condition in queries:
            changed = np.stack([one.change(ecg, marks) for ecg, marks in marked]).astype(np.float32)
            rows.append(_effect(one, logits(changed, RATE_HZ, queries) - before, queries))
    return rows


def _effect(one: Intervention, change: np.ndarray, queries: Sequence[str]) -> InterventionEffect:
    mean, place = change.mean(0), queries.index(one.condition)
    others = [at for at, query in enumerate(queries) if query != one.condition and query not in one.related]
    largest = max(others, key=lambda at: mean[at], default=place)
    return InterventionEffect(
        name=one.name,
        condition=one.condition,
        records=len(change),
        rise=float(mean[place]),
        rises=float((change[:, place] > 0).mean()),
        rank=1 + int(sum(mean[at] > mean[place] for at in others)),
        queries=len(others) + 1,
        largest_other=queries[largest],
        largest_other_rise=float(mean[largest]),
    )
