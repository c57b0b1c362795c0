"""Where a model is worse: by age, sex, site, device, rate and quality flag, with the largest gap tested.

Groups may share patients, such as one who was recorded in two age bands: variances are by patient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pyarrow as pa

from supreme.evaluation.benchmarks import UNKNOWN, Benchmark
from supreme.evaluation.class_results import MacroAuroc, SubgroupAttribute, SubgroupGap, SubgroupResult
from supreme.metrics import clustered, intervals
from supreme.metrics.clustered import Estimate, PatientAurocs
from supreme.metrics.multiplicity import holm

#: Columns of the shards that records are divided by.
COLUMNS = ("record_id", "dataset", "age", "sex", "source_rate_hz", "quality")
#: Columns that are used where a table has them; the data set is the site where several are pooled.
_TEXTS = {"sex": "sex", "dataset": "data set", "site": "site", "device": "device"}
_AGE_EDGES, _AGE_BANDS = (18, 40, 65, 80), ("under 18", "18-39", "40-64", "65-79", "80 and over")

#: Attribute -> value -> which records `(N,)` have it.
Attributes = Mapping[str, Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class _Pair:
    """Two groups and the difference between them."""

    attribute: str
    first: str
    second: str
    estimate: Estimate
    classes: int


def attributes(table: pa.Table, benchmark: Benchmark) -> Attributes:
    """What the records of a benchmark can be divided by; attributes with one value are left out.

    Args:
        table: rows of the shards with `record_id` and what there is of the other columns, in any order.
    """
    row_of = {record: row for row, record in enumerate(table.column("record_id").to_pylist())}
    rows = table.take(pa.array([row_of[record] for record in benchmark.record_ids], pa.int64()))
    names = set(rows.column_names)
    divided: dict[str, dict[str, np.ndarray]] = {}
    if "age" in names:
        divided["age"] = _age_bands(rows.column("age").to_pylist())
    for column, attribute in _TEXTS.items():
        if column in names:
            divided[attribute] = _values(rows.column(column).to_pylist())
    if "source_rate_hz" in names:
        divided["rate"] = _values([f"{rate:g} Hz" for rate in rows.column("source_rate_hz").to_pylist()])
    if "quality" in names:
        divided["quality"] = _flags(rows.column("quality").to_pylist())
    return {attribute: groups for attribute, groups in divided.items() if len(groups) > 1}


def evaluate(
    patients: Sequence[str], scores: np.ndarray, labels: np.ndarray, divided: Attributes
) -> tuple[SubgroupAttribute, ...]:
    """Macro AUROC of each group with its interval, and the largest gap of each attribute with its test.

    Args:
        patients: of the ``N`` records.
        scores: ``(N, C)``, finite where annotated.
        labels: ``(N, C)`` of 1, 0, -1.
    """
    owners, results, pairs = np.asarray(patients, str), {}, []
    for attribute, groups in divided.items():
        measured = {value: _measure(owners, scores, labels, mask) for value, mask in groups.items()}
        results[attribute] = tuple(
            _result(value, groups[value], owners, aurocs) for value, aurocs in measured.items()
        )
        pairs += _pairs(attribute, measured)
    adjusted = holm([pair.estimate.p_value for pair in pairs])
    return tuple(
        SubgroupAttribute(attribute=attribute, groups=groups, gap=_largest(attribute, pairs, adjusted))
        for attribute, groups in results.items()
    )


def _measure(patients: np.ndarray, scores: np.ndarray, labels: np.ndarray, mask: np.ndarray) -> PatientAurocs:
    """AUROCs of the masked records, with a row for every patient so that groups can be compared."""
    inside = np.where(mask[:, None], labels, np.int8(UNKNOWN))
    return clustered.patient_aurocs(scores, inside, patients.tolist())


def _counted(aurocs: PatientAurocs) -> np.ndarray:
    fewest = np.minimum(aurocs.positive_patients, aurocs.negative_patients)
    return (fewest >= intervals.MIN_PATIENTS) & ~aurocs.constant


def _result(value: str, mask: np.ndarray, patients: np.ndarray, aurocs: PatientAurocs) -> SubgroupResult:
    counted = aurocs.select(_counted(aurocs))
    low, high = intervals.macro_interval(counted)
    classes = len(counted.values)
    macro = MacroAuroc(
        auroc=float(counted.values.mean()) if classes else None,
        low=float(low) if classes else None,
        high=float(high) if classes else None,
        classes=classes,
    )
    return SubgroupResult(
        value=value, records=int(mask.sum()), patients=len(np.unique(patients[mask])), macro=macro
    )


def _pairs(attribute: str, measured: Mapping[str, PatientAurocs]) -> list[_Pair]:
    pairs = []
    for (first, a), (second, b) in combinations(measured.items(), 2):
        both = _counted(a) & _counted(b)
        if both.any():
            estimate = clustered.group_difference(a.select(both), b.select(both))
            pairs.append(_Pair(attribute, first, second, estimate, int(both.sum())))
    return pairs


def _largest(attribute: str, pairs: Sequence[_Pair], adjusted: np.ndarray) -> SubgroupGap | None:
    own = [(pair, float(p)) for pair, p in zip(pairs, adjusted, strict=True) if pair.attribute == attribute]
    if not own:
        return None
    pair, p_value = max(own, key=lambda item: abs(item[0].estimate.value))
    low, high = pair.estimate.interval()
    is_ordered = pair.estimate.value >= 0
    return SubgroupGap(
        higher=pair.first if is_ordered else pair.second,
        lower=pair.second if is_ordered else pair.first,
        difference=abs(pair.estimate.value),
        low=low if is_ordered else -high,
        high=high if is_ordered else -low,
        p_value=p_value,
        classes=pair.classes,
    )


def _age_bands(ages: Sequence[float | None]) -> dict[str, np.ndarray]:
    years = np.array([np.nan if age is None else age for age in ages], float)
    band = np.where(np.isfinite(years), np.searchsorted(_AGE_EDGES, years, side="right"), -1)
    return {name: band == b for b, name in enumerate(_AGE_BANDS) if (band == b).any()}


def _values(texts: Sequence[str | None]) -> dict[str, np.ndarray]:
    values = np.array([text or "" for text in texts], str)
    return {str(value): values == value for value in np.unique(values) if value}


def _flags(flags: Sequence[Sequence[str]]) -> dict[str, np.ndarray]:
    """A record may have several flags, or none."""
    names = sorted({name for row in flags for name in row})
    groups = {name: np.array([name in row for row in flags], bool) for name in names}
    unflagged = np.array([not row for row in flags], bool)
    return ({"no flag": unflagged} if unflagged.any() else {}) | groups
