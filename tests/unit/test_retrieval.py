"""Neighbours and retrieval against plain counting, with ties at chance."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supreme.evaluation import neighbours, retrieval
from supreme.evaluation.benchmarks import Benchmark
from supreme.evaluation.embeddings import Embeddings
from supreme.evaluation.neighbours import nearest
from supreme.evaluation.probes import CannotProbe, ProbeSplits

pytestmark = pytest.mark.unit


def _by_enumeration(row: np.ndarray, right: set[int], k: int) -> float:
    """Share of the orders of equal candidates in which a right one is among the first k."""
    hits = []
    for order in permutations(range(len(row))):
        ranked = sorted(order, key=lambda c: -row[c])  # stable: equal ones stay in this order
        hits.append(bool(right & set(ranked[:k])))
    return float(np.mean(hits))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), levels=st.integers(1, 4), k=st.integers(1, 6))
def test_recall_counts_ties_like_all_orders(seed: int, levels: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    records, reports = 5, int(rng.integers(1, 5))
    report_of = np.concatenate([np.arange(reports), rng.integers(reports, size=records - reports)])
    similarity = rng.integers(levels, size=(records, reports)).astype(float)
    result = retrieval.recall(similarity, report_of, (k,)).recall[0]
    forward = [_by_enumeration(similarity[n], {int(report_of[n])}, k) for n in range(records)]
    owners = [set(np.flatnonzero(report_of == r).tolist()) for r in range(reports)]
    back = [_by_enumeration(similarity[:, r], owners[r], k) for r in range(reports)]
    assert result.ecg_to_report == pytest.approx(np.mean(forward))
    assert result.report_to_ecg == pytest.approx(np.mean(back))
    flat = retrieval.recall(np.zeros_like(similarity), report_of, (k,)).recall[0]
    assert flat.ecg_to_report == pytest.approx(flat.ecg_to_report_chance)
    assert flat.report_to_ecg == pytest.approx(flat.report_to_ecg_chance)


def test_equal_reports_are_one_report() -> None:
    texts, report_of = retrieval.distinct(["Sinus rhythm.", "AF", "sinus rhythm", "AF "])
    assert (len(texts), report_of.tolist()) == (2, [0, 1, 0, 1])
    values = np.eye(2)[report_of]
    result = retrieval.recall(retrieval.cosine(values, np.eye(2)), report_of, (1,))
    assert (result.records, result.reports) == (4, 2)
    assert (result.recall[0].ecg_to_report, result.recall[0].report_to_ecg) == (1.0, 1.0)


def test_retrieval_refuses_what_it_cannot_rank() -> None:
    with pytest.raises(ValueError, match="record 1 is not finite"):
        retrieval.recall(np.array([[1.0], [np.nan]]), np.array([0, 0]))
    with pytest.raises(ValueError, match="none of the records"):
        retrieval.recall(np.zeros((2, 3)), np.array([0, 1]))
    with pytest.raises(ValueError, match="does not fit"):
        retrieval.recall(np.zeros((2, 3)), np.array([0, 3]))


def _splits(labels: np.ndarray) -> ProbeSplits:
    ids = tuple(f"r{row}" for row in range(len(labels)))
    classes = tuple(f"c{c}" for c in range(labels.shape[1]))
    whole = Benchmark("made", ids, ids, ids, classes, labels.astype(np.int8))
    part = np.arange(len(labels)) % 3
    return ProbeSplits(*(whole.select(part == number) for number in range(3)))


def test_neighbours_equal_a_plain_loop_and_leave_out_what_train_does_not_show() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random((240, 4)) < 0.4).astype(np.int8)
    values = (labels @ rng.normal(size=(4, 6)) + rng.normal(size=(240, 6))).astype(np.float32)
    labels[rng.random(240) < 0.2, 1] = -1
    labels[::3, 3] = 0
    splits = _splits(labels)
    embeddings = Embeddings(tuple(f"r{row}" for row in range(240)), values)
    run = nearest(embeddings, splits)
    assert run.scores.column_names == ["record_id", "c0", "c1", "c2"]
    assert run.result.classes["c3"] is None
    assert run.result.macro > 0.6
    train = values[::3] - values[::3].mean(0)
    for row in range(2, 240, 3):
        test = values[row] - values[::3].mean(0)
        cosines = train @ test / np.linalg.norm(train, axis=1) / np.linalg.norm(test)
        open_rows = np.flatnonzero(labels[::3, 1] >= 0)
        near = open_rows[np.argsort(-cosines[open_rows])[: run.result.neighbours]]
        weight = np.exp(cosines[near] / 0.07)
        expected = (weight * (labels[::3, 1][near] == 1)).sum() / weight.sum()
        place = run.scores.column("record_id").to_pylist().index(f"r{row}")
        assert run.scores.column("c1")[place].as_py() == pytest.approx(expected, rel=1e-4)


def test_neighbours_of_few_records() -> None:
    labels = np.array([[1], [1], [1], [0], [0], [0]], np.int8)
    embeddings = Embeddings(tuple(f"r{row}" for row in range(6)), np.ones((6, 2), np.float32))
    result = nearest(embeddings, _splits(labels)).result
    assert (result.neighbours, result.macro) == (2, 0.5)  # equal embeddings say nothing
    assert neighbours.DEFAULT_COUNT in neighbours.COUNTS
    with pytest.raises(CannotProbe, match="no class"):
        nearest(embeddings, _splits(np.ones((6, 1), np.int8)))
