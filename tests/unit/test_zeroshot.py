"""Scoring shards with planted truth: order, phrasings, kept scores, summaries, comparison of two models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from evaluation_data import CONDITIONS, PlantedModel, write_shards

from supreme.evaluation import benchmarks, compare, summary, zeroshot
from supreme.evaluation.benchmarks import Benchmark
from supreme.evaluation.results import MacroAuroc
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


def test_scores_stand_beside_their_records(
    shards: ShardDataset, bench: Benchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zeroshot, "BATCH_SIZE", 37)
    table = zeroshot.score(shards, PlantedModel(), CONDITIONS)
    assert table.column_names == ["record_id", *CONDITIONS]
    assert sorted(table.column("record_id").to_pylist()) == sorted(bench.record_ids)
    scores = summary.matrix([table.take(np.arange(200)[::-1])], bench)
    for c, name in enumerate(bench.classes):
        if name != "long_qt":
            assert (scores[bench.labels[:, c] == 1, c] > 0.5).all()
            assert (scores[bench.labels[:, c] == 0, c] < 0.5).all()


def test_only_the_named_split_and_records_are_scored(shards: ShardDataset) -> None:
    whole = zeroshot.score(shards, PlantedModel(), CONDITIONS, ("test",))
    assert whole.num_rows == 50
    few = zeroshot.score(shards, PlantedModel(), CONDITIONS, None, ["planted/u001", "planted/t007"])
    assert few.column("record_id").to_pylist() == ["planted/u001", "planted/t007"]
    assert few.slice(0, 1).equals(whole.slice(1, 1))


def test_an_unseen_condition_is_queried_in_its_phrasings(shards: ShardDataset) -> None:
    model = PlantedModel()
    zeroshot.score(shards, model, CONDITIONS, ("test",))
    assert "atrial_fibrillation" in model.queries
    assert "long_qt" not in model.queries
    assert len([text for text in model.queries if "QT" in text]) >= 2


def test_no_phrasing_of_an_unseen_condition_names_a_seen_one() -> None:
    class Confused(PlantedModel):
        def known_entity(self, query: str) -> str:
            return "" if "interval" in query else "sinus_tachycardia"

    phrasings = zeroshot.queries_of("long_qt", Confused())
    assert phrasings
    assert all("interval" in text for text in phrasings)


def test_logits_of_phrasings_are_averaged() -> None:
    probabilities = np.array([[0.9, 0.1, 0.5], [0.99, 0.5, 0.2]])
    logits = np.log(probabilities / (1 - probabilities))
    averaged = zeroshot._probabilities(logits, np.array([0, 0, 1]))
    assert averaged[:, 0] == pytest.approx([0.5, 99**0.5 / (1 + 99**0.5)])
    assert averaged[:, 1] == pytest.approx([0.5, 0.2])


def test_cached_scores_are_not_computed_again(shards: ShardDataset, tmp_path: Path) -> None:
    uri = f"{tmp_path}/scores/planted.parquet"
    first = zeroshot.cached(uri, shards, PlantedModel(), CONDITIONS, ("test",))

    class Forbidden(PlantedModel):
        def logits(self, *arguments: object) -> np.ndarray:
            raise AssertionError("scored again")

    assert zeroshot.cached(uri, shards, Forbidden(), CONDITIONS, ("test",)).equals(first)
    with pytest.raises(AssertionError, match="scored again"):
        zeroshot.cached(uri, shards, Forbidden(), CONDITIONS[:2], ("test",))


def test_the_summary_of_planted_truth(shards: ShardDataset, bench: Benchmark) -> None:
    scores = summary.matrix([zeroshot.score(shards, PlantedModel(), CONDITIONS)], bench)
    result = summary.summarize(bench, bench, scores, CONDITIONS[:3], 5, 50, np.random.default_rng(0))
    perfect = MacroAuroc(auroc=1.0, low=1.0, high=1.0, undefined_replicates=0, classes=3)
    assert result.macro["seen"] == perfect
    assert result.macro["unseen"].auroc == 0.5
    assert result.macro["headline"].auroc == result.literal.auroc == pytest.approx(3.5 / 4)
    assert result.classes["long_qt"].seen is False
    assert result.classes["long_qt"].positives == bench.positives(bench.classes.index("long_qt"))
    rare = summary.summarize(bench, bench, scores, CONDITIONS, 10_000, 0, np.random.default_rng(0))
    nothing = MacroAuroc(auroc=None, low=None, high=None, undefined_replicates=0, classes=0)
    assert rare.macro["headline"] == nothing
    assert rare.macro["all"].classes == 4


def test_a_record_without_a_score_is_named(shards: ShardDataset, bench: Benchmark) -> None:
    table = zeroshot.score(shards, PlantedModel(), CONDITIONS, ("test",))
    with pytest.raises(ValueError, match=r"150 records have no score, first planted/t000"):
        summary.matrix([table], bench)


def test_a_better_model_is_told_from_a_worse_one(shards: ShardDataset, bench: Benchmark) -> None:
    good = zeroshot.score(shards, PlantedModel(), CONDITIONS)
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
