"""Do two data sets measure alike? Hand-made measurements by condition, as quantiles and distances.

The Kolmogorov-Smirnov distance is the largest difference of two cumulative distributions: 0 where they
agree, 1 where they do not overlap. It shows what a model could learn from one data set that does not hold in
the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict
from scipy.stats import ks_2samp

from supreme import log
from supreme.config import ConfigError
from supreme.ecg import BadRecord, to_millivolts
from supreme.evaluation import textbook_signs
from supreme.evaluation.handmade_features import FEATURES, features
from supreme.preparation import check_record
from supreme.records import open_source
from supreme.reports.vocabulary import CODE_SYSTEMS, load_base
from supreme.settings.data import Source

ALL = "all records"
QUANTILES = (0.1, 0.5, 0.9)
#: Of a data set, spread evenly over its index: enough for quantiles, and measured in a minute.
MAX_RECORDS = 1500
MIN_RECORDS = 20

logger = log.get("measure")


@dataclass(frozen=True)
class MeasuredDataset:
    """Measurements of the records of one data set."""

    name: str
    values: np.ndarray
    """float32 ``(N, F)`` as :data:`FEATURES`; NaN where a record does not show one."""
    conditions: tuple[frozenset[str], ...]
    """Entities that the codes of each record name."""

    def of(self, condition: str) -> np.ndarray:
        """Measurements ``(M, F)`` of the records with a condition."""
        return self.values[self._rows(condition)]

    def sign_auroc(self, condition: str) -> float | None:
        """AUROC of the one measurement that a textbook names; None where it names none."""
        return textbook_signs.auroc_of(condition, self.values, self._rows(condition))

    def _rows(self, condition: str) -> np.ndarray:
        return np.array([condition == ALL or condition in present for present in self.conditions], bool)


class MeasurementRow(BaseModel):
    """One measurement in two data sets."""

    model_config = ConfigDict(frozen=True)

    measurement: str
    distance: float
    """Kolmogorov-Smirnov."""
    first: tuple[float, ...]
    """At :data:`QUANTILES`."""
    second: tuple[float, ...]


class ConditionRow(BaseModel):
    """The measurements of the records with one condition, the most different first."""

    model_config = ConfigDict(frozen=True)

    condition: str
    records: tuple[int, int]
    mean_distance: float
    sign_auroc: tuple[float | None, float | None] = (None, None)
    """What the textbook's measurement of the condition gets in each data set, without any fitting."""
    measurements: tuple[MeasurementRow, ...]


class DistributionComparison(BaseModel):
    """Two data sets, condition by condition."""

    model_config = ConfigDict(frozen=True)

    first: str
    second: str
    conditions: tuple[ConditionRow, ...]


def measure(source: Source, seed: int, rate_hz: float) -> MeasuredDataset:
    """Read and measure the records of a data set, at most :data:`MAX_RECORDS`; unusable ones are left out.

    Raises:
        ConfigError: there is no such data set, or no record of it can be used.
    """
    opened = open_source(source, seed, rate_hz)
    index = opened.index()
    places = np.unique(np.linspace(0, len(index) - 1, min(len(index), MAX_RECORDS)).round().astype(int))
    vocabulary = load_base()
    known = vocabulary.by_code(CODE_SYSTEMS.get(source.kind, ""))
    rows: list[np.ndarray] = []
    conditions: list[frozenset[str]] = []
    progress = log.Progress(logger, f"{source.dataset}: records measured", len(places))
    for done, place in enumerate(places, 1):
        try:
            record = opened.read(index[place])
            ecg = check_record(record)
        except BadRecord:
            continue
        millivolts = to_millivolts(ecg.signal) if ecg.signal.dtype == np.int16 else ecg.signal
        rows.append(features(millivolts, ecg.rate_hz))
        present = set(record.entry.codes)
        if source.kind != "simulated":
            present = vocabulary.propagate(entity for code in present for entity in known.get(code, ()))
        conditions.append(frozenset(present))
        progress.update(done)
    if not rows:
        raise ConfigError(f"no record of {source.dataset!r} can be measured: jobs/shard.py tells why")
    return MeasuredDataset(source.dataset, np.stack(rows), tuple(conditions))


def compare(first: MeasuredDataset, second: MeasuredDataset) -> DistributionComparison:
    """All records, then each condition that both data sets have in :data:`MIN_RECORDS` records or more."""
    shared = set().union(*first.conditions) & set().union(*second.conditions)
    rows = []
    for condition in (ALL, *sorted(shared)):
        one, other = first.of(condition), second.of(condition)
        if min(len(one), len(other)) >= MIN_RECORDS:
            measurements = _rows(one, other)
            distance = float(np.mean([row.distance for row in measurements])) if measurements else 0.0
            rows.append(
                ConditionRow(
                    condition=condition,
                    records=(len(one), len(other)),
                    mean_distance=distance,
                    sign_auroc=(first.sign_auroc(condition), second.sign_auroc(condition)),
                    measurements=measurements,
                )
            )
    return DistributionComparison(first=first.name, second=second.name, conditions=tuple(rows))


def _rows(one: np.ndarray, other: np.ndarray) -> tuple[MeasurementRow, ...]:
    rows = []
    for at, name in enumerate(FEATURES):
        parts = [part[:, at][np.isfinite(part[:, at])] for part in (one, other)]
        if min(map(len, parts)) >= MIN_RECORDS:
            first, second = (tuple(map(float, np.quantile(part, QUANTILES))) for part in parts)
            distance = float(ks_2samp(*parts).statistic)
            rows.append(MeasurementRow(measurement=name, distance=distance, first=first, second=second))
    return tuple(sorted(rows, key=lambda row: -row.distance))


def summary(comparisons: Sequence[DistributionComparison]) -> dict[str, dict[str, float]]:
    """Pair -> condition -> mean distance."""
    return {
        f"{one.first} / {one.second}": {row.condition: round(row.mean_distance, 3) for row in one.conditions}
        for one in comparisons
    }
