"""The evaluation stage and its page with a real, untrained bundle: what is counted, kept and shown."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny_bundle
from evaluation_data import CONDITIONS, SHARDS, write_shards

from supreme import config, storage
from supreme.evaluation import datasets, stage, targets, zeroshot
from supreme.reporting import examples, page
from supreme.settings.data import Source
from supreme.settings.evaluation import Evaluation

pytestmark = pytest.mark.unit

CPSC = ("1", "2", "4", "8")
CPSC_SNOMED = ("426783006", "164889003", "164909002", "429622005")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> config.Recipe:
    """Shards of a simulated set, of CPSC2018 and of its copy in CinC form that shares 20 of 30 recordings."""
    root = tmp_path_factory.mktemp("evaluation")
    tiny_bundle.write(root / "bundle")
    for file in ("cpsc/REFERENCE.csv", "cpsc/TrainingSet1/A0001.mat", "training/cpsc_2018/A0001.hea"):
        (root / "real" / file).parent.mkdir(parents=True, exist_ok=True)
        (root / "real" / file).touch()
    made = config.Recipe(
        name="e",
        root=str(root / "runs"),
        real=str(root / "real"),
        sources=(Source(kind="simulated", records=120),),
        shards=SHARDS,
        evaluation=Evaluation(bootstrap=20, model_uri=str(root / "bundle"), plates=4),
    )
    ids = {"train": [f"t{i:02d}" for i in range(50)], "test": [f"u{i:02d}" for i in range(70)]}
    write_shards(made.folder("shards/simulated"), "simulated", CONDITIONS, ids)
    numbers = [f"A{i:04d}" for i in range(50)]
    halves = {"train": numbers[:30], "test": numbers[30:40]}
    write_shards(made.folder("shards/cpsc2018"), "cpsc2018", CPSC, halves, seed=1)
    write_shards(made.folder("shards/cpsc_2018"), "cpsc_2018", CPSC_SNOMED, {"train": numbers[20:]}, seed=2)
    return made


@pytest.fixture(scope="module")
def results(recipe: config.Recipe) -> dict:
    stage.run(recipe)
    return read(recipe)


def read(recipe: config.Recipe) -> dict:
    text = storage.read_bytes(storage.join(targets.folder_of(recipe, targets.target(recipe)), stage.RESULTS))

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_pretraining_data_on_the_test_split_the_rest_in_full(results: dict) -> None:
    counts = {name: part["records"] for name, part in results["datasets"].items()}
    assert counts == {"simulated": 70, "cpsc2018": 40, "cpsc_2018": 30, "pooled": 50}
    assert results["data"]["simulated"]["splits"] == ["test"]
    assert results["data"]["cpsc2018"]["splits"] == []


def test_seen_and_unseen_follow_the_vocabulary_of_the_model(results: dict) -> None:
    conditions = results["datasets"]["pooled"]["conditions"]
    assert {name for name, row in conditions.items() if row["seen"]} == {
        "atrial_fibrillation",
        "left_bundle_branch_block",
    }
    assert conditions["atrial_fibrillation"]["low"] <= conditions["atrial_fibrillation"]["auroc"]
    assert conditions["ventricular_premature_complex"]["auroc"] is None


def test_copies_of_pretraining_records_are_left_out(recipe: config.Recipe) -> None:
    cpsc = Source(kind="cpsc2018", uri=f"{recipe.real}/cpsc")
    changed = recipe.model_copy(update={"sources": (*recipe.sources, cpsc)})
    parts = {part.data.name: part.bench for part in datasets._parts(datasets.datasets(changed))}
    assert len(parts["cpsc2018"].record_ids) == 10
    assert len(parts["cpsc_2018"].record_ids) == 20
    assert "cpsc_2018/A0029" not in parts["cpsc_2018"].record_ids
    assert "cpsc_2018/A0030" in parts["cpsc_2018"].record_ids


def test_a_finished_evaluation_is_kept_and_an_interrupted_one_does_not_score_again(
    recipe: config.Recipe, results: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object) -> None:
        raise AssertionError("scored again")

    monkeypatch.setattr(zeroshot, "score", forbidden)
    finished = stage.run(recipe)
    folder = Path(targets.folder_of(recipe, targets.target(recipe)))
    (folder / "manifest.json").unlink()
    (folder / stage.RESULTS).unlink()
    assert stage.run(recipe).digest() == finished.digest()
    assert read(recipe) == results


def test_another_setting_is_refused_with_the_difference(recipe: config.Recipe, results: dict) -> None:
    evaluation = recipe.evaluation.model_copy(update={"min_positives": 9})
    with pytest.raises(config.ConfigError, match="min_positives: 5 -> 9"):
        stage.run(recipe.model_copy(update={"evaluation": evaluation}))


def test_another_model_has_its_own_folder(recipe: config.Recipe, results: dict, tmp_path: Path) -> None:
    tiny_bundle.write(tmp_path / "other", seed=1)
    other = targets.target(recipe, str(tmp_path / "other"))
    assert targets.folder_of(recipe, other) != targets.folder_of(recipe, targets.target(recipe))


def test_more_data_sets_extend_an_evaluation_and_fewer_do_not_replace_it(
    recipe: config.Recipe, tmp_path: Path
) -> None:
    tiny_bundle.write(tmp_path / "third", seed=2)
    evaluation = recipe.evaluation.model_copy(update={"model_uri": str(tmp_path / "third"), "bootstrap": 0})
    whole = recipe.model_copy(update={"evaluation": evaluation})
    few = whole.model_copy(update={"real": ""})
    stage.run(few)
    assert set(read(few)["datasets"]) == {"simulated"}
    stage.run(whole)
    assert {"simulated", "cpsc2018", "pooled"} <= set(read(whole)["datasets"])
    with pytest.raises(config.ConfigError, match="ask for cpsc2018, cpsc_2018 as well"):
        stage.run(few)


def test_a_model_that_has_read_the_reports_is_not_called_zero_shot(
    recipe: config.Recipe, results: dict, html: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tiny_bundle.write(tmp_path / "ked", objective="ked")
    evaluation = recipe.evaluation.model_copy(update={"model_uri": str(tmp_path / "ked"), "bootstrap": 0})
    ked = recipe.model_copy(update={"evaluation": evaluation})
    stage.run(ked)
    assert "ked: what is unseen as a query has been read of in reports" in caplog.text
    uri, _ = page.write(ked)
    told = "this model learned from whole reports"
    assert told in storage.read_bytes(uri).decode()
    assert told not in html


def test_the_plan_needs_neither_model_nor_shards(recipe: config.Recipe, tmp_path: Path) -> None:
    assert stage.plan(recipe)["records"] == {"simulated": 70, "cpsc2018": 40, "cpsc_2018": 30}
    fresh = recipe.model_copy(update={"root": str(tmp_path / "none"), "evaluation": Evaluation()})
    assert set(stage.plan(fresh)["records"].values()) == {None}
    assert not (tmp_path / "none").exists()


@pytest.fixture(scope="module")
def html(recipe: config.Recipe, results: dict) -> str:
    uri, _ = page.write(recipe)
    return storage.read_bytes(uri).decode()


def test_the_page_needs_nothing_from_outside(html: str) -> None:
    without_names = re.sub(r'xmlns(:\w+)?="[^"]*"', "", html)
    assert "http" not in re.sub(r"base64,[\w+/=]+", "", without_names)
    assert not re.search(r"<(script|link|iframe)\b|@import|\bsrc=\"(?!data:)", without_names)


def test_the_page_shows_numbers_and_origin(html: str, results: dict) -> None:
    assert f"{results['datasets']['pooled']['macro']['headline']['auroc']:.3f}" in html
    assert results["model"]["sha256"] in html
    for described in results["data"].values():
        assert described["shards_digest"] in html
    assert "holds no <code>metrics.jsonl</code>" in html
    assert html.count("data:image/png;base64,") == 4


def test_the_page_never_shows_report_text(html: str) -> None:
    assert "Text of a patient" not in html


def test_names_are_escaped(results: dict) -> None:
    found = json.loads(json.dumps(results))
    found["model"] |= {
        "uri": "<script>alert(1)</script>",
        "selection_rule": "a < b",
        "selection_value": "0.5",
    }
    text = page.render(found, curves={}, course=[], shown=[], origin={"evaluated": "<now>"})
    assert "<script" not in text
    assert "a &lt; b" in text
    assert "&lt;now&gt;" in text


def test_a_course_of_pretraining_is_drawn_and_the_page_replaced(recipe: config.Recipe, html: str) -> None:
    folder = Path(recipe.folder("pretrain"))
    folder.mkdir()
    line = {"samples_seen": 100, "loss": 0.5, "records_per_s": 50.0, "curve": []}
    (folder / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    uri, made = page.write(recipe)
    assert "metrics.jsonl" not in storage.read_bytes(uri).decode()
    assert page.write(recipe)[1] == made
    shutil.rmtree(folder)


def test_examples_are_the_extremes() -> None:
    scored = examples.Scored(
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
        name: {"auroc": auroc, "headline": name != "d", "seen": name != "e"}
        for name, auroc in [("a", 0.5), ("b", 0.9), ("c", 0.7), ("d", 1.0), ("e", 0.99)]
    }
    assert examples.conditions_to_show(rows, 2) == ["b", "a"]
    assert examples.conditions_to_show(rows, 9) == ["b", "c", "a"]
    assert examples.conditions_to_show({}, 3) == []
