"""The predict stage: scores of a model for a folder of WFDB records and any text queries, on Ray Data."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray.data
from pydantic import BaseModel, ConfigDict

from supreme import config, ecg, log, storage
from supreme.inference.query_embeddings import normalize_query
from supreme.preparation import check_record
from supreme.records import Entry
from supreme.records.record_files import RecordFiles
from supreme.records.wfdb_files import WfdbReader, entry_of
from supreme.registry import versions
from supreme.settings.evaluation import Predict
from supreme.storage import parquet

RECORDS_PER_BATCH = 64
#: Rough, for the time that a plan shows; the model is the limit.
RECORDS_PER_SECOND = 200

SCORES = pa.schema(
    [
        ("record_id", pa.string()),
        ("query", pa.string()),
        ("score", pa.float32()),
        ("seen", pa.bool_()),
        ("entity", pa.string()),
        ("quality", pa.list_(pa.string())),
        ("source_uri", pa.string()),
        ("model_uri", pa.string()),
    ]
)
REJECTED = pa.schema(
    [
        ("record_id", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("source_uri", pa.string()),
    ]
)

logger = log.get("predict")


class PredictionPlan(BaseModel):
    """Counts and time of a prediction."""

    model_config = ConfigDict(frozen=True)

    model_uri: str
    records: int
    queries: int
    rows: int
    """Of the output: one a record and query."""
    output: str
    seconds: int


class PredictionResult(BaseModel):
    """What a prediction wrote."""

    model_config = ConfigDict(frozen=True)

    output: str
    rejected_output: str
    model_uri: str
    """With its version number."""
    records: int
    scored: int
    rejected: int


def plan(settings: Predict, model_uri: str) -> PredictionPlan:
    """Counts and time of a prediction.

    Raises:
        ConfigError: no folder, no record in it, or no query.
    """
    records = find_records(settings.uri)
    check_queries(settings.queries)
    return PredictionPlan(
        model_uri=model_uri,
        records=len(records),
        queries=len(settings.queries),
        rows=len(records) * len(settings.queries),
        output=settings.output,
        seconds=round(len(records) / RECORDS_PER_SECOND) + 20,
    )


def predict(
    settings: Predict, model_uri: str, tracking_uri: str | None, *, derive_limb_leads: bool = False
) -> PredictionResult:
    """Score every record below ``settings.uri`` and write one Parquet row a record and query.

    Records that cannot be used are rows of ``<output>.rejected.parquet`` with the reason. Both files appear
    only when complete. Memory is bounded by a few batches of records, whatever the size of the folder.

    Raises:
        ConfigError: no folder, no record in it, no query, or no such model.
    """
    check_queries(settings.queries)
    records = find_records(settings.uri)
    if model_uri.startswith("models:"):
        # All workers score with one version, also when an alias moves meanwhile.
        version = versions.resolve(model_uri, tracking_uri)
        model_uri = f"models:/{version.name}/{version.version}"
    rejected_uri = settings.output.removesuffix(".parquet") + ".rejected.parquet"
    scored_records = rejected_records = 0
    progress = log.Progress(logger, "records", len(records))
    with (
        parquet.writer(settings.output, SCORES) as scores,
        parquet.writer(rejected_uri, REJECTED) as rejected,
    ):
        for table in _scored(records, model_uri, tracking_uri, settings, derive_limb_leads):
            refused = table.filter(pc.not_equal(table["reason"], "")).select(REJECTED.names)
            good = table.filter(pc.equal(table["reason"], "")).select(SCORES.names)
            scores.write_table(good.cast(SCORES))
            rejected.write_table(refused.cast(REJECTED))
            rejected_records += refused.num_rows
            scored_records += good.num_rows // len(settings.queries)
            progress.update(scored_records + rejected_records, rejected=rejected_records)
    return PredictionResult(
        output=settings.output,
        rejected_output=rejected_uri,
        model_uri=model_uri,
        records=len(records),
        scored=scored_records,
        rejected=rejected_records,
    )


def find_records(uri: str) -> list[dict[str, str]]:
    """``record_id`` (path below the folder), ``source_uri`` and ``refused`` of every WFDB header, sorted.

    Raises:
        ConfigError: not a folder, or none in it.
    """
    if not uri or not storage.is_folder(uri):
        raise config.ConfigError(f"predict.uri={uri!r} is no folder: give the folder of the WFDB records")
    entries = [entry_of("", stem, storage.join(uri, stem)) for stem in RecordFiles.below(uri).stems]
    if not entries:
        raise config.ConfigError(f"predict.uri={uri}: no WFDB header (.hea) in it or below it")
    return [
        {"record_id": entry.record_id, "source_uri": entry.source_uri, "refused": entry.refused}
        for entry in entries
    ]


def check_queries(queries: tuple[str, ...]) -> None:
    """Refuse queries that are empty or there twice.

    Raises:
        ConfigError: naming what is wrong.
    """
    if not [query for query in queries if normalize_query(query)]:
        raise config.ConfigError(
            "predict.queries is empty: give 'predict.queries=[\"atrial fibrillation?\"]'"
        )
    if len(set(queries)) != len(queries) or not all(normalize_query(query) for query in queries):
        raise config.ConfigError("predict.queries: a query is empty or there twice")


_READ = pa.unify_schemas(
    [
        REJECTED,
        pa.schema([("signal", pa.binary()), ("rate_hz", pa.float64()), ("quality", pa.list_(pa.string()))]),
    ]
)
_ANSWERED = pa.unify_schemas([SCORES, REJECTED])


def _scored(
    records: list[dict[str, str]],
    model_uri: str,
    tracking_uri: str | None,
    settings: Predict,
    derive_limb_leads: bool,
) -> Iterator[pa.Table]:
    """Tables of scored and refused records in the order of the records."""
    ray.data.DataContext.get_current().execution_options.preserve_order = True
    blocks = max(1, min(200, len(records) // RECORDS_PER_BATCH))
    read_batch: Any = partial(
        _read_batch, reader=WfdbReader.of(settings), derive_limb_leads=derive_limb_leads
    )
    read = ray.data.from_items(records, override_num_blocks=blocks).map_batches(
        read_batch, batch_size=RECORDS_PER_BATCH, batch_format="pyarrow"
    )
    scored = read.map_batches(
        _Scorer,
        batch_size=RECORDS_PER_BATCH,
        batch_format="pyarrow",
        fn_constructor_args=(model_uri, tracking_uri, list(settings.queries)),
        compute=ray.data.ActorPoolStrategy(
            min_size=1, max_size=max(1, len(records) // (4 * RECORDS_PER_BATCH))
        ),
    )
    yield from scored.iter_batches(batch_size=None, batch_format="pyarrow")


def _read_batch(batch: pa.Table, reader: WfdbReader, derive_limb_leads: bool) -> pa.Table:
    entries = [
        Entry(row["record_id"], "", row["record_id"], source_uri=row["source_uri"], refused=row["refused"])
        for row in batch.to_pylist()
    ]
    rows = [_read(entry, reader, derive_limb_leads) for entry in entries]
    return pa.Table.from_pylist(rows, schema=_READ)


def _read(entry: Entry, reader: WfdbReader, derive_limb_leads: bool) -> dict[str, Any]:
    row: dict[str, Any] = {
        **{"record_id": entry.record_id, "source_uri": entry.source_uri},
        **{"reason": "", "detail": ""},
    }
    try:
        record, _ = reader.read(entry)
        checked = check_record(record, derive_limb_leads=derive_limb_leads)
    except ecg.BadRecord as error:
        return row | {"reason": error.reason, "detail": error.detail}
    signal = checked.signal_mv.tobytes()
    return row | {"signal": signal, "rate_hz": checked.rate_hz, "quality": checked.flags}


class _Scorer:
    """A worker that holds the model."""

    def __init__(self, model_uri: str, tracking_uri: str | None, queries: list[str]) -> None:
        self.model = versions.load(model_uri, tracking_uri, quality_checked=True)
        self.model_uri, self.queries = model_uri, queries
        self.entities = self.model.understand(queries)

    def __call__(self, batch: pa.Table) -> pa.Table:
        rows = batch.to_pylist()
        alike: dict[tuple[int, float], list[int]] = {}
        for index, row in enumerate(rows):
            if not row["reason"]:
                alike.setdefault((len(row["signal"]), row["rate_hz"]), []).append(index)
        scores: dict[int, np.ndarray] = {}
        for (_, rate_hz), members in alike.items():
            signals = [np.frombuffer(rows[index]["signal"], np.float32) for index in members]
            ecg_mv = np.stack(signals).reshape(len(members), ecg.N_LEADS, -1)
            scores |= dict(zip(members, self.model.score(ecg_mv, rate_hz, self.queries), strict=True))
        answers = [self._answers(row, scores.get(index)) for index, row in enumerate(rows)]
        return pa.Table.from_pylist([row for group in answers for row in group], schema=_ANSWERED)

    def _answers(self, row: dict[str, Any], scores: np.ndarray | None) -> list[dict[str, Any]]:
        if scores is None:
            return [row]
        return [
            {
                **row,
                "query": query,
                "score": score,
                "seen": bool(entity),
                "entity": entity,
                "model_uri": self.model_uri,
            }
            for query, score, entity in zip(self.queries, scores.tolist(), self.entities, strict=True)
        ]
