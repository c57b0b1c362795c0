"""Retrieval between the ECGs of a data set and their reports: each report is put to the model as a query."""

from __future__ import annotations

import zlib

import numpy as np

from supreme.evaluation import retrieval
from supreme.evaluation.bundle_scorer import Answers, BundleScorer, Query
from supreme.evaluation.datasets import UnseenPart
from supreme.evaluation.retrieval import RetrievalResult
from supreme.evaluation.shard_reader import ShardReader
from supreme.inference import engine
from supreme.inference.query_model import EcgQueryModel
from supreme.reports import statements

#: At most so many ECGs of a data set: recall at k depends on their number.
RECORDS = 1000


def measure(
    model: EcgQueryModel, part: UnseenPart, seed: int, records: int = RECORDS
) -> RetrievalResult | None:
    """Recall between unseen ECGs, drawn at random, and their reports; None with fewer than two reports.

    Label leaks are taken out of the reports, as for training. For a model with a common space the logit of a
    report is the cosine of the two embeddings; for a fusion network it is the answer to the whole report.
    """
    table = part.data.shards.table(("record_id", "report"))
    plain = np.array([_plain(report) for report in table.column("report").to_pylist()], object)
    rows = np.flatnonzero(part.rows & (plain != ""))
    rng = np.random.default_rng([seed, zlib.crc32(part.data.name.encode())])
    rows = np.sort(rng.permutation(rows)[:records])
    texts, report_of = retrieval.distinct(plain[rows].tolist())
    if len(texts) < 2:
        return None
    selected = np.zeros(len(plain), bool)
    selected[rows] = True
    reader = ShardReader.of(part.data.shards, selected)
    groups = (tuple(Query((text,), verbatim=True) for text in texts),)
    scorer = BundleScorer.of(model, "", None, groups)
    run = Answers(model, scorer.groups)
    parts = [
        engine.outputs_of(engine.answer(engine.prepare(reader, scorer, index), run, scorer))
        for index in range(len(reader.units))
    ]
    return retrieval.recall(np.concatenate(parts)[:, : len(texts)], report_of)


def _plain(report: str | None) -> str:
    return ". ".join(part.rstrip(". ") for part in statements.split(report or ""))
