"""The evaluation stage with a real, untrained bundle: what is scored, left out, counted and read again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import evaluation_data
import pytest
import tiny_bundle

from supreme import config, manifest, storage
from supreme.evaluation import console, result_rows, result_tables, results, stage, summary, targets
from supreme.evaluation.class_results import LeftOut
from supreme.evaluation.folder import EvaluationFolder
from supreme.evaluation.results import EvaluationResult
from supreme.inference import engine
from supreme.settings.evaluation import Evaluation
from supreme.storage.parquet import read_table

pytestmark = pytest.mark.unit


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


def folder_of(recipe: config.Recipe) -> Path:
    return Path(targets.folder_of(recipe, targets.target(recipe)))


def with_model(recipe: config.Recipe, folder: Path, **settings: object) -> config.Recipe:
    evaluation = recipe.evaluation.model_copy(update={"model_uri": str(folder), "bootstrap": 0, **settings})
    return recipe.model_copy(update={"evaluation": evaluation})


def scored_ids(recipe: config.Recipe) -> set[str]:
    """Every record that an evaluation has scored or kept labels of."""
    files = [*folder_of(recipe).glob("scores/*.parquet"), *folder_of(recipe).glob("labels/*.parquet")]
    return {record for file in files for record in read_table(str(file)).column("record_id").to_pylist()}


def test_what_was_used_in_training_is_left_out_and_the_rest_evaluated_in_full(
    recipe: config.Recipe, result: EvaluationResult
) -> None:
    counts = {name: part.zero_shot.records for name, part in result.datasets.items()}
    assert counts == {"simulated": 70, "cpsc2018": 40, "cpsc_2018": 30, "pooled": 50}
    assert result.left_out == {"simulated": 50, "cpsc2018": 0, "cpsc_2018": 0, "pooled": 0}
    assert result.datasets["simulated"].splits == ("test",)
    assert result.datasets["cpsc2018"].splits == ("test", "train")
    assert [data.dataset for data in result.model.trained_on or ()] == ["simulated"]
    assert not {record for record in scored_ids(recipe) if record.startswith("simulated/t")}


def test_two_recipes_score_the_same_records_of_one_model(recipe: config.Recipe, tmp_path: Path) -> None:
    trainer = recipe.model_copy(update={"sources": (*recipe.sources, evaluation_data.cpsc_source(recipe))})
    tiny_bundle.write(tmp_path / "bundle", trained_on=evaluation_data.seen_by(trainer))
    for kind in ("shards", "evaluation_shards"):
        shutil.copytree(recipe.folder(kind), tmp_path / "runs" / "another" / kind)
    another = recipe.model_copy(update={"name": "another", "root": str(tmp_path / "runs"), "sources": ()})
    shutil.rmtree(another.folder("shards/simulated"))
    mine, other = (with_model(one, tmp_path / "bundle") for one in (trainer, another))
    by_trainer, by_another = stage.run(mine), stage.run(other)
    for one in (by_trainer, by_another):
        assert one.datasets["cpsc2018"].zero_shot.records == 10
        assert one.datasets["cpsc2018"].left_out == LeftOut(by_key=30)
        assert one.datasets["cpsc_2018"].zero_shot.records == 20, "ten of its recordings were trained on"
        assert one.datasets["cpsc_2018"].left_out == LeftOut(by_key=10)
        assert one.left_out["pooled"] == 40
    mine_there, other_there = (one.datasets["cpsc2018"].zero_shot for one in (by_trainer, by_another))
    assert mine_there.macro == other_there.macro
    for condition, row in mine_there.classes.items():
        # Other conditions are asked beside it, which moves the last bit of a probability.
        assert row.brier == pytest.approx(other_there.classes[condition].brier, abs=1e-6)
    cpsc = {record for record in scored_ids(mine) if not record.startswith("simulated")}
    assert cpsc == scored_ids(other)
    assert cpsc == {f"cpsc2018/A00{i}" for i in range(30, 40)} | {f"cpsc_2018/A00{i}" for i in range(30, 50)}


def test_a_model_that_does_not_say_what_it_has_seen_is_evaluated_with_a_warning(
    recipe: config.Recipe, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tiny_bundle.write(tmp_path / "bundle", seed=7)
    unknown = stage.run(with_model(recipe, tmp_path / "bundle"))
    assert unknown.model.trained_on is None
    assert unknown.datasets["simulated"].zero_shot.records == 120
    assert "does not say what it was trained on" in caplog.text
    assert "trained on: unknown" in console.table(unknown)[-1]


def test_seen_and_unseen_follow_the_vocabulary_of_the_model(result: EvaluationResult) -> None:
    conditions = result.datasets["pooled"].zero_shot.classes
    assert {name for name, row in conditions.items() if row.seen} == {
        "atrial_fibrillation",
        "left_bundle_branch_block",
    }
    fibrillation = conditions["atrial_fibrillation"]
    assert fibrillation.low is not None
    assert fibrillation.auroc is not None
    assert fibrillation.low <= fibrillation.auroc
    assert conditions["ventricular_premature_complex"].auroc is None


def test_a_finished_evaluation_is_reused_and_an_interrupted_one_does_not_score_again(
    recipe: config.Recipe, result: EvaluationResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object) -> None:
        raise AssertionError("scored again")

    monkeypatch.setattr(engine, "_scored", forbidden)
    folder = folder_of(recipe)
    finished = manifest.require(str(folder), results.EVALUATION).digest()
    assert stage.run(recipe) == result
    (folder / "manifest.json").unlink()
    (folder / results.RESULTS).unlink()
    assert stage.run(recipe) == result == results.read(str(folder))
    assert manifest.require(str(folder), results.EVALUATION).digest() == finished


def test_scores_of_label_sets_are_kept_for_comparisons(
    recipe: config.Recipe, result: EvaluationResult
) -> None:
    folder = EvaluationFolder.open(recipe, targets.target(recipe))
    compared = 0
    for protocol, evaluated in result.protocols.items():
        for name, one in evaluated.benchmarks.items():
            if one.zero_shot is None:
                assert folder.published(protocol, name) is None
                continue
            stored = folder.published(protocol, name)
            assert stored is not None
            bench, scores = stored
            assert len(bench.record_ids) == one.zero_shot.records
            values = summary.matrix([scores], bench)
            again = summary.summarize(bench, bench, values, (), 1)
            assert again.macro["all"] == one.zero_shot.macro["all"]
            compared += 1
    assert compared


def test_tables_stand_beside_the_result(recipe: config.Recipe, result: EvaluationResult) -> None:
    folder = folder_of(recipe)
    assert (folder / "results.csv").read_text() == result_rows.csv_text(result_rows.rows(result))
    assert (folder / "results.tex").read_text() == result_tables.latex_text(result)
    assert {"results.csv", "results.tex"} <= manifest.require(str(folder), results.EVALUATION).files.keys()


def test_results_are_plain_json(recipe: config.Recipe, result: EvaluationResult) -> None:
    def refuse(name: str) -> None:
        raise ValueError(f"{name} is not JSON")

    text = (folder_of(recipe) / results.RESULTS).read_text()
    assert json.loads(text, parse_constant=refuse)["schema_version"] == results.SCHEMA_VERSION


@pytest.mark.parametrize("damage", ["older", "empty", "cut", "NUL", "no data sets"])
def test_a_result_that_cannot_be_used_is_named_with_the_remedy(
    recipe: config.Recipe, result: EvaluationResult, tmp_path: Path, damage: str
) -> None:
    values = result.model_dump(mode="json")
    content = {
        "older": json.dumps(values | {"schema_version": 1}).encode(),
        "empty": b"",
        "cut": json.dumps(values).encode()[:500],
        "NUL": bytes(100),
        "no data sets": json.dumps({**values, "datasets": None}).encode(),
    }[damage]
    (tmp_path / results.RESULTS).write_bytes(content)
    with pytest.raises(config.ConfigError, match=r"results\.json .*: run jobs/evaluate\.py with --new"):
        results.read(str(tmp_path))


@pytest.mark.parametrize("name", ["results.json", "scores/simulated.parquet", "labels/cpsc2018.parquet"])
def test_one_other_bit_in_what_the_page_and_the_gate_read_is_noticed(
    recipe: config.Recipe, result: EvaluationResult, name: str
) -> None:
    file, target = folder_of(recipe) / name, targets.target(recipe)
    content = file.read_bytes()
    assert EvaluationFolder.open(recipe, target).result == result
    number = content.index(b"0.") + 2 if name.endswith("json") else len(content) // 2
    try:
        file.write_bytes(content[:number] + bytes([content[number] ^ 1]) + content[number + 1 :])
        with pytest.raises(
            config.ConfigError, match=rf"{name} is missing or damaged.*evaluate\.py with --new"
        ):
            EvaluationFolder.open(recipe, target)
    finally:
        file.write_bytes(content)


def test_another_setting_is_refused_with_the_difference(
    recipe: config.Recipe, result: EvaluationResult
) -> None:
    evaluation = recipe.evaluation.model_copy(update={"min_positives": 9})
    with pytest.raises(config.ConfigError, match="min_positives: 5 -> 9"):
        stage.run(recipe.model_copy(update={"evaluation": evaluation}))


def test_another_model_has_its_own_folder(recipe: config.Recipe, tmp_path: Path) -> None:
    tiny_bundle.write(tmp_path / "other", seed=1)
    other = targets.target(recipe, str(tmp_path / "other"))
    assert targets.folder_of(recipe, other) != targets.folder_of(recipe, targets.target(recipe))


def test_more_data_sets_extend_an_evaluation_and_fewer_do_not_replace_it(
    recipe: config.Recipe, tmp_path: Path
) -> None:
    tiny_bundle.write(tmp_path / "third", seed=2)
    whole = with_model(recipe, tmp_path / "third")
    few = whole.model_copy(update={"real": ""})
    assert set(stage.run(few).datasets) == {"simulated"}
    assert {"simulated", "cpsc2018", "pooled"} <= set(stage.run(whole).datasets)
    with pytest.raises(config.ConfigError, match="ask for cpsc2018, cpsc_2018 as well"):
        stage.run(few)


def test_a_data_set_may_not_be_called_as_the_pool(recipe: config.Recipe) -> None:
    sources = (*recipe.sources, recipe.sources[0].model_copy(update={"name": "pooled"}))
    with pytest.raises(config.ConfigError, match="'pooled', as the pool"):
        stage.run(recipe.model_copy(update={"sources": sources}))


def test_the_plan_needs_neither_model_nor_shards(recipe: config.Recipe, tmp_path: Path) -> None:
    assert stage.plan(recipe).at_most == {"simulated": 120, "cpsc2018": 40, "cpsc_2018": 30}
    fresh = recipe.model_copy(update={"root": str(tmp_path / "none"), "evaluation": Evaluation()})
    assert set(stage.plan(fresh).at_most.values()) == {None}
    assert not (tmp_path / "none").exists()
    assert not storage.exists(str(tmp_path / "none"))


def test_a_cardiologist_s_verdicts_give_a_second_result(recipe: config.Recipe, tmp_path: Path) -> None:
    tiny_bundle.write(tmp_path / "bundle", seed=3)
    before = stage.run(with_model(recipe, tmp_path / "bundle"))
    labels = read_table(f"{folder_of(with_model(recipe, tmp_path / 'bundle'))}/labels/cpsc2018.parquet")
    record, was = labels["record_id"][0].as_py(), labels["atrial_fibrillation"][0].as_py()
    verdict = "absent" if was == 1 else "present"
    sheet = tmp_path / "verdicts.csv"
    row = f"{record},atrial_fibrillation,{verdict}"
    sheet.write_text(f"benchmark,record_id,class,verdict\nconditions,{row}\n")
    judged = with_model(recipe, tmp_path / "bundle", corrections=str(sheet))
    with pytest.raises(config.ConfigError, match="corrections"):
        stage.run(judged)
    after = stage.run(judged, new=True).datasets["cpsc2018"]
    assert after.zero_shot == before.datasets["cpsc2018"].zero_shot
    corrected = after.protocols[results.CORRECTED].classes["atrial_fibrillation"]
    change = 1 if verdict == "present" else -1
    assert corrected.positives == after.zero_shot.classes["atrial_fibrillation"].positives + change
    assert results.CORRECTED not in before.datasets["cpsc2018"].protocols
    sheet.write_text(
        "benchmark,record_id,class,verdict\nconditions,cpsc2018/none,atrial_fibrillation,absent\n"
    )
    with pytest.raises(config.ConfigError, match="no record 'cpsc2018/none'"):
        stage.run(judged, new=True)
