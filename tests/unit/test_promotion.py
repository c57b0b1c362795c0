"""The gate: paired intervals on records that neither model has seen decide, and the reason is told."""

from __future__ import annotations

import math
import zlib
from dataclasses import replace
from pathlib import Path

import evaluation_data
import numpy as np
import pyarrow as pa
import pytest
import tiny_bundle
from test_registry import finished

from jobs import promote, register
from supreme import config, promotion, tracking
from supreme.evaluation import compare, compare_benchmarks, results, summary, targets
from supreme.evaluation.benchmarks import Benchmark
from supreme.evaluation.class_results import LeftOut
from supreme.evaluation.folder import EvaluationFolder
from supreme.evaluation.results import DatasetResult, EvaluatedModel, EvaluationResult
from supreme.inference.provenance import Provenance
from supreme.promotion import Contender
from supreme.registry import versions
from supreme.registry.versions import Selection
from supreme.runtime.cli import Options
from supreme.settings.promote import Promote
from supreme.settings.tracking import Tracking
from supreme.storage.parquet import write_table

pytestmark = pytest.mark.unit

RECORDS = 240


def contender(
    folder: Path,
    noise: float,
    *,
    kind: str = "ptbxl",
    left_out: int = 0,
    bootstrap: int = 100,
    min_positives: int = 5,
    known: bool = True,
    selection: Selection | None = None,
) -> Contender:
    """A model that scores planted labels with so much noise, and has left out the first records."""
    truth = np.random.default_rng(0)
    labels = (truth.random((RECORDS, 3)) < 0.3).astype(np.int8)
    scores = 1 / (
        1
        + np.exp(
            -(labels + np.random.default_rng(zlib.crc32(folder.name.encode())).normal(0, noise, labels.shape))
        )
    )
    rows = range(left_out, RECORDS)
    ids = tuple(f"d/{row:03d}" for row in rows)
    patients = tuple(f"p{row // 2}" for row in rows)
    names = ("atrial_fibrillation", "long_qt", "sinus_bradycardia")
    bench = Benchmark("d", ids, patients, ids, names, labels[left_out:])
    block = summary.summarize(bench, bench, scores[left_out:], names, min_positives)
    parts = {"d": part(kind, block, left_out)}
    write_table(f"{folder}/scores/d.parquet", columns({"record_id": list(ids)}, names, scores[left_out:]))
    both = {"record_id": list(ids), "patient_id": list(patients)}
    for name in ("d", "pooled") if kind != "simulated" else ("d",):
        write_table(f"{folder}/labels/{name}.parquet", columns(both, names, bench.labels))
        parts[name] = part(kind if name == "d" else "", block, left_out)
    model = EvaluatedModel(
        uri="", sha256="", vocabulary=3, reads_reports=False, trained_on=() if known else None
    )
    result = EvaluationResult(
        recipe="", seed=0, min_positives=min_positives, bootstrap=bootstrap, model=model, datasets=parts
    )
    return Contender(1, known, selection, EvaluationFolder(str(folder), None, result))  # type: ignore[arg-type]


def part(kind: str, block: results.ProtocolResult, left_out: int) -> DatasetResult:
    digest = "x" if kind else ""
    counts = LeftOut(by_key=left_out)
    return DatasetResult(
        kind=kind, shards_digest=digest, splits=(), left_out=counts, protocols={results.ZERO_SHOT: block}
    )


def columns(ids: dict[str, list[str]], names: tuple[str, ...], values: np.ndarray) -> pa.Table:
    return pa.table(ids | {name: values[:, c] for c, name in enumerate(names)})


def test_a_better_model_is_promoted_and_a_worse_one_is_not(tmp_path: Path) -> None:
    good, poor = contender(tmp_path / "good", 0.3), contender(tmp_path / "poor!", 2.0)
    up, down = (
        promotion.decide(good, poor, Promote(margin=0.02)),
        promotion.decide(poor, good, Promote(margin=0.02)),
    )
    assert up.promoted
    assert not down.promoted
    assert "not worse by more than 0.02: difference +0." in up.reason
    assert "on all real data sets pooled (240 records, 3 classes)" in up.reason
    assert "may be worse by more than the margin of 0.02: difference -0." in down.reason
    assert [one.dataset for one in up.comparisons] == ["pooled", "d"]
    assert up.comparisons[0].low > 0


def test_the_margin_decides_about_a_model_that_is_a_little_worse(tmp_path: Path) -> None:
    a, b = contender(tmp_path / "a", 0.62), contender(tmp_path / "bb", 0.5)
    [first, _] = promotion.decide(a, b, Promote(margin=0.0)).comparisons
    assert -1 < first.low < first.difference < 0
    assert not promotion.decide(a, b, Promote(margin=-first.low - 1e-6)).promoted
    assert promotion.decide(a, b, Promote(margin=-first.low + 1e-6)).promoted
    same = promotion.decide(a, a, Promote(margin=0.0))
    assert same.promoted, "an equal model is not worse"


def test_without_real_data_simulated_ecgs_decide_and_the_reason_says_so(tmp_path: Path) -> None:
    a, b = (contender(tmp_path / name, 0.3, kind="simulated") for name in ("a", "bb"))
    decision = promotion.decide(a, b, Promote(margin=0.1))
    assert decision.promoted
    assert "on d (240 records, 3 classes), no real data to compare on" in decision.reason


def test_without_replicates_the_closed_form_decides(tmp_path: Path) -> None:
    pairs = []
    for bootstrap in (0, 400):
        a, b = (
            contender(tmp_path / name, noise, bootstrap=bootstrap)
            for name, noise in (("a", 0.5), ("bb", 0.6))
        )
        pairs.append(promotion.decide(a, b, Promote(margin=0.1)).comparisons[0])
    closed, drawn = pairs
    assert (closed.share_above, drawn.share_above is None) == (None, False)
    assert (closed.low, closed.high) == pytest.approx((drawn.low, drawn.high), abs=0.01)


def test_only_records_that_neither_has_seen_are_compared(tmp_path: Path) -> None:
    a, b = contender(tmp_path / "a", 0.3), contender(tmp_path / "bb", 0.3, left_out=100)
    for one, other in ((a, b), (b, a)):
        assert {
            comparison.records
            for comparison in promotion.decide(one, other, Promote(margin=0.02)).comparisons
        } == {140}


def test_a_model_that_does_not_say_what_it_has_seen_is_never_promoted(tmp_path: Path) -> None:
    unknown, known = contender(tmp_path / "a", 0.0, known=False), contender(tmp_path / "bb", 3.0)
    for champion in (None, known):
        decision = promotion.decide(unknown, champion, Promote(margin=1.0), new_data=True)
        assert not decision.promoted
        assert "does not say what it was trained on" in decision.reason
    decision = promotion.decide(known, unknown, Promote(margin=1.0))
    assert "trained on is unknown, which may flatter it" in decision.reason


def selection(value: float, data: str = "d1", metric: str = "validation_macro_auroc") -> Selection:
    return Selection(metric, value, "highest on validation", data)


@pytest.mark.parametrize(
    ("challenger", "new_data", "promoted", "reason"),
    [
        (selection(0.81), False, True, "in validation alone: validation_macro_auroc 0.8100 against 0.8000"),
        (selection(0.79), False, True, "not worse by more than 0.02 in validation alone"),
        (selection(0.77), True, False, "worse by more than 0.02 in validation alone"),
        (selection(math.nan), False, False, "no number to compare by; it stays"),
        (selection(0.99, data="d2"), False, False, "validated on other data; it stays"),
        (selection(0.50, data="d2"), True, True, "promoted because of --new"),
        (selection(0.99, metric="loss"), False, False, "not selected by the same metric; it stays"),
    ],
)
def test_without_labels_validation_decides_on_the_same_data_only(
    challenger: Selection, new_data: bool, promoted: bool, reason: str
) -> None:
    candidate, champion = (
        Contender(n, True, one, None) for n, one in ((2, challenger), (1, selection(0.80)))
    )
    decision = promotion.decide(candidate, champion, Promote(margin=0.02), new_data=new_data)
    assert decision.promoted is promoted
    assert reason in decision.reason


def test_too_few_positives_fall_back_to_validation(tmp_path: Path) -> None:
    a, b = (
        contender(tmp_path / name, 0.3, min_positives=1000, selection=selection(0.8)) for name in ("a", "bb")
    )
    decision = promotion.decide(a, b, Promote(margin=0.02))
    assert decision.promoted
    assert "no class has enough positives to compare; not worse by" in decision.reason


# ---- the jobs, with real bundles and a registry


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> config.Recipe:
    """Trained on simulated ECGs; evaluated on CPSC2018 and its copy too."""
    recipe = evaluation_data.recipe(tmp_path_factory.mktemp("gate"), tracking=Tracking(model="gate"))
    evaluation_data.write_all_shards(recipe)
    evaluation = recipe.evaluation.model_copy(update={"model_uri": "", "min_positives": 1, "bootstrap": 50})
    return recipe.model_copy(update={"evaluation": evaluation, "promote": Promote(margin=0.9)})


def registered(recipe: config.Recipe, seed: int, trained_on: Provenance | None, value: float = 0.8) -> str:
    """A pre-training stage with a bundle of this provenance, registered."""
    store = tracking.open_store(Tracking(), recipe.root)
    pretrained = recipe.model_copy(update={"name": f"pretrained-{seed}"})
    finished(pretrained, store, seed, value)
    tiny_bundle.write(f"{pretrained.folder('pretrain')}/bundle", seed, trained_on=trained_on)
    return str(register.run(pretrained, Options())["model_uri"])


def test_no_evaluation_comparison_or_promotion_uses_a_record_that_a_model_has_seen(
    recipe: config.Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[set[str]] = []
    original = compare.pair_scores

    def spy(scores_a: pa.Table, scores_b: pa.Table, bench: Benchmark, *rest: object) -> compare.PairedScores:
        for table in (scores_a, scores_b):
            assert table.column("record_id").to_pylist()
        used.append(set(bench.record_ids))
        return original(scores_a, scores_b, bench, *rest)  # type: ignore[arg-type]

    for module in (compare, compare_benchmarks):
        monkeypatch.setattr(module, "pair_scores", spy)
    both = recipe.model_copy(update={"sources": (*recipe.sources, evaluation_data.cpsc_source(recipe))})
    first = registered(recipe, 11, evaluation_data.seen_by(recipe))
    result = promote.run(recipe, Options())
    assert (result["model_uri"], result["promoted"], used) == (first, True, [])
    assert result["reason"].startswith("first champion; macro AUROC 0.")
    second = registered(recipe, 12, evaluation_data.seen_by(both))
    result = promote.run(recipe, Options())
    assert (result["model_uri"], result["promoted"]) == (second, True)
    shared = ["pooled", "cpsc2018", "cpsc_2018", "simulated"]
    published = ["merl: cpsc2018", "merl-corrected: cpsc2018"]
    assert list(result["comparisons"]) == shared + published
    simulated = {f"simulated/t{i:02d}" for i in range(50)}
    training = (
        simulated | {f"cpsc2018/A{i:04d}" for i in range(30)} | {f"cpsc_2018/A{i:04d}" for i in range(30)}
    )
    assert len(used) >= 6
    for records in used:
        assert records
        assert not records & training
    for uri, seen in ((first, simulated), (second, training)):
        folder = EvaluationFolder.open(recipe, targets.target(recipe, uri))
        assert not set(folder.scores().column("record_id").to_pylist()) & seen
        for name in folder.result.datasets:
            assert not set(folder.benchmark(name).record_ids) & seen
    assert promote.run(recipe, Options()) == result | {"comparisons": {}}, "the champion stays what it is"


def test_a_champion_that_was_evaluated_with_other_settings_is_evaluated_again(recipe: config.Recipe) -> None:
    own = recipe.model_copy(update={"tracking": Tracking(model="settings")})
    first = registered(own, 21, evaluation_data.seen_by(recipe))
    assert promote.run(own, Options())["promoted"]
    evaluation = own.evaluation.model_copy(update={"bootstrap": 37})
    changed = own.model_copy(update={"evaluation": evaluation})
    registered(own, 22, evaluation_data.seen_by(recipe))
    assert promote.run(changed, Options())["comparisons"]
    assert EvaluationFolder.open(changed, targets.target(changed, first)).result.bootstrap == 37


def test_the_gate_needs_a_registered_candidate(recipe: config.Recipe, tmp_path: Path) -> None:
    with pytest.raises(config.ConfigError, match=r"run jobs/register\.py first"):
        promote.run(recipe.model_copy(update={"tracking": Tracking(model="nobody")}), Options())
    folder = recipe.evaluation.model_copy(update={"model_uri": str(tmp_path)})
    with pytest.raises(config.ConfigError, match=r"is not registered: run jobs/register\.py first"):
        promote.run(recipe.model_copy(update={"evaluation": folder}), Options())


def test_a_candidate_without_provenance_is_evaluated_and_stays_one(recipe: config.Recipe) -> None:
    own = recipe.model_copy(update={"tracking": Tracking(model="old")})
    uri = registered(own, 13, None)
    assert targets.target(own).uri == uri, "without a champion the candidate is evaluated"
    result = promote.run(own, Options())
    assert (result["model_uri"], result["promoted"], result["alias"]) == (uri, False, "candidate")
    assert "does not say what it was trained on" in result["reason"]
    store = tracking.open_store(Tracking(), own.root)
    assert versions.find("models:/old@champion", store) is None


def test_without_any_labels_the_first_model_is_promoted_on_its_validation(recipe: config.Recipe) -> None:
    unlabelled = recipe.sources[0].model_copy(update={"kind": "mimic_iv_ecg", "uri": "x", "records": None})
    own = recipe.model_copy(update={"tracking": Tracking(model="bare"), "sources": (unlabelled,), "real": ""})
    registered(own, 14, replace(evaluation_data.seen_by(recipe)))
    result = promote.run(own, Options())
    assert result["promoted"]
    assert "validation_macro_auroc 0.8000 in validation alone: no data set with labels" in result["reason"]
