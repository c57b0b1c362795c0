"""Scoring shards with planted truth: order, phrasings, kept scores, summaries, comparison of two models."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from evaluation_data import CONDITIONS, PlantedModel, write_shards

from supreme.evaluation import benchmarks, compare, summary, zeroshot
from supreme.evaluation.benchmarks import Benchmark
from supreme.evaluation.bundle_scorer import probabilities
from supreme.evaluation.class_results import MacroAuroc
from supreme.evaluation.outputs import Outputs, collect
from supreme.evaluation.shard_reader import ShardReader
from supreme.inference import engine
from supreme.shards.read import ShardDataset

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> ShardDataset:
    folder = str(tmp_path_factory.mktemp("shards"))
    ids = {"train": [f"t{i:03d}" for i in range(150)], "test": [f"u{i:03d}" for i in range(50)]}
    write_shards(folder, "planted", CONDITIONS, ids)
    return ShardDataset.open(folder)


@pytest.fixture(scope="module")
def bench(shards: ShardDataset) -> Benchmark:
    return benchmarks.benchmark("planted", "simulated", shards.table(benchmarks.COLUMNS))


def scores(
    shards: ShardDataset, folder: Path, ids: Collection[str] | None = None, model: PlantedModel | None = None
) -> pa.Table:
    """Scores of all records, or of those named."""
    outputs = score(shards, folder, ids, model)
    values = probabilities(outputs.values[:, : len(CONDITIONS)])
    columns = {name: values[:, c] for c, name in enumerate(CONDITIONS)}
    return pa.table({"record_id": list(outputs.record_ids), **columns})


def score(
    shards: ShardDataset, folder: Path, ids: Collection[str] | None = None, model: PlantedModel | None = None
) -> Outputs:
    every = shards.table(["record_id"]).column("record_id").to_pylist()
    selected = np.array([ids is None or record in ids for record in every])
    scorer: Any = model or PlantedModel()
    return collect(ShardReader.of(shards, selected), scorer, f"{folder}/outputs.parquet", "planted")


def test_scores_stand_beside_their_records(shards: ShardDataset, bench: Benchmark, tmp_path: Path) -> None:
    model = PlantedModel()
    table = scores(shards, tmp_path, model=model)
    assert table.column_names == ["record_id", *CONDITIONS]
    assert sorted(table.column("record_id").to_pylist()) == sorted(bench.record_ids)
    values = summary.matrix([table.take(np.arange(200)[::-1])], bench)
    for c, name in enumerate(bench.classes):
        if name != "long_qt":
            assert (values[bench.labels[:, c] == 1, c] > 0.5).all()
            assert (values[bench.labels[:, c] == 0, c] < 0.5).all()
    assert set(model.batches) == {engine.BATCH_SIZE}, "every batch has one size"
    lifted = score(shards, tmp_path).values[:, len(CONDITIONS) + 1] > 0.5
    assert (lifted == (table.column("atrial_fibrillation").to_numpy() > 0.5)).all()
    assert {path.name for path in tmp_path.iterdir()} == {"outputs.parquet"}


def test_only_the_selected_records_are_scored(shards: ShardDataset, tmp_path: Path) -> None:
    whole = scores(shards, tmp_path / "whole")
    few = scores(shards, tmp_path / "few", ["planted/u001", "planted/t007"])
    assert few.column("record_id").to_pylist() == ["planted/u001", "planted/t007"]
    rows = [whole.column("record_id").to_pylist().index(name) for name in few.column("record_id").to_pylist()]
    assert few.equals(whole.take(rows))


def test_an_unseen_condition_is_queried_in_its_phrasings() -> None:
    model = PlantedModel()
    assert zeroshot.queries_of("atrial_fibrillation", model).texts == ("atrial_fibrillation",)
    assert len([text for text in zeroshot.queries_of("long_qt", model).texts if "QT" in text]) >= 2


def test_no_phrasing_of_an_unseen_condition_names_a_seen_one() -> None:
    class Confused(PlantedModel):
        def known_entity(self, query: str) -> str:
            return "" if "interval" in query else "sinus_tachycardia"

    phrasings = zeroshot.queries_of("long_qt", Confused()).texts
    assert phrasings
    assert all("interval" in text for text in phrasings)


class Killed(PlantedModel):
    """Dies after two batches."""

    def __call__(self, windows: np.ndarray) -> np.ndarray:
        if len(self.batches) == 4:
            raise KeyboardInterrupt
        return super().__call__(windows)


def test_a_kill_costs_no_finished_part_and_no_bit(shards: ShardDataset, tmp_path: Path) -> None:
    expected = scores(shards, tmp_path / "whole")
    model = Killed()
    with pytest.raises(KeyboardInterrupt):
        scores(shards, tmp_path / "killed", model=model)
    parts = list((tmp_path / "killed").rglob("*.parquet"))
    assert parts
    assert not (tmp_path / "killed" / "outputs.parquet").exists()
    written = {part: part.stat().st_mtime_ns for part in parts}
    second = PlantedModel()
    reads = sum(pq.read_metadata(part).num_rows for part in parts)
    assert scores(shards, tmp_path / "killed", model=second).equals(expected)
    assert len(second.batches) * engine.BATCH_SIZE < 2 * (200 - reads) + 4 * engine.BATCH_SIZE
    assert all(not part.exists() or part.stat().st_mtime_ns == when for part, when in written.items())


def test_finished_scores_are_read(shards: ShardDataset, tmp_path: Path) -> None:
    first = scores(shards, tmp_path)

    class Forbidden(PlantedModel):
        def __call__(self, windows: np.ndarray) -> np.ndarray:
            raise AssertionError("scored again")

    assert scores(shards, tmp_path, model=Forbidden()).equals(first)
    (tmp_path / "outputs.parquet").unlink()
    with pytest.raises(AssertionError, match="scored again"):
        scores(shards, tmp_path, model=Forbidden())


def test_a_model_that_gives_no_number_names_the_record(shards: ShardDataset, tmp_path: Path) -> None:
    class Diverged(PlantedModel):
        def __call__(self, windows: np.ndarray) -> np.ndarray:
            values = super().__call__(windows)
            values[5] = np.nan
            return values

    with pytest.raises(ValueError, match="planted/u002: the model gives no number"):
        scores(shards, tmp_path, model=Diverged())


def test_the_summary_of_planted_truth(shards: ShardDataset, bench: Benchmark, tmp_path: Path) -> None:
    values = summary.matrix([scores(shards, tmp_path)], bench)
    result = summary.summarize(bench, bench, values, CONDITIONS[:3], 5)
    perfect = result.macro["seen"]
    assert (perfect.auroc, perfect.high, perfect.classes) == (1.0, 1.0, 3)
    assert perfect.low is not None
    assert 0.9 < perfect.low < 1, "a perfect ranking of a few patients is not certain"
    assert result.macro["unseen"] == MacroAuroc(
        auroc=None, low=None, high=None, classes=0, left_out=("long_qt",)
    )
    assert result.macro["headline"].auroc == result.literal.auroc == 1
    assert result.classes["long_qt"].note == "constant score"
    assert result.classes["long_qt"].auroc is None
    assert result.classes["long_qt"].seen is False
    assert result.classes["long_qt"].positives == bench.positives(bench.classes.index("long_qt"))
    rare = summary.summarize(bench, bench, values, CONDITIONS, 10_000)
    nothing = MacroAuroc(auroc=None, low=None, high=None, classes=0)
    assert rare.macro["headline"] == nothing
    assert rare.macro["all"].classes == 3


def test_a_record_without_a_score_is_named(shards: ShardDataset, bench: Benchmark, tmp_path: Path) -> None:
    table = scores(shards, tmp_path, [record for record in bench.record_ids if "/u" in record])
    with pytest.raises(ValueError, match=r"150 records have no score, first planted/t000"):
        summary.matrix([table], bench)


def test_a_better_model_is_told_from_a_worse_one(
    shards: ShardDataset, bench: Benchmark, tmp_path: Path
) -> None:
    good = scores(shards, tmp_path)
    noise = np.random.default_rng(1)
    columns = {name: good.column(name).to_numpy() + noise.normal(0, 1, 200) for name in CONDITIONS[:3]}
    poor = pa.table({"record_id": good.column("record_id"), **columns})
    comparison = compare.paired(good, poor, bench, 200, np.random.default_rng(0))
    assert comparison.classes == 3
    assert comparison.difference == pytest.approx(comparison.auroc_a - comparison.auroc_b)
    assert 0 < comparison.low <= comparison.difference <= comparison.high
    assert comparison.share_above == 1
    same = compare.paired(good, good, bench, 50, np.random.default_rng(0))
    assert (same.low, same.difference, same.high) == (0, 0, 0)
    with pytest.raises(ValueError, match="share no class"):
        compare.paired(good, poor, bench, 10, np.random.default_rng(0), min_positives=1000)
