"""Linear probes: equal to scikit-learn's plain pipeline, honest about classes that a draw cannot fit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from supreme.evaluation import logistic
from supreme.evaluation.benchmarks import Benchmark
from supreme.evaluation.embeddings import Embeddings
from supreme.evaluation.probes import CannotProbe, ProbeSplits, probe
from supreme.evaluation.training_draws import draw_records
from supreme.settings.evaluation import Probes

pytestmark = pytest.mark.unit


def _benchmark(labels: np.ndarray, part: str, per_patient: int = 1) -> Benchmark:
    ids = tuple(f"{part}{row}" for row in range(len(labels)))
    patients = tuple(f"{part}{row // per_patient}" for row in range(len(labels)))
    classes = tuple(f"c{c}" for c in range(labels.shape[1]))
    return Benchmark("made", ids, patients, ids, classes, labels.astype(np.int8))


def _data(classes: int = 3, train: int = 300, seed: int = 0) -> tuple[Embeddings, ProbeSplits]:
    """Labels that are linear in five of twelve features, with noise."""
    rng = np.random.default_rng(seed)
    sizes = {"train": train, "val": 150, "test": 200}
    truth = rng.normal(size=(12, classes)) * (np.arange(12) < 5)[:, None]
    parts, values, ids = [], [], []
    for name, size in sizes.items():
        x = rng.normal(2, 3, size=(size, 12))
        labels = (x - 2) @ truth / 3 + rng.logistic(size=(size, classes)) > 1
        parts.append(_benchmark(labels, name))
        values.append(x)
        ids += parts[-1].record_ids
    return Embeddings(tuple(ids), np.concatenate(values).astype(np.float32)), ProbeSplits(*parts)


def _x(embeddings: Embeddings, part: Benchmark) -> np.ndarray:
    return embeddings.values[[embeddings.record_ids.index(record) for record in part.record_ids]]


def test_full_probe_equals_plain_scikit_learn() -> None:
    embeddings, splits = _data()
    run = probe(embeddings, splits, Probes(fractions=(1.0,)), 0)
    (part,) = run.result.fractions
    reference: dict[float, np.ndarray] = {}
    macros = []
    for c in logistic.GRID:
        columns, valid = [], []
        for k in range(3):
            pipe = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=5000, tol=1e-8))
            pipe.fit(_x(embeddings, splits.train).astype(float), splits.train.labels[:, k])
            columns.append(pipe.predict_proba(_x(embeddings, splits.test))[:, 1])
            scores = pipe.decision_function(_x(embeddings, splits.validation))
            valid.append(roc_auc_score(splits.validation.labels[:, k], scores))
        reference[c] = np.stack(columns, 1)
        macros.append(np.mean(valid))
    best = logistic.GRID[int(np.argmax(macros))]
    assert part.c == best
    ours = np.stack([run.scores.column(f"c{k}").to_numpy() for k in range(3)], 1)
    np.testing.assert_allclose(ours, reference[best], atol=2e-3)
    aurocs = [roc_auc_score(splits.test.labels[:, k], reference[best][:, k]) for k in range(3)]
    assert part.macro.auroc == pytest.approx(np.mean(aurocs), abs=1e-3)
    assert part.macro.auroc > 0.75
    assert run.result.selected_on == "validation"


def test_more_data_is_better_and_unrelated_features_are_at_chance() -> None:
    embeddings, splits = _data(classes=4, train=600)
    run = probe(embeddings, splits, Probes(fractions=(1.0, 0.03), draws=5), 1)
    small, full = run.result.fractions
    assert (small.fraction, small.draws, full.draws, full.records) == (0.03, 5, 1, 600)
    assert small.records == 18
    assert small.shared_macro.high < full.shared_macro.auroc
    assert small.macro.low < small.macro.auroc < small.macro.high
    noise = np.random.default_rng(5).normal(size=embeddings.values.shape).astype(np.float32)
    (part,) = probe(
        Embeddings(embeddings.record_ids, noise), splits, Probes(fractions=(1.0,)), 1
    ).result.fractions
    assert abs(part.macro.auroc - 0.5) < 0.06


def test_class_without_training_positive_has_no_score() -> None:
    embeddings, splits = _data()
    splits.train.labels[:, 1] = 0
    splits.test.labels[:, 2] = 1
    run = probe(embeddings, splits, Probes(fractions=(1.0,)), 0)
    (part,) = run.result.fractions
    assert run.scores.column_names == ["record_id", "c0", "c2"]
    assert part.left_out == {"c1": 1}
    assert run.result.undefined == ("c2",)
    assert part.classes["c1"].auroc is None
    assert part.classes["c2"].auroc is None
    assert part.macro.auroc == part.classes["c0"].auroc


def test_not_annotated_is_neither_positive_nor_negative() -> None:
    embeddings, splits = _data()
    before = probe(embeddings, splits, Probes(fractions=(1.0,)), 0).result.fractions[0].classes["c0"].auroc
    open_rows = np.random.default_rng(1).random(300) < 0.3
    splits.train.labels[open_rows, 0] = -1
    after = probe(embeddings, splits, Probes(fractions=(1.0,)), 0).result.fractions[0].classes["c0"].auroc
    assert after == pytest.approx(before, abs=0.03)


def test_missing_and_unusual_features() -> None:
    embeddings, splits = _data()
    embeddings.values[3, 2] = np.nan
    with pytest.raises(ValueError, match="train3 has an embedding that is NaN"):
        probe(embeddings, splits, Probes(fractions=(1.0,)), 0)
    embeddings.values[::2, 2] = np.nan
    run = probe(embeddings, splits, Probes(fractions=(1.0,)), 0, allow_missing=True)
    known = np.arange(200) % 2 == 1  # of the test records, those with all features
    half = splits.test.select(known)
    scores = run.scores.column("c0").to_numpy()
    assert roc_auc_score(half.labels[:, 0], scores[known]) > 0.75
    assert np.mean(scores[known]) == pytest.approx(np.mean(scores[~known]), abs=0.1)
    embeddings.values[:, 11] = 7.0
    embeddings.values[450, 10] = 1e30
    run = probe(embeddings, splits, Probes(fractions=(1.0,)), 0, allow_missing=True)
    assert run.result.fractions[0].macro.auroc > 0.75
    embeddings.values[3, 2] = np.inf
    with pytest.raises(ValueError, match="train3 "):
        probe(embeddings, splits, Probes(fractions=(1.0,)), 0, allow_missing=True)
    short = Embeddings(embeddings.record_ids[1:], embeddings.values[1:])
    with pytest.raises(ValueError, match="1 records have no embedding, first train0"):
        probe(short, splits, Probes(), 0, allow_missing=True)


def test_nothing_to_probe_is_named() -> None:
    embeddings, splits = _data()
    none = splits.test.select(np.zeros(200, bool))
    with pytest.raises(CannotProbe, match="no test record"):
        ProbeSplits(splits.train, splits.validation, none)
    with pytest.raises(ValueError, match="split by patient"):
        ProbeSplits(splits.train, splits.validation, splits.train)
    blind = ProbeSplits(splits.train, splits.validation.select(np.zeros(150, bool)), splits.test)
    result = probe(embeddings, blind, Probes(fractions=(1.0,)), 0).result
    assert result.selected_on == "default"
    assert result.fractions[0].c == logistic.DEFAULT_C
    splits.train.labels[:] = 1
    with pytest.raises(CannotProbe, match="no class"):
        probe(embeddings, splits, Probes(), 0)


@settings(max_examples=60, deadline=None)
@given(
    patients=st.integers(1, 60),
    fraction=st.floats(0.01, 1),
    stratified=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_draws_hold_whole_patients(patients: int, fraction: float, stratified: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = (rng.random((patients * 2, 5)) < [0.5, 0.3, 0.1, 0.05, 0.02]).astype(np.int8)
    benchmark = _benchmark(labels, "r", per_patient=2)
    draw = "stratified" if stratified else "plain"
    rows = draw_records(benchmark, fraction, draw, np.random.default_rng(seed))
    size = max(1, round(fraction * patients))
    assert len(rows) == 2 * size
    assert len({benchmark.patients[row] for row in rows}) == size
    if stratified and size >= 5:
        assert ((labels[rows] == 1).any(axis=0) == (labels == 1).any(axis=0)).all()
    if not stratified:
        smaller = draw_records(benchmark, fraction / 2, draw, np.random.default_rng(seed))
        assert set(smaller) <= set(rows)
