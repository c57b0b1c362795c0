"""Comparisons of models: what is paired, what the verdict says, groups of a leaderboard, and the page."""

from __future__ import annotations

import re
from pathlib import Path

import evaluation_data
import numpy as np
import pyarrow as pa
import pytest
import tiny_bundle
from test_promotion import contender

from jobs import compare as compare_job
from supreme import config
from supreme.evaluation import compare, leaderboard, model_comparison, verdict
from supreme.evaluation.benchmarks import Benchmark
from supreme.evaluation.compare import Comparison, NotComparable
from supreme.evaluation.folder import EvaluationFolder
from supreme.evaluation.leaderboard import Entrant
from supreme.metrics import bootstrap
from supreme.reporting import comparison_page
from supreme.runtime.cli import Options
from supreme.settings.compare import Compare

pytestmark = pytest.mark.unit

CLASSES = ("atrial_fibrillation", "long_qt", "sinus_bradycardia")


def benchmark(seed: int = 0, records: int = 400, name: str = "d") -> Benchmark:
    labels = (np.random.default_rng(seed).random((records, 3)) < 0.3).astype(np.int8)
    ids = tuple(f"{name}/{row:03d}" for row in range(records))
    return Benchmark(name, ids, tuple(f"d/p{row // 2}" for row in range(records)), ids, CLASSES, labels)


def scored(bench: Benchmark, noise: float, seed: int) -> pa.Table:
    values = bench.labels + np.random.default_rng(seed).normal(0, noise, bench.labels.shape)
    columns = {name: values[:, c] for c, name in enumerate(bench.classes)}
    return pa.table({"record_id": list(bench.record_ids)} | columns)


def paired(a: pa.Table, b: pa.Table, bench: Benchmark, replicates: int = 300) -> Comparison:
    return compare.paired(a, b, bench, replicates, np.random.default_rng(0), 5)


def test_swapping_the_models_mirrors_everything() -> None:
    bench = benchmark()
    good, poor = scored(bench, 0.7, 1), scored(bench, 1.5, 2)
    one, other = paired(good, poor, bench), paired(poor, good, bench)
    assert other.difference == pytest.approx(-one.difference)
    assert (other.low, other.high) == pytest.approx((-one.high, -one.low))
    assert other.p_value == pytest.approx(one.p_value)
    assert verdict.verdict(one, 0.02) == "better"
    assert verdict.verdict(other, 0.02) == "worse"
    assert [row.difference for row in other.by_class] == pytest.approx(
        [-row.difference for row in one.by_class]
    )
    assert one.patients == 200
    assert one.patients_needed["0.01"] == pytest.approx(4 * one.patients_needed["0.02"], rel=0.05)


def test_both_models_see_the_same_draws() -> None:
    bench = benchmark()
    a, b = scored(bench, 0.7, 1), scored(bench, 1.0, 2)
    weights = bootstrap.multiplicities(bench.patients, 200, np.random.default_rng(0))
    replicates = [
        bootstrap.macro(
            bootstrap.auroc_replicates(
                np.stack([table.column(c).to_numpy() for c in CLASSES], axis=1), bench.labels, weights
            )
        )
        for table in (a, b)
    ]
    expected = bootstrap.percentile(replicates[0] - replicates[1])
    comparison = paired(a, b, bench, 200)
    assert (comparison.low, comparison.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_a_model_is_not_worse_than_itself_and_small_data_cannot_tell() -> None:
    bench = benchmark()
    table = scored(bench, 1.0, 1)
    same = paired(table, table, bench)
    assert (same.difference, same.low, same.high, same.p_value) == (0, 0, 0, 1)
    assert verdict.verdict(same, 0.0) == "not worse"
    few = benchmark(3, 60)
    unclear = paired(scored(few, 1.0, 4), scored(few, 1.05, 5), few)
    assert verdict.verdict(unclear, 0.001) == "cannot tell"
    sentence = verdict.sentence(unclear, 0.001)
    assert "Which is better cannot be told: difference" in sentence
    assert re.search(r"These 30 patients show a true difference of 0\.\d+ with a power of 80 %", sentence)


def with_numbers(low: float, high: float, p_value: float) -> Comparison:
    bench = benchmark()
    table = scored(bench, 1.0, 1)
    return paired(table, table, bench, 0).model_copy(update={"low": low, "high": high, "p_value": p_value})


@pytest.mark.parametrize(
    ("low", "high", "p_value", "expected"),
    [
        (0.001, 0.02, 0.04, "better"),
        (0.001, 0.02, 0.06, "not worse"),
        (-0.001, 0.02, 0.04, "not worse"),
        (-0.02, 0.03, 0.5, "not worse"),
        (-0.0201, 0.03, 0.5, "cannot tell"),
        (-0.06, -0.03, 0.001, "worse"),
        (-0.01, -0.001, 0.01, "worse"),
        (-0.06, -0.001, 0.06, "cannot tell"),
    ],
)
def test_the_verdict_needs_interval_and_test(low: float, high: float, p_value: float, expected: str) -> None:
    comparison = with_numbers(low, high, p_value)
    assert verdict.verdict(comparison, 0.02) == expected
    assert ("by less than 0.02" in verdict.sentence(comparison, 0.02)) == (low == -0.01)


def test_a_constant_class_is_left_out_for_both_and_named() -> None:
    bench = benchmark()
    a, b = scored(bench, 0.7, 1), scored(bench, 1.0, 2)
    flat = a.set_column(2, "long_qt", pa.array(np.full(400, 0.5)))
    comparison = paired(flat, b, bench)
    assert (comparison.classes, comparison.left_out) == (2, ("long_qt",))
    without = paired(a.drop_columns("long_qt"), b, bench)
    assert comparison.difference == pytest.approx(without.difference)
    only = flat.select(["record_id", "long_qt"])
    with pytest.raises(NotComparable, match=r"share no class .*; constant scores: long_qt"):
        paired(only, b, bench)


def test_a_mean_of_benchmarks_on_the_same_patients_is_no_more_certain() -> None:
    """Two label sets of the same records are not two samples; two of other patients are."""
    bench, other = benchmark(), benchmark(7, name="e")
    parts = [compare.pair_scores(scored(b, 0.7, 1), scored(b, 1.0, 2), b, 5) for b in (bench, other)]
    single = compare.compare_means(parts[:1], "one", 200, np.random.default_rng(0))
    twice = compare.compare_means([parts[0], parts[0]], "two", 200, np.random.default_rng(0))
    assert twice.standard_error == pytest.approx(single.standard_error)
    assert (twice.low, twice.high) == pytest.approx((single.low, single.high), abs=0.01)
    assert (twice.patients, twice.records, twice.by_class) == (200, 400, ())
    apart = [parts[0], compare.pair_scores(*_renamed(other), 5)]
    both = compare.compare_means(apart, "apart", 200, np.random.default_rng(0))
    errors = [compare.compare_means([p], "p", 0, np.random.default_rng(0)).standard_error for p in apart]
    assert both.standard_error == pytest.approx(np.hypot(*errors) / 2, rel=1e-6)
    assert both.patients == 400


def _renamed(bench: Benchmark) -> tuple[pa.Table, pa.Table, Benchmark]:
    patients = tuple(f"e/{patient}" for patient in bench.patients)
    renamed = Benchmark("e", bench.record_ids, patients, bench.recordings, CLASSES, bench.labels)
    return scored(bench, 0.7, 1), scored(bench, 1.0, 2), renamed


# ---- several models


def entrant(folder: Path, name: str, noise: float) -> Entrant:
    evaluation = contender(folder / name, noise).evaluation
    assert evaluation is not None
    return Entrant(name, evaluation)


@pytest.fixture(scope="module")
def entrants(tmp_path_factory: pytest.TempPathFactory) -> list[Entrant]:
    folder = tmp_path_factory.mktemp("models")
    return [
        entrant(folder, *one) for one in (("A", 0.5), ("poor", 3.0), ("likeA1", 0.51), ("worst!!!", 40.0))
    ]


def test_models_that_cannot_be_told_apart_share_a_letter(entrants: list[Entrant]) -> None:
    boards = leaderboard.leaderboards(entrants, 5)
    assert [board.dataset for board in boards] == ["pooled", "d"]
    [board, _] = boards
    letters = {row.model: row.letters for row in board.rows}
    assert letters["A"] == letters["likeA1"] == "a"
    assert "a" not in letters["poor"] + letters["worst!!!"]
    assert [row.auroc for row in board.rows] == sorted((row.auroc for row in board.rows), reverse=True)
    for row in board.rows:
        assert row.low is not None
        assert row.high is not None
        assert row.low <= row.auroc <= row.high


def test_p_values_are_adjusted_over_the_rivals(entrants: list[Entrant]) -> None:
    alone = model_comparison.compare_models(entrants[:2], 0.02)
    every = model_comparison.compare_models(entrants, 0.02)
    assert list(every.verdicts()) == ["poor", "likeA1", "worst!!!"]
    assert every.verdicts()["poor"]["pooled"] == "better"
    assert every.verdicts()["likeA1"]["pooled"] in ("not worse", "cannot tell")
    first, same = (one.pairs[0].datasets[0].comparison for one in (alone, every))
    assert first.p_value < same.p_value < 4 * first.p_value


def test_the_page_holds_verdicts_plots_and_published_numbers(entrants: list[Entrant]) -> None:
    result = model_comparison.compare_models(entrants[:2], 0.02)
    page = comparison_page.render("<b>name", result)
    assert "&lt;b&gt;name" in page
    assert page.count("<svg") == 2
    assert ">better<" in page
    assert "arXiv 2502.19668" in page
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)
    assert model_comparison.ModelComparison.model_validate_json(result.model_dump_json()) == result
    [line, _] = comparison_page.lines(result)
    assert line.startswith("pooled, A = A, B = poor: A is better than B: difference +0.")


def test_published_numbers_have_a_source_and_a_confidence() -> None:
    numbers = leaderboard.published()
    assert len(numbers) > 20
    assert all(row.source and 50 < row.value < 100 for row in numbers)
    [mean] = [row for row in numbers if (row.method, row.benchmark) == ("SuPreME", "mean of six")]
    assert (mean.value, mean.confidence) == (77.2, "confirmed")


@pytest.mark.parametrize("models", [(), ("models:/a/1",)])
def test_the_job_wants_two_models(models: tuple[str, ...], tmp_path: Path) -> None:
    recipe = config.Recipe(root=str(tmp_path), compare=Compare(models=models))
    with pytest.raises(config.ConfigError, match="fewer than two models"):
        compare_job.run(recipe, Options())
    assert compare_job.run(recipe, Options(dry_run=True)) == {"models": models, "margin": 0.02}


def test_the_job_evaluates_compares_and_writes_a_page_once(tmp_path: Path) -> None:
    recipe = evaluation_data.recipe(tmp_path).model_copy(update={"real": ""})
    evaluation_data.write_all_shards(recipe)
    for seed, name in enumerate(("one", "two")):
        tiny_bundle.write(tmp_path / name, seed, trained_on=evaluation_data.seen_by(recipe))
    models = (str(tmp_path / "one"), str(tmp_path / "two"))
    settings = recipe.evaluation.model_copy(update={"min_positives": 2})
    recipe = recipe.model_copy(update={"compare": Compare(models=models), "evaluation": settings})
    result = compare_job.run(recipe, Options())
    verdicts = result["verdicts"]
    assert isinstance(verdicts, dict)
    assert list(verdicts[models[1]]) == ["simulated"]
    page = Path(str(result["page"]))
    assert "<svg" in page.read_text()
    written = page.stat().st_mtime_ns
    assert compare_job.run(recipe, Options()) == result
    assert page.stat().st_mtime_ns == written
    numbers = comparison_page.read(str(page.parent))
    assert numbers.models == models
    page.with_name("comparison.json").write_text("{")
    with pytest.raises(
        config.ConfigError, match=r"comparison\.json is damaged.*run jobs/compare\.py with --new"
    ):
        comparison_page.read(str(page.parent))
    same = recipe.model_copy(update={"compare": Compare(models=(models[0], models[0]))})
    with pytest.raises(config.ConfigError, match="are the same model"):
        compare_job.run(same, Options())


def test_models_without_a_common_data_set_are_refused(tmp_path: Path, entrants: list[Entrant]) -> None:
    other = entrants[1].evaluation
    elsewhere = {"d": other.result.datasets["d"].model_copy(update={"shards_digest": "y"})}
    result = other.result.model_copy(update={"datasets": elsewhere})
    stranger = Entrant("stranger", EvaluationFolder(other.folder, other.manifest, result))
    with pytest.raises(
        config.ConfigError, match="A and stranger have no data set with a class to compare on"
    ):
        model_comparison.compare_models([entrants[0], stranger], 0.02)
