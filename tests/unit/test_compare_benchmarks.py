"""Two models on label sets: which are paired, under which protocol, and the mean of several."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from supreme.evaluation import benchmark_scores, compare_benchmarks, leaderboard, protocols
from supreme.evaluation.benchmark_results import BenchmarkResult, ProtocolEvaluation
from supreme.evaluation.benchmarks import Benchmark
from supreme.evaluation.folder import EvaluationFolder
from supreme.evaluation.leaderboard import Entrant
from supreme.evaluation.results import EvaluatedModel, EvaluationResult

pytestmark = pytest.mark.unit

SETS = protocols.load()["merl"].means["six sets"]


def labelled(name: str) -> Benchmark:
    """PTB-XL's sets are of the same patients."""
    dataset = name.partition("-")[0]
    truth = np.random.default_rng(sum(map(ord, name)))
    labels = (truth.random((300, 2)) < 0.3).astype(np.int8)
    ids = tuple(f"{dataset}/{row}" for row in range(300))
    patients = tuple(f"{dataset}/p{row // 2}" for row in range(300))
    return Benchmark(name, ids, patients, ids, ("A", "B"), labels)


def evaluated(
    folder: Path, noise: float, seed: int, sets: tuple[str, ...] = SETS, **changes: str
) -> EvaluationFolder:
    """A model with scores of label sets; `changes` are of the first of them."""
    rng, benchmarks = np.random.default_rng(seed), {}
    (folder / "benchmarks").mkdir(parents=True)
    for number, name in enumerate(sets):
        one = labelled(name)
        file = f"benchmarks/merl-{number:03d}.parquet"
        scores = one.labels + rng.normal(0, noise, one.labels.shape)
        benchmark_scores.write(str(folder / file), one, scores)
        benchmarks[name] = BenchmarkResult(
            dataset=name.partition("-")[0],
            version="1",
            split="test",
            split_rule="",
            available="",
            left_out=0,
            unknown_codes={},
            unannotated=0,
            other_labels=0,
            scores=file,
        )
    benchmarks[sets[0]] = benchmarks[sets[0]].model_copy(update=changes)
    result = EvaluationResult(
        recipe="",
        seed=0,
        min_positives=5,
        bootstrap=100,
        model=EvaluatedModel(uri="", sha256="", vocabulary=1, reads_reports=False, trained_on=()),
        datasets={},
        protocols={"merl": ProtocolEvaluation(version="1", title="", benchmarks=benchmarks, means=())},
    )
    return EvaluationFolder(str(folder), SimpleNamespace(inputs={}), result)  # type: ignore[arg-type]


def test_scores_and_labels_are_read_as_they_were_written(tmp_path: Path) -> None:
    one = labelled(SETS[0])
    values = np.random.default_rng(0).random((300, 2)).astype(np.float32)
    values[:, 1] = np.nan
    benchmark_scores.write(str(tmp_path / "x.parquet"), one, values)
    benchmark, table = benchmark_scores.read(str(tmp_path / "x.parquet"), "x")
    assert (benchmark.record_ids, benchmark.patients, benchmark.classes) == (
        one.record_ids,
        one.patients,
        one.classes,
    )
    assert np.array_equal(benchmark.labels, one.labels)
    assert table.column_names == ["record_id", "A"], "a class without scores is no column"
    assert np.array_equal(table.column("A").to_numpy(), values[:, 0])


def test_the_means_come_first_and_are_the_mean_of_their_benchmarks(tmp_path: Path) -> None:
    a, b = evaluated(tmp_path / "a", 0.7, 1), evaluated(tmp_path / "b", 1.0, 2)
    comparisons = {one.dataset: one for one in compare_benchmarks.compare_benchmarks(a, b)}
    assert list(comparisons) == ["merl: mean of six sets", *(f"merl: {name}" for name in SETS)]
    mean = comparisons["merl: mean of six sets"]
    parts = [comparisons[f"merl: {name}"] for name in SETS]
    assert mean.difference == pytest.approx(np.mean([part.difference for part in parts]))
    assert mean.low < mean.difference < mean.high
    assert mean.standard_error < min(part.standard_error for part in parts)
    assert (mean.patients, mean.records) == (450, 900), "three data sets of 150 patients"


def test_what_is_not_the_same_is_not_compared(tmp_path: Path) -> None:
    a = evaluated(tmp_path / "a", 0.7, 1)
    other = evaluated(tmp_path / "b", 1.0, 2, version="2")
    names = [one.dataset for one in compare_benchmarks.compare_benchmarks(a, other)]
    assert names == [f"merl: {name}" for name in SETS[1:]], "nor is the mean"
    few = evaluated(tmp_path / "c", 1.0, 3, SETS[2:4])
    assert [one.dataset for one in compare_benchmarks.compare_benchmarks(a, few)] == [
        f"merl: {name}" for name in SETS[2:4]
    ]
    empty = evaluated(tmp_path / "d", 1.0, 4, scores="")
    assert compare_benchmarks.common_benchmarks([a, empty], "merl") == list(SETS[1:])


def test_label_sets_have_leaderboards(tmp_path: Path) -> None:
    entrants = [
        Entrant(name, evaluated(tmp_path / name, noise, seed))
        for seed, (name, noise) in enumerate((("poor", 3.0), ("good", 0.5), ("better", 0.49)))
    ]
    boards = leaderboard.leaderboards(entrants, 5)
    assert [board.dataset for board in boards] == [f"merl: {name}" for name in SETS]
    for board in boards:
        letters = {row.model: row.letters for row in board.rows}
        assert letters["good"] == letters["better"] == "a"
        assert letters["poor"] == "b"
