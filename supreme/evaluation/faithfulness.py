"""Does a map explain a score? Deletion and insertion against random windows of the same size.

Source: RISE (Petsiuk, Das and Saenko 2018, arXiv 1806.07421), with windows of time for pixels. Windows are
erased in the order of the map, and the score should fall faster than with windows in a random order; written
into an erased ECG in that order, it should rise faster.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict
from scipy import stats

from supreme.evaluation.explanation import WINDOW_S, QueryScorer, erase, score_all

#: Shares of the windows that are erased or inserted.
SHARES = (0.05, 0.1, 0.2, 0.3, 0.5)
RANDOM_ORDERS = 8
MIN_PATIENTS = 5


class Advantage(BaseModel):
    """How much more a map changes the score than random windows do, mean over patients."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean: float
    low: float | None
    """Of the 95 % t interval over patients; None below :data:`MIN_PATIENTS`."""
    high: float | None


class Faithfulness(BaseModel):
    """Whether one kind of map may be called an explanation of a model's scores."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str
    ecgs: int
    patients: int
    window_s: float
    deletion: Advantage
    """More fall of the score."""
    insertion: Advantage
    """More rise of the score."""

    @property
    def is_explanation(self) -> bool:
        """Both intervals lie above zero."""
        return all(part.low is not None and part.low > 0 for part in (self.deletion, self.insertion))

    @property
    def caption(self) -> str:
        """What a page may say about the map."""
        if self.is_explanation:
            return (
                f"{self.method}: what the score depends on, by deletion and insertion over {self.ecgs} ECGs"
            )
        if self.patients < MIN_PATIENTS:
            return f"{self.method}: no explanation; {self.patients} patients are too few to test it"
        return f"{self.method}: no explanation; random windows change the score as much"


def advantages(
    scorer: QueryScorer,
    ecg_mv: np.ndarray,
    rate_hz: float,
    importance: np.ndarray,
    rng: np.random.Generator,
    window_s: float = WINDOW_S,
) -> tuple[float, float]:
    """Of one ECG ``(12, T)``: how much more the map ``(T,)`` deletes, and inserts, than random windows.

    Both are means over :data:`SHARES`, in units of the score.

    Raises:
        ValueError: the map has another length than the ECG, or is not finite.
    """
    if importance.shape != ecg_mv.shape[1:] or not np.isfinite(importance).all():
        raise ValueError(f"a map {importance.shape} that is not finite for each of {ecg_mv.shape[1]} samples")
    window_of = (np.arange(ecg_mv.shape[1]) / rate_hz / window_s).astype(int)
    windows = int(window_of[-1]) + 1
    totals = np.bincount(window_of, importance, windows)
    # A constant map says nothing: equal windows come in a random order.
    orders = [rng.permutation(windows) for _ in range(RANDOM_ORDERS + 1)]
    orders[0] = orders[0][np.argsort(-totals[orders[0]], kind="stable")]
    counts = sorted({max(1, round(share * windows)) for share in SHARES})
    masks = [np.isin(window_of, order[:count]) for order in orders for count in counts]
    deleted = score_all(scorer, [erase(ecg_mv, mask) for mask in masks], rate_hz)
    inserted = score_all(scorer, [erase(ecg_mv, ~mask) for mask in masks], rate_hz)
    # Means over shares, for each order; the map's is first.
    fall = -deleted.reshape(len(orders), -1).mean(axis=1)
    rise = inserted.reshape(len(orders), -1).mean(axis=1)
    return float(fall[0] - fall[1:].mean()), float(rise[0] - rise[1:].mean())


def faithfulness(
    method: str, per_ecg: Sequence[tuple[float, float]], patients: Sequence[str], window_s: float = WINDOW_S
) -> Faithfulness:
    """Sum up :func:`advantages` of the ECGs of some patients.

    Raises:
        ValueError: there is no ECG.
    """
    if not per_ecg:
        raise ValueError(f"{method}: no ECG to test the map on")
    names, patient_of = np.unique(np.asarray(patients), return_inverse=True)
    values = np.array(per_ecg, np.float64)
    deletion, insertion = (
        _advantage(np.bincount(patient_of, column) / np.bincount(patient_of)) for column in values.T
    )
    return Faithfulness(
        method=method,
        ecgs=len(values),
        patients=len(names),
        window_s=window_s,
        deletion=deletion,
        insertion=insertion,
    )


def _advantage(by_patient: np.ndarray) -> Advantage:
    mean, count = float(by_patient.mean()), len(by_patient)
    if count < MIN_PATIENTS:
        return Advantage(mean=mean, low=None, high=None)
    half = float(stats.t.ppf(0.975, count - 1) * by_patient.std(ddof=1) / np.sqrt(count))
    return Advantage(mean=mean, low=mean - half, high=mean + half)
