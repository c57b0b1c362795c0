"""The patient bootstrap: what is drawn together, how wide the interval is, how fast it is made."""

from __future__ import annotations

import time

import numpy as np
import pytest

from supreme.metrics import bootstrap, rankings

pytestmark = pytest.mark.unit


def test_records_of_a_patient_are_drawn_together() -> None:
    patients = ["b", "a", "b", "c", "a"]
    drawn = bootstrap.multiplicities(patients, 200, np.random.default_rng(0))
    assert drawn.shape == (200, 5)
    assert (drawn[:, 0] == drawn[:, 2]).all()
    assert (drawn[:, 1] == drawn[:, 4]).all()
    assert (drawn[:, [0, 1, 3]].sum(axis=1) == 3).all()
    assert drawn[:, 3].max() > 1
    assert drawn[:, 3].min() == 0


def test_the_same_generator_draws_the_same() -> None:
    draws = [bootstrap.multiplicities(list("abcd"), 9, np.random.default_rng(5)) for _ in range(2)]
    assert np.array_equal(*draws)


def test_copies_of_a_record_do_not_narrow_the_interval() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random(120) < 0.3).astype(np.int8)[:, None]
    scores = labels * 0.8 + rng.normal(size=(120, 1))
    patients = [str(i) for i in range(120)]

    def width(copies: int) -> float:
        weights = bootstrap.multiplicities(patients * copies, 400, np.random.default_rng(1))
        replicates = bootstrap.auroc_replicates(
            np.tile(scores, (copies, 1)), np.tile(labels, (copies, 1)), weights
        )
        interval = bootstrap.percentile(replicates[:, 0])
        return interval.high - interval.low

    assert width(4) == pytest.approx(width(1))


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    truth = 0.760  # of N(1, 1) against N(0, 1)
    held = 0
    for _ in range(120):
        labels = (np.arange(80) < 30).astype(np.int8)[:, None]
        scores = labels + rng.normal(size=(80, 1))
        weights = bootstrap.multiplicities([str(i) for i in range(80)], 200, rng)
        interval = bootstrap.percentile(bootstrap.auroc_replicates(scores, labels, weights)[:, 0])
        held += interval.low <= truth <= interval.high
    assert 0.86 <= held / 120 <= 1


def test_undefined_replicates_are_left_out_and_counted() -> None:
    replicates = np.array([[0.5, np.nan], [np.nan, np.nan], [0.7, 0.9]])
    assert bootstrap.macro(replicates) == pytest.approx([0.5, np.nan, 0.8], nan_ok=True)
    interval = bootstrap.percentile(replicates[:, 1])
    assert (interval.low, interval.high, interval.undefined) == (0.9, 0.9, 2)
    assert np.isnan(bootstrap.percentile(np.array([np.nan])).low)


def test_a_single_positive_is_missing_from_a_third_of_the_replicates() -> None:
    labels = np.zeros((50, 1), np.int8)
    labels[0] = 1
    weights = bootstrap.multiplicities([str(i) for i in range(50)], 400, np.random.default_rng(0))
    replicates = bootstrap.auroc_replicates(np.random.default_rng(1).random((50, 1)), labels, weights)
    assert 0.3 < bootstrap.percentile(replicates[:, 0]).undefined / 400 < 0.45


def test_no_replicates_give_no_interval() -> None:
    weights = bootstrap.multiplicities(["a", "b"], 0, np.random.default_rng(0))
    replicates = bootstrap.auroc_replicates(np.array([[0.1], [0.2]]), np.array([[0], [1]]), weights)
    assert np.isnan(bootstrap.percentile(bootstrap.macro(replicates)).low)


def test_five_hundred_replicates_of_fifty_classes_take_seconds() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random((3000, 50)) < 0.1).astype(np.int8)
    scores = rng.random((3000, 50)).astype(np.float32)
    start = time.process_time()
    weights = bootstrap.multiplicities([str(i) for i in range(3000)], 500, rng)
    replicates = bootstrap.auroc_replicates(scores, labels, weights)
    assert time.process_time() - start < 20
    assert replicates.shape == (500, 50)
    whole = [rankings.auroc(rankings.rank(scores[:, c], labels[:, c]))[0] for c in range(50)]
    assert replicates.mean(axis=0) == pytest.approx(whole, abs=0.01)
