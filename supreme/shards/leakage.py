"""Leakage audit: patients, signals and reports that stand on both sides of a border they must not cross.

Signals are compared by their fingerprints, which find the same recording at another rate, scale or rounding.
Patient ids belong to a data set, so that patients are compared inside one only.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from supreme.shards.fingerprint import BITS, same_recording
from supreme.shards.result import Leakage, RepeatedRecordings, SharedRecordings, SharedReports

COLUMNS = ("record_id", "patient_id", "split", "fingerprint", "report")
#: Groups that are named; all are counted.
MOST_EXAMPLES = 5


def within(records: pa.Table) -> Leakage:
    """The audit of one data set.

    Args:
        records: :data:`COLUMNS` of every record.
    """
    records = _with_recordings(records)
    patients = _groups(records, "patient_id", "split")
    signals = _groups(records, "recording", "split", "patient_id")
    repeated = signals.filter(pc.greater(signals["records"], 1))
    written = records.filter(pc.not_equal(records["report"], ""))
    reports = _groups(written, "report", "split")
    shared = reports.filter(pc.greater(reports["records"], 1))
    return Leakage(
        patients_across_splits=len(patients.filter(pc.greater(patients["split"], 1))),
        same_recording=RepeatedRecordings(
            records=_sum(repeated),
            records_across_splits=_sum(repeated.filter(pc.greater(repeated["split"], 1))),
            records_of_several_patients=_sum(repeated.filter(pc.greater(repeated["patient_id"], 1))),
            examples=_examples(records, repeated),
        ),
        reports=SharedReports(
            records=len(written),
            distinct=len(reports),
            records_sharing=_sum(shared),
            records_sharing_across_splits=_sum(shared.filter(pc.greater(shared["split"], 1))),
        ),
    )


def across(datasets: Mapping[str, pa.Table]) -> list[SharedRecordings]:
    """Recordings that two data sets both hold, one row a pair that shares any.

    Args:
        datasets: name -> `record_id`, `split` and `fingerprint` of every record.
    """
    columns = ["record_id", "split", "fingerprint"]
    together = _with_recordings(pa.concat_tables([table.select(columns) for table in datasets.values()]))
    starts = np.cumsum([0, *(len(table) for table in datasets.values())])
    parts = {
        name: together.slice(start, len(table))
        for (name, table), start in zip(datasets.items(), starts[:-1], strict=True)
    }
    shared = []
    for (name, one), (other_name, other) in combinations(parts.items(), 2):
        both = one.join(other, "recording", join_type="inner", right_suffix="_other")
        if not len(both):
            continue
        splits = pc.binary_join_element_wise(both["split"], both["split_other"], "-")
        crossing = pc.is_in(splits, value_set=pa.array(["train-test", "test-train"]))
        named = both.sort_by([("record_id", "ascending"), ("record_id_other", "ascending")])
        ids = (
            named[column].slice(0, MOST_EXAMPLES).to_pylist() for column in ("record_id", "record_id_other")
        )
        shared.append(
            SharedRecordings(
                datasets=(name, other_name),
                recordings=pc.count_distinct(both["recording"]).as_py(),
                train_and_test=pc.count_distinct(both["recording"].filter(crossing)).as_py(),
                examples=list(zip(*ids, strict=True)),
            )
        )
    return shared


def _with_recordings(records: pa.Table) -> pa.Table:
    """With a column `recording`: the same number where the fingerprints are of one recording."""
    fingerprints = np.frombuffer(bytes.fromhex("".join(records["fingerprint"].to_pylist())), np.uint8)
    return records.append_column("recording", pa.array(same_recording(fingerprints.reshape(-1, BITS // 8))))


def _groups(records: pa.Table, key: str, *distinct: str) -> pa.Table:
    """Each value of ``key``: its number of `records`, and of different values in other columns."""
    counted = records.group_by(key).aggregate(
        [([], "count_all"), *((name, "count_distinct") for name in distinct)]
    )
    names = {f"{name}_count_distinct": name for name in distinct} | {"count_all": "records"}
    return counted.rename_columns([names.get(name, name) for name in counted.column_names])


def _sum(groups: pa.Table) -> int:
    return pc.sum(groups["records"]).as_py() or 0


def _examples(records: pa.Table, repeated: pa.Table) -> list[list[str]]:
    largest = repeated.sort_by([("records", "descending"), ("recording", "ascending")])
    groups = largest["recording"].slice(0, MOST_EXAMPLES).to_pylist()
    ids = [records.filter(pc.equal(records["recording"], group))["record_id"].to_pylist() for group in groups]
    return [sorted(one)[:MOST_EXAMPLES] for one in ids]
