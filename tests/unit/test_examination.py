"""A closer look at a bundle: what it writes, what it leaves alone, and that it goes on where it was ended."""

from __future__ import annotations

import json
from pathlib import Path

import evaluation_data
import pytest
import tiny_bundle

from jobs import examine
from supreme import config
from supreme.evaluation import label_verdicts, perturbations
from supreme.inference import engine
from supreme.reporting import examination_page
from supreme.runtime.cli import Options
from supreme.settings.examine import Examine

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> config.Recipe:
    root = tmp_path_factory.mktemp("examination")
    settings = Examine(records=30, explained=2, suspects=3)
    recipe = evaluation_data.recipe(root, examine=settings)
    evaluation_data.write_all_shards(recipe)
    tiny_bundle.write(root / "bundle", trained_on=evaluation_data.seen_by(recipe))
    return recipe


@pytest.fixture(scope="module")
def folder(recipe: config.Recipe) -> Path:
    return Path(str(examine.run(recipe, Options())["page"])).parent


def test_the_page_holds_curves_plates_and_doubtful_labels(recipe: config.Recipe, folder: Path) -> None:
    result = json.loads((folder / examination_page.NUMBERS).read_text())
    assert set(result["datasets"]) == {"cpsc2018", "cpsc_2018"}, "real ECGs only, where there are any"
    curves = result["datasets"]["cpsc2018"]["robustness"]
    assert len({curve["perturbation"] for curve in curves}) == len(perturbations.PERTURBATIONS)
    for curve in curves:
        assert curve["records"] == 30
        assert curve["steps"][0]["difference"] == 0, "step 0 is the record as it is"
    assert [test["ecgs"] for test in result["explanations"]] == [2] * len(result["explanations"])
    page = (folder / examination_page.PAGE).read_text()
    assert page.count("<img src=") == 2 * len(result["explanations"])
    assert "no explanation; 2 patients are too few to test it" in page
    assert "<svg" in page


def test_the_sheet_is_read_back_as_corrections(recipe: config.Recipe, folder: Path) -> None:
    sheet = folder / "suspects" / "cpsc2018" / "verdicts.csv"
    lines = sheet.read_text().splitlines()
    assert len(lines) == 4
    assert len(list((folder / "suspects" / "cpsc2018" / "plates").glob("*.png"))) == 3
    assert label_verdicts.read_verdicts(str(sheet)).rows == (), "nobody has judged yet"


def test_a_finished_examination_is_read_and_nothing_is_scored_again(
    recipe: config.Recipe, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_scored", None)
    before = (folder / examination_page.PAGE).stat().st_mtime_ns
    assert Path(str(examine.run(recipe, Options())["page"])).stat().st_mtime_ns == before


def test_a_model_that_cannot_be_queried_is_refused(recipe: config.Recipe, tmp_path: Path) -> None:
    scores = tmp_path / "scores.csv"
    scores.write_text("record_id,AF\na,1\n")
    evaluation = recipe.evaluation.model_copy(update={"model_uri": str(scores)})
    with pytest.raises(config.ConfigError, match="only a bundle can be asked"):
        examine.run(recipe.model_copy(update={"evaluation": evaluation}), Options())
