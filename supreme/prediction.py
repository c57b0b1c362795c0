"""The predict stage: scores of a model for a folder of WFDB records and any text queries."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

from supreme import config, log, owner, storage
from supreme.evaluation.bundle_scorer import BundleScorer, Query, probabilities
from supreme.inference import bundle, engine
from supreme.inference.folder_reader import FolderReader
from supreme.inference.query_embeddings import normalize_query
from supreme.registry import versions
from supreme.settings.evaluation import Predict
from supreme.storage import parquet

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


@dataclass(frozen=True)
class Understood:
    """The queries of a prediction, and what the model takes them for."""

    queries: tuple[str, ...]
    entities: tuple[str, ...]
    """Of the vocabulary; empty for an unseen query."""
    model_uri: str


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
    records = len(FolderReader.of(settings).entries)
    check_queries(settings.queries)
    return PredictionPlan(
        model_uri=model_uri,
        records=records,
        queries=len(settings.queries),
        rows=records * len(settings.queries),
        output=settings.output,
        seconds=round(records / RECORDS_PER_SECOND) + 20,
    )


def predict(
    settings: Predict, model_uri: str, tracking_uri: str | None, *, derive_limb_leads: bool = False
) -> PredictionResult:
    """Score every record below ``settings.uri`` and write one Parquet row a record and query.

    Records that cannot be used are rows of ``<output>.rejected.parquet`` with the reason. Both files appear
    only when complete; the same call after a kill goes on where that one ended. Memory is bounded by a few
    batches of records, whatever the size of the folder.

    Raises:
        ConfigError: no folder, no record in it, no query, or no such model.
    """
    check_queries(settings.queries)
    reader = FolderReader.of(settings, derive_limb_leads=derive_limb_leads)
    if model_uri.startswith("models:"):
        # All workers score with one version, also when an alias moves meanwhile.
        version = versions.resolve(model_uri, tracking_uri)
        model_uri = f"models:/{version.name}/{version.version}"
        digest = version.tags.get(versions.SHA256, "")
    else:
        digest = bundle.verify(model_uri)
    model = versions.load(model_uri, tracking_uri, quality_checked=True)
    queries = tuple(Query((query,)) for query in settings.queries)
    scorer = BundleScorer.of(model, model_uri, tracking_uri, (queries,))
    understood = Understood(settings.queries, tuple(model.understand(settings.queries)), model_uri)
    parts = storage.with_ending(settings.output, ".parquet", f".parts-{_digest(reader, scorer, digest)}")
    rejected_uri = storage.with_ending(settings.output, ".parquet", ".rejected.parquet")
    with owner.owned(parts):
        engine.score(reader, scorer, parts, settings.uri)
        scored, rejected = _write(reader, parts, settings.output, rejected_uri, understood)
        engine.delete_parts(reader, parts)
    return PredictionResult(
        output=settings.output,
        rejected_output=rejected_uri,
        model_uri=model_uri,
        records=len(reader.entries),
        scored=scored,
        rejected=rejected,
    )


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


def _digest(reader: FolderReader, scorer: BundleScorer, model_digest: str) -> str:
    """Of everything that decides the parts, so that those of another prediction are not taken for them."""
    ids = [[entry.record_id, entry.refused] for entry in reader.entries]
    facts = [
        repr(reader.files),
        reader.derive_limb_leads,
        model_digest,
        [group.queries for group in scorer.groups],
        ids,
    ]
    return storage.sha256(json.dumps(facts).encode())[:16]


def _write(
    reader: FolderReader, parts: str, output: str, rejected_output: str, understood: Understood
) -> tuple[int, int]:
    """Join the parts to the two files; how many records were scored and refused."""
    scored_records = rejected_records = 0
    with (
        parquet.writer(output, SCORES) as scores,
        parquet.writer(rejected_output, REJECTED) as rejected,
    ):
        for part in engine.read_parts(reader, parts):
            is_scored = pc.equal(part["reason"], "")
            scores.write_table(_answers(part.filter(is_scored), understood))
            refused = part.filter(pc.invert(is_scored))
            rejected.write_table(refused.select(REJECTED.names).cast(REJECTED))
            scored_records += len(part) - len(refused)
            rejected_records += len(refused)
    return scored_records, rejected_records


def _answers(part: pa.Table, understood: Understood) -> pa.Table:
    """One row a record and query."""
    n_queries = len(understood.queries)
    scores = probabilities(engine.outputs_of(part)[:, :n_queries])
    row_of = np.repeat(np.arange(len(part)), n_queries)
    seen = [bool(entity) for entity in understood.entities]
    columns = {
        "query": pa.array(list(understood.queries) * len(part), pa.string()),
        "score": pa.array(scores.ravel()),
        "seen": pa.array(seen * len(part), pa.bool_()),
        "entity": pa.array(list(understood.entities) * len(part), pa.string()),
        "model_uri": pa.array([understood.model_uri] * len(row_of), pa.string()),
    }
    columns |= {name: part[name].take(pa.array(row_of)) for name in ("record_id", "quality", "source_uri")}
    return pa.table({name: columns[name] for name in SCORES.names}).cast(SCORES)
