"""What a summary says of hard cases: few patients, constant, missing and doubled scores, subgroups."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from supreme.config import ConfigError
from supreme.evaluation import operating_points, subgroups, summary
from supreme.evaluation.benchmarks import Benchmark
from supreme.evaluation.class_results import ProtocolResult
from supreme.metrics import rankings

pytestmark = pytest.mark.unit

CLASSES = ("atrial_fibrillation", "long_qt", "sinus_bradycardia")


def benchmark(labels: np.ndarray, patients: list[str] | None = None) -> Benchmark:
    ids = tuple(f"d/{row:03d}" for row in range(len(labels)))
    owners = tuple(patients or ids)
    return Benchmark("d", ids, owners, ids, CLASSES[: labels.shape[1]], labels.astype(np.int8))


def table(bench: Benchmark, scores: np.ndarray, ids: list[str] | None = None) -> pa.Table:
    columns = {name: scores[:, c] for c, name in enumerate(bench.classes)}
    return pa.table({"record_id": ids or list(bench.record_ids)} | columns)


def planted(records: int = 200) -> tuple[Benchmark, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = (rng.random((records, 3)) < 0.3).astype(np.int8)
    scores = 1 / (1 + np.exp(-(labels + rng.normal(size=labels.shape))))
    return benchmark(labels, [f"p{row // 2}" for row in range(records)]), scores


def summarized(bench: Benchmark, scores: np.ndarray, min_positives: int = 5) -> ProtocolResult:
    return summary.summarize(bench, bench, scores, CLASSES, min_positives)


def test_numbers_are_those_of_the_metrics_with_patients_counted() -> None:
    bench, scores = planted()
    row = summarized(bench, scores).classes["long_qt"]
    ranking = rankings.rank(scores[:, 1], bench.labels[:, 1])
    assert row.auroc == pytest.approx(float(rankings.auroc(ranking)[0]), abs=1e-12)
    assert row.auprc == pytest.approx(float(rankings.average_precision(ranking)[0]), abs=1e-12)
    owners = np.array(bench.patients)
    assert row.positive_patients == len(set(owners[bench.labels[:, 1] == 1])) < row.positives
    assert row.negative_patients == len(set(owners[bench.labels[:, 1] == 0]))
    assert row.prevalence == pytest.approx(bench.labels[:, 1].mean())
    assert row.low is not None
    assert row.auroc is not None
    assert row.low < row.auroc
    assert (row.note, row.constant) == ("", False)


def test_few_patients_have_no_interval_whatever_their_records() -> None:
    """Forty positive records of four patients."""
    labels = (np.arange(200) < 40).astype(np.int8)[:, None]
    patients = [f"p{row % 4}" if row < 40 else f"n{row}" for row in range(200)]
    scores = np.random.default_rng(0).random((200, 1))
    row = summarized(benchmark(labels, patients), scores).classes[CLASSES[0]]
    assert row.auroc is not None
    assert (row.low, row.high, row.headline) == (None, None, False)
    assert row.note == "4 positive patients: no interval below 5"


@pytest.mark.parametrize(
    ("labels", "scores", "note"),
    [
        ([0, 0, 0], [0.1, 0.2, 0.3], "no positive record"),
        ([1, 1, 1], [0.1, 0.2, 0.3], "no negative record"),
        ([-1, -1, -1], [0.1, 0.2, 0.3], "no positive record"),
        ([1], [0.4], "no negative record"),
        ([1, 0, 1], [0.5, 0.5, 0.5], "constant score"),
        ([1, 0, 0], [np.nan, np.nan, np.nan], "no score of this class"),
    ],
)
def test_nothing_is_made_up_where_nothing_is_known(labels: list[int], scores: list[float], note: str) -> None:
    result = summarized(benchmark(np.array(labels)[:, None]), np.array(scores)[:, None], min_positives=1)
    row = result.classes[CLASSES[0]]
    assert (row.auroc, row.low, row.high, row.note) == (None, None, None, note)
    assert row.auprc is None
    assert result.macro["headline"].auroc is None
    assert result.literal.auroc is None
    result.model_dump_json()


def test_one_patient_has_an_auroc_and_no_interval() -> None:
    bench = benchmark(np.array([[1], [0], [0]]), ["p", "p", "p"])
    row = summarized(bench, np.array([[0.9], [0.1], [0.2]])).classes[CLASSES[0]]
    assert (row.auroc, row.low, row.positive_patients, row.negative_patients) == (1, None, 1, 1)


def test_a_constant_class_is_left_out_of_the_mean_by_name() -> None:
    bench, scores = planted()
    scores[:, 1] = 0.5
    macro = summarized(bench, scores).macro["headline"]
    assert (macro.classes, macro.left_out) == (2, ("long_qt",))


def test_scores_that_are_no_probabilities_are_ranked_and_not_calibrated() -> None:
    bench, scores = planted()
    logits = np.log(scores / (1 - scores))
    result, same = summarized(bench, logits), summarized(bench, scores)
    assert result.macro == same.macro
    assert result.calibration is None
    assert "are no probabilities" in result.calibration_note
    row = result.classes["long_qt"]
    assert (row.brier, row.ece, row.in_the_large) == (None, None, None)
    assert row.sensitivity_at_90 == same.classes["long_qt"].sensitivity_at_90
    assert same.calibration is not None


# ---- score tables


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_no_number_is_named(value: float) -> None:
    bench, scores = planted()
    scores[7, 1] = value
    with pytest.raises(
        ConfigError, match=rf"not finite, first that of d/007 for class long_qt, which is {value}"
    ):
        summary.matrix([table(bench, scores)], bench)
    bench.labels[7, 1] = -1
    assert summary.matrix([table(bench, scores)], bench).shape == scores.shape, "where nothing is annotated"


def test_a_record_twice_is_an_error_and_not_the_last_score() -> None:
    bench, scores = planted()
    ids = [*bench.record_ids, bench.record_ids[3]]
    doubled = table(bench, np.concatenate([scores, scores[:1]]), ids)
    with pytest.raises(
        ConfigError, match="1 record has more than one score, first d/003: leave one row a record"
    ):
        summary.matrix([doubled], bench)
    one = table(bench, scores)
    with pytest.raises(ConfigError, match="200 records have more than one score, first d/000"):
        summary.matrix([one, one], bench)


def test_missing_records_and_texts_are_named_and_a_missing_class_is_none() -> None:
    bench, scores = planted()
    with pytest.raises(ConfigError, match="190 records have no score, first d/010: score every record"):
        summary.matrix([table(bench, scores).slice(0, 10)], bench)
    text = table(bench, scores).drop_columns("long_qt").append_column("long_qt", pa.array(["0.5"] * 200))
    with pytest.raises(ConfigError, match="the scores of class long_qt are string, not numbers"):
        summary.matrix([text], bench)
    values = summary.matrix([table(bench, scores).drop_columns("long_qt")], bench)
    assert summarized(bench, values).classes["long_qt"].note == "no score of this class"
    shuffled = table(bench, scores).take(pa.array(np.random.default_rng(1).permutation(200)))
    assert np.array_equal(summary.matrix([shuffled], bench), scores)


# ---- subgroups


def attributes_of(bench: Benchmark, **columns: list[object]) -> subgroups.Attributes:
    return subgroups.attributes(pa.table({"record_id": list(bench.record_ids)} | columns), bench)


def test_records_are_divided_by_what_there_is() -> None:
    bench = benchmark(np.zeros((6, 1)))
    divided = attributes_of(
        bench,
        age=[17.9, 18.0, 64.0, 65.0, 300.0, None],
        sex=["F", "M", "", "F", "F", "M"],
        dataset=["d"] * 6,
        source_rate_hz=[500.0] * 5 + [257.0],
        quality=[[], ["flat"], ["flat", "noise"], [], [], []],
        device=["a", "b", None, "a", "a", "b"],
    )
    assert list(divided) == ["age", "sex", "device", "rate", "quality"]
    assert {name: mask.sum() for name, mask in divided["age"].items()} == {
        "under 18": 1,
        "18-39": 1,
        "40-64": 1,
        "65-79": 1,
        "80 and over": 1,
    }
    assert {name: mask.sum() for name, mask in divided["sex"].items()} == {"F": 3, "M": 2}
    assert list(divided["rate"]) == ["257 Hz", "500 Hz"]
    assert {name: mask.sum() for name, mask in divided["quality"].items()} == {
        "no flag": 4,
        "flat": 2,
        "noise": 1,
    }


def test_a_planted_gap_is_found_and_an_equal_attribute_has_none() -> None:
    rng = np.random.default_rng(3)
    labels = (rng.random((1200, 3)) < 0.3).astype(np.int8)
    bench = benchmark(labels, [f"p{row // 2}" for row in range(1200)])
    sex = np.where(np.arange(1200) // 2 % 2, "F", "M")
    scores = labels * np.where(sex == "F", 0.4, 1.6)[:, None] + rng.normal(size=labels.shape)
    divided = attributes_of(bench, sex=sex.tolist(), source_rate_hz=rng.choice([100.0, 500.0], 1200).tolist())
    result = summary.summarize(bench, bench, scores, CLASSES, 5, divided)
    by_name = {part.attribute: part for part in result.subgroups}
    gap = by_name["sex"].gap
    assert gap is not None
    assert (gap.higher, gap.lower, gap.classes) == ("M", "F", 3)
    assert gap.p_value < 1e-6
    assert 0 < gap.low < gap.difference < gap.high
    [female, male] = by_name["sex"].groups
    assert (female.records, female.patients) == (600, 300)
    assert male.macro.auroc is not None
    assert female.macro.auroc is not None
    assert male.macro.auroc - female.macro.auroc == pytest.approx(gap.difference)
    other = by_name["rate"].gap
    assert other is not None
    assert other.p_value > 0.05
    assert other.low < 0, "two groups of the same patients"


def test_groups_that_are_too_small_have_no_number() -> None:
    bench, scores = planted()
    sex = ["F"] * 3 + ["M"] * 197
    [part] = summary.summarize(bench, bench, scores, CLASSES, 5, attributes_of(bench, sex=sex)).subgroups
    assert part.gap is None
    assert part.groups[0].macro.auroc is None
    assert part.groups[1].macro.low is not None


# ---- thresholds and recalibration


def split_in_two(seed: int = 5) -> tuple[Benchmark, np.ndarray, Benchmark, np.ndarray]:
    """Overconfident probabilities of records that half of the patients are validation records of."""
    rng = np.random.default_rng(seed)
    truth = rng.random((4000, 3)) * 0.6
    labels = (rng.random(truth.shape) < truth).astype(np.int8)
    scores = 1 / (1 + np.exp(-3 * np.log(truth / (1 - truth))))
    bench = benchmark(labels)
    half = np.arange(4000) % 2 == 0
    return bench.select(half), scores[half], bench.select(~half), scores[~half]


def test_thresholds_and_recalibration_come_from_validation_alone() -> None:
    validation, fitted, test, judged = split_in_two()
    points = operating_points.operating_points(validation, fitted, test, judged)
    result = summary.summarize(test, test, judged, CLASSES, 5, operating_points=points)
    for name, row in result.classes.items():
        point = row.operating_point
        assert point == points[name]
        assert point is not None
        assert point.threshold is not None
        assert point.specificity == pytest.approx(0.9, abs=0.03)
        assert point.slope == pytest.approx(1 / 3, rel=0.15)
        assert row.brier is not None
        assert row.ece is not None
        assert point.brier is not None
        assert point.ece is not None
        assert point.brier < row.brier
        assert point.ece < row.ece / 3
    other = replace(test, labels=1 - test.labels)
    turned = operating_points.operating_points(validation, fitted, other, judged)
    assert {name: (p.threshold, p.slope, p.intercept) for name, p in turned.items()} == {
        name: (p.threshold, p.slope, p.intercept) for name, p in points.items()
    }, "labels of the test set change nothing that is fitted"


def test_a_patient_in_validation_and_test_is_refused() -> None:
    validation, fitted, test, judged = split_in_two()
    doubled = replace(test, patients=(validation.patients[0], *test.patients[1:]))
    with pytest.raises(ValueError, match="1 patients are in validation and test, first d/000"):
        operating_points.operating_points(validation, fitted, doubled, judged)


def test_scores_of_any_scale_are_recalibrated() -> None:
    validation, fitted, test, judged = split_in_two()
    logits = [np.log(scores / (1 - scores)) for scores in (fitted, judged)]
    points = operating_points.operating_points(validation, logits[0], test, logits[1])
    same = operating_points.operating_points(validation, fitted, test, judged)
    for name, point in points.items():
        assert point.brier == pytest.approx(same[name].brier, abs=1e-4)
        assert point.sensitivity == same[name].sensitivity
