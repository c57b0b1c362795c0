"""AUROC and average precision against scikit-learn, and weights against repetition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import average_precision_score, roc_auc_score

from supreme.metrics import rankings

pytestmark = pytest.mark.unit

sizes = st.integers(2, 40)


@st.composite
def classes(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores with many ties, labels with both classes and some unknown, integer weights."""
    n = draw(sizes)
    scores = draw(hnp.arrays(np.float64, n, elements=st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0])))
    labels = draw(hnp.arrays(np.int8, n, elements=st.sampled_from([-1, 0, 1])))
    labels[0], labels[1] = 0, 1
    weights = draw(hnp.arrays(np.int64, n, elements=st.integers(0, 3)))
    weights[:2] = 1
    return scores, labels, weights


@given(classes())
@settings(max_examples=150, deadline=None)
def test_equal_to_scikit_learn(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    scores, labels, _ = case
    annotated = labels >= 0
    ranking = rankings.rank(scores, labels)
    exact = roc_auc_score(labels[annotated], scores[annotated])
    assert rankings.auroc(ranking)[0] == pytest.approx(exact, rel=0, abs=1e-12)
    exact = average_precision_score(labels[annotated], scores[annotated])
    assert rankings.average_precision(ranking)[0] == pytest.approx(exact, rel=0, abs=1e-12)


@given(classes())
@settings(max_examples=150, deadline=None)
def test_a_weight_is_a_repetition(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    scores, labels, weights = case
    ranking = rankings.rank(scores, labels)
    repeated = rankings.rank(np.repeat(scores, weights), np.repeat(labels, weights))
    both = np.stack([np.ones_like(weights), weights])
    assert rankings.auroc(ranking, both) == pytest.approx(
        [rankings.auroc(ranking)[0], rankings.auroc(repeated)[0]]
    )
    assert rankings.average_precision(ranking, both)[1] == pytest.approx(
        rankings.average_precision(repeated)[0]
    )


@given(classes())
@settings(max_examples=50, deadline=None)
def test_the_curve_encloses_the_auroc(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    ranking = rankings.rank(case[0], case[1])
    false, true = rankings.roc_curve(ranking)
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(true, false) == pytest.approx(rankings.auroc(ranking)[0])


def test_undefined_without_both_classes() -> None:
    weights = np.array([[1, 1, 0], [1, 1, 1]])
    one_sided = rankings.rank(np.array([0.1, 0.2, 0.3]), np.array([1, 1, -1]))
    assert np.isnan(rankings.auroc(one_sided, weights)).all()
    ranking = rankings.rank(np.array([0.1, 0.2, 0.3]), np.array([0, 0, 1]))
    assert np.isnan(rankings.auroc(ranking, weights)[0])
    assert np.isnan(rankings.average_precision(ranking, weights)[0])
    assert rankings.auroc(ranking, weights)[1] == 1


def test_blocks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    ranking = rankings.rank(rng.random(50), (rng.random(50) < 0.3).astype(np.int8))
    weights = rng.integers(0, 3, (37, 50))
    whole = rankings.auroc(ranking, weights)
    monkeypatch.setattr(rankings, "_BLOCK", 170)
    assert np.array_equal(rankings.auroc(ranking, weights), whole, equal_nan=True)


def test_a_nan_score_is_an_error_and_not_a_rank() -> None:
    with pytest.raises(ValueError, match="not finite"):
        rankings.rank(np.array([0.1, np.nan]), np.array([0, 1]))
