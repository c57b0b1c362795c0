"""Benchmarks of label sets: published ones, the `labels` of a `wfdb_folder`, and one's own from TOML files.

:func:`all_benchmarks` gives every benchmark of a data set's shard table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

import numpy as np
import pyarrow as pa

from supreme.config import ConfigError
from supreme.evaluation import benchmarks
from supreme.evaluation.benchmarks import CONDITIONS, Benchmark
from supreme.records import label_sets
from supreme.records.label_sets import LabelSet
from supreme.records.recordings import recording_key

#: Kinds whose labels come from a table of the user's own.
OWN_FOLDERS = ("wfdb_folder", "ecg_folder")
#: Name of the benchmark that has a column for each label of a `wfdb_folder`.
OWN_LABELS = "labels"
_MAX_OWN_LABELS = 5000


def has_benchmarks(kind: str, dataset: str, own: Sequence[LabelSet] = ()) -> bool:
    """Whether records of a data set may carry codes that any benchmark knows."""
    return benchmarks.is_annotated(kind) or bool(_sets(kind, dataset, own)) or kind in OWN_FOLDERS


def all_benchmarks(
    dataset: str, kind: str, table: pa.Table, own: Sequence[LabelSet] = ()
) -> dict[str, Benchmark]:
    """Every benchmark of a data set by its name: conditions, published label sets, own labels, own sets.

    Those without an annotated record are left out.

    Args:
        table: of the shards, with :data:`benchmarks.COLUMNS`.
        own: one's own label sets (:func:`read_own`); those of other data sets are passed over.

    Raises:
        ConfigError: a `wfdb_folder` has thousands of different labels.
    """
    result = [benchmarks.benchmark(dataset, kind, table)] if benchmarks.is_annotated(kind) else []
    result += [benchmark(labels, dataset, kind, table) for labels in _sets(kind, dataset, own)]
    if kind in OWN_FOLDERS:
        result.append(benchmark(own_labels(dataset, table), dataset, kind, table))
    return {one.name: one for one in result if one.record_ids and one.classes}


def benchmark(labels: LabelSet, dataset: str, kind: str, table: pa.Table) -> Benchmark:
    """The records of a shard table that a label set annotates, in the order of the table.

    Args:
        table: with :data:`benchmarks.COLUMNS`.
    """
    codes = table.column("codes").to_pylist()
    rows = [row for row, of_record in enumerate(codes) if labels.annotates(of_record)]
    unknown = Counter(code for of_record in codes for code in set(labels.unknown(of_record)))
    column_of = {column: c for c, column in enumerate(labels.columns)}
    matrix = np.zeros((len(rows), len(column_of)), np.int8)
    for position, row in enumerate(rows):
        matrix[position, [column_of[column] for column in labels.of(codes[row])]] = benchmarks.POSITIVE
    annotated = table.take(pa.array(rows, pa.int64()))
    record_ids = annotated.column("record_id").to_pylist()
    return Benchmark(
        dataset,
        tuple(record_ids),
        tuple(annotated.column("patient_id").to_pylist()),
        tuple(recording_key(kind, record_id) for record_id in record_ids),
        tuple(labels.columns),
        matrix,
        labels.name,
        labels.version,
        dict(sorted(unknown.items())),
        len(codes) - len(rows),
    )


def own_labels(dataset: str, table: pa.Table) -> LabelSet:
    """A column for each label that a `wfdb_folder` has, in alphabetical order; no label means not annotated.

    Raises:
        ConfigError: more labels than anybody compares, or one with the name of an id column.
    """
    distinct = sorted({code for codes in table.column("codes").to_pylist() for code in codes})
    if len(distinct) > _MAX_OWN_LABELS:
        raise ConfigError(
            f"{dataset}: {len(distinct):,} different labels, such as {distinct[0]!r} and {distinct[1]!r}: "
            'group them in a TOML file, and name it as evaluation.benchmarks=["FILE.toml"]'
        )
    if reserved := [name for name in label_sets.RESERVED if name in distinct]:
        raise ConfigError(f"{dataset}: a label cannot be called {reserved[0]!r}: rename it in the table")
    return LabelSet(OWN_LABELS, "", {code: frozenset((code,)) for code in distinct}, datasets=(dataset,))


def read_own(uris: Iterable[str], datasets: Collection[str]) -> list[LabelSet]:
    """One's own label sets, as `evaluation.benchmarks` names them.

    Args:
        datasets: names of the data sets that are evaluated on.

    Raises:
        ConfigError: a file cannot be read (:func:`label_sets.read`), is called as another benchmark, or
            describes a data set that is not there.
    """
    own = [label_sets.read(uri) for uri in uris]
    times = Counter([labels.name for labels in own] + [CONDITIONS, OWN_LABELS])
    for labels in own:
        where = f"evaluation.benchmarks: {labels.name}.toml"
        if times[labels.name] > 1:
            raise ConfigError(f"{where}: another benchmark is called {labels.name!r}: rename the file")
        if absent := [name for name in labels.datasets if name not in datasets]:
            there = ", ".join(sorted(datasets)) or "none"
            raise ConfigError(f"{where} describes {absent[0]!r}; the data sets here are {there}: rename it")
    return own


def _sets(kind: str, dataset: str, own: Sequence[LabelSet]) -> list[LabelSet]:
    return [*label_sets.label_sets(kind), *(labels for labels in own if dataset in labels.datasets)]
