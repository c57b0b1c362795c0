"""The page of an evaluation: what it shows, where its figures come from, and that names stay names."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import evaluation_data
import numpy as np
import pytest
import tiny_bundle

from supreme import config, storage, tracking
from supreme.evaluation import stage
from supreme.evaluation.class_results import ClassResult
from supreme.evaluation.results import EvaluationResult
from supreme.registry import versions
from supreme.reporting import examples, page
from supreme.settings.tracking import Tracking

pytestmark = pytest.mark.unit

LINE = {"samples_seen": 100, "loss": 0.5, "records_per_s": 50.0, "curve": []}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> config.Recipe:
    root = tmp_path_factory.mktemp("evaluation")
    recipe = evaluation_data.recipe(root)
    evaluation_data.write_all_shards(recipe)
    tiny_bundle.write(root / "bundle", trained_on=evaluation_data.seen_by(recipe))
    return recipe


@pytest.fixture(scope="module")
def result(recipe: config.Recipe) -> EvaluationResult:
    return stage.run(recipe)


def page_of(recipe: config.Recipe, uri: str = "") -> str:
    return storage.read_bytes(page.write(recipe, uri)[0]).decode()


def with_model(recipe: config.Recipe, folder: Path) -> config.Recipe:
    evaluation = recipe.evaluation.model_copy(update={"model_uri": str(folder), "bootstrap": 0})
    return recipe.model_copy(update={"evaluation": evaluation})


@pytest.fixture(scope="module")
def html(recipe: config.Recipe, result: EvaluationResult) -> str:
    return page_of(recipe)


def test_the_page_needs_nothing_from_outside(html: str) -> None:
    without_names = re.sub(r'xmlns(:\w+)?="[^"]*"', "", html)
    assert "http" not in re.sub(r"base64,[\w+/=]+", "", without_names)
    assert not re.search(r"<(script|link|iframe)\b|@import|\bsrc=\"(?!data:)", without_names)


def test_the_page_shows_numbers_and_origin(html: str, result: EvaluationResult) -> None:
    assert f"{result.macro('headline')['pooled']:.3f}" in html
    assert result.model.sha256 in html
    for part in result.datasets.values():
        assert part.shards_digest in html
    assert html.count("data:image/png;base64,") == 4


def test_the_page_counts_what_was_left_out(html: str) -> None:
    assert "50 left out: seen in training" in html
    assert html.count("none seen in training") == 3
    assert "simulated (50 records, train and validation)" in html
    assert "Training data unknown" not in html


def test_the_page_says_that_the_training_data_is_unknown(recipe: config.Recipe, tmp_path: Path) -> None:
    tiny_bundle.write(tmp_path / "bundle", seed=7)
    unknown = with_model(recipe, tmp_path / "bundle")
    stage.run(unknown)
    text = page_of(unknown)
    assert "Training data unknown" in text
    assert text.count("seen in training: unknown") == 4
    assert "no ECG that was used to train" not in text


def test_the_page_never_shows_report_text(html: str) -> None:
    assert "Text of a patient" not in html


def test_a_model_that_has_read_the_reports_is_not_called_zero_shot(
    recipe: config.Recipe, html: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tiny_bundle.write(tmp_path / "ked", objective="ked", trained_on=evaluation_data.seen_by(recipe))
    ked = with_model(recipe, tmp_path / "ked")
    stage.run(ked)
    assert "ked: reports of pre-training mention what is unseen as a query" in caplog.text
    sentence = "this model learned from whole reports"
    assert sentence in page_of(ked)
    assert sentence not in html


def test_names_are_escaped(result: EvaluationResult) -> None:
    update = {"uri": "<script>alert(1)</script>", "selection_rule": "a < b", "selection_value": 0.5}
    model = result.model.model_copy(update=update)
    names = dict(zip(result.datasets, ("$$", "CSN (Ningbo), <x>", "a[1]", "$\\frac{1}$"), strict=True))
    datasets = {names[name]: part for name, part in result.datasets.items()}
    odd = result.model_copy(update={"model": model, "datasets": datasets})
    text = page.render(odd, curves={}, training=[], plates=[], origin={"evaluated": "<now>"})
    assert "<script" not in text
    assert "a &lt; b" in text
    assert "&lt;now&gt;" in text
    assert "CSN (Ningbo), &lt;x&gt;" in text


def test_a_data_set_may_have_any_name(recipe: config.Recipe, tmp_path: Path) -> None:
    """Scored, logged to MLflow and drawn: names with brackets, commas or dollars fail nowhere."""
    names = ("$$", "CSN (Ningbo), [1]")
    sources = tuple(recipe.sources[0].model_copy(update={"name": name}) for name in names)
    root = str(tmp_path)
    odd = recipe.model_copy(update={"name": "odd", "root": root, "real": "", "sources": sources})
    for seed, name in enumerate(names):
        ids = {"train": ["t1"], "test": [f"u{i:02d}" for i in range(70)]}
        conditions = evaluation_data.CONDITIONS
        evaluation_data.write_shards(odd.folder(f"shards/{name}"), name, conditions, ids, seed)
    store, run = register(odd, tmp_path / "bundle", "odd", [])
    odd = odd.model_copy(
        update={"evaluation": odd.evaluation.model_copy(update={"model_uri": "models:/odd/1"})}
    )
    evaluated = stage.run(odd)
    assert evaluated.left_out == dict.fromkeys(names, 1)
    assert "CSN (Ningbo), [1]" in page_of(odd)
    metrics = tracking.TrackingRun.attach(store, run).client.get_run(run).data.metrics
    assert "evaluation/CSN _Ningbo__ _1_/macro_auroc_headline" in metrics


def register(recipe: config.Recipe, folder: Path, model: str, lines: list[dict]) -> tuple[str, str]:
    """Register a model whose run has this history; tracking store and run id."""
    store = tracking.open_store(Tracking(), recipe.root)
    tiny_bundle.write(folder, trained_on=evaluation_data.seen_by(recipe))
    stage_folder = str(folder.parent / f"stage-{model}")
    run = tracking.start_or_resume(store, "tests", stage_folder, model, {})
    if lines:
        text = "".join(json.dumps(line) + "\n" for line in lines)
        storage.write_bytes(f"{stage_folder}/metrics.jsonl", text.encode())
        run.log_file(f"{stage_folder}/metrics.jsonl")
    versions.register(str(folder), run.run_id, tracking_uri=store, model=model)
    return store, run.run_id


def test_the_training_curve_is_that_of_the_model_or_none(
    recipe: config.Recipe, html: str, tmp_path: Path
) -> None:
    """A history in the recipe's own folder is another model's, and is neither shown nor logged."""
    folder = Path(recipe.folder("pretrain"))
    folder.mkdir()
    (folder / "metrics.jsonl").write_text(json.dumps(LINE) + "\n")
    assert page_of(recipe) == html
    assert "No training curve: a bundle folder names no MLflow run" in html
    store, with_history = register(recipe, tmp_path / "a", "with-history", [LINE])
    _, without = register(recipe, tmp_path / "b", "without", [])
    for uri in ("models:/with-history/1", "models:/without/1"):
        stage.run(recipe, uri)
    own = page_of(recipe, "models:/with-history/1")
    assert "No training curve" not in own
    assert own.count("<svg") == html.count("<svg") + 1
    assert page.write(recipe, "models:/with-history/1")[1] == page.write(recipe, "models:/with-history/1")[1]
    other = page_of(recipe, "models:/without/1")
    assert "the MLflow run of this model holds no" in other
    assert "models:/without/1" in other, "the same bundle under another name"
    client = tracking.TrackingRun.attach(store, without).client
    assert "figures" in [item.path for item in client.list_artifacts(with_history)]
    assert "figures" not in [item.path for item in client.list_artifacts(without)]
    shutil.rmtree(folder)


def test_examples_are_the_extremes() -> None:
    scored = examples.ScoredRecords(
        ("d/a", "d/b", "d/c", "d/d", "d/e", "d/f"),
        {"x": np.array([0.9, 0.2, 0.8, 0.1, 0.99, 0.85]), "y": np.array([0.1, 0.3, 0.9, 0.2, 0.5, 0.4])},
        {"x": np.array([1, 1, 0, 0, -1, 1]), "y": np.array([0, 0, 1, 0, 0, 0])},
    )
    hit, miss, alarm = examples.choose(scored, ["x"], 3)
    assert (hit.kind, hit.record_id, hit.above) == ("hit", "d/a", 1.0)
    assert (miss.kind, miss.record_id, miss.above) == ("miss", "d/b", 0.5)
    assert (alarm.kind, alarm.record_id, alarm.above) == ("false alarm", "d/c", pytest.approx(1 / 3))
    assert alarm.top == (("y", 0.9, True), ("x", 0.8, False))
    every = [item.record_id for item in examples.choose(scored, ["x", "y"], 6)]
    assert sorted(every) == ["d/a", "d/b", "d/c", "d/e"]
    assert examples.choose(scored, ["x"], 0) == []


def test_conditions_are_shown_from_best_to_worst() -> None:
    rows = {
        name: class_result(auroc, headline=name != "d", seen=name != "e")
        for name, auroc in [("a", 0.5), ("b", 0.9), ("c", 0.7), ("d", 1.0), ("e", 0.99)]
    }
    assert examples.conditions_to_show(rows, 2) == ["b", "a"]
    assert examples.conditions_to_show(rows, 9) == ["b", "c", "a"]
    assert examples.conditions_to_show({}, 3) == []


def class_result(auroc: float, *, headline: bool, seen: bool) -> ClassResult:
    return ClassResult(
        name="",
        auroc=auroc,
        low=None,
        high=None,
        auprc=None,
        records=1,
        positives=1,
        left_open=0,
        seen=seen,
        headline=headline,
    )
